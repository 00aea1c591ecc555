"""Naming a place by its URI without giving its secrets away."""

from __future__ import annotations

from urllib.parse import urlsplit


def without_secrets(uri: str) -> str:
    """A URI without its credentials: user, password, and all but the harmless parameters."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    kept = [
        pair
        for pair in parts.query.split("&")
        if pair.partition("=")[0] in ("endpoint_override", "scheme", "region")
    ]
    query = f"?{'&'.join(kept)}" if kept else ""
    return f"{parts.scheme}://{host}{parts.path}{query}"
