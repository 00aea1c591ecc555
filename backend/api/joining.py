"""How a node gets into a cluster: the address, the token, and where to listen."""

from __future__ import annotations

import os
import secrets
from typing import Final

from ..cluster.addresses import is_loopback, split_address
from ..errors import ConfigurationError
from ..wire.cluster_messages import ClusterSettings
from .settings import Settings

__all__ = ["TOKEN_VARIABLE", "cluster_settings", "head_settings", "new_token"]

#: The environment variable of the cluster's token: it is given in no other way.
TOKEN_VARIABLE: Final = "MILLPOND_TOKEN"  # noqa: S105 - the name of it
_LOOPBACK: Final = "127.0.0.1"


def new_token() -> str:
    """Return a token for a new cluster."""
    return secrets.token_hex(32)


def cluster_settings(
    settings: Settings, *, host: str | None = None, port: int = 0, token: str | None = None
) -> ClusterSettings | None:
    """Return how a node with these settings joins its cluster; None if it is to be alone.

    Args:
        settings: of the node.
        host: where it listens; None for what the head's address suggests.
        port: where it listens, 0 for any.
        token: of the cluster; None for that of the environment.

    Raises:
        ConfigurationError: the address is wrong, or there is no token.
    """
    address = settings.address
    if address is None:
        return None
    head_host, _ = split_address(address)
    token = token or os.environ.get(TOKEN_VARIABLE)
    if not token:
        raise ConfigurationError(
            f"to join the cluster at {address}, its token is needed: set {TOKEN_VARIABLE} to what "
            "`millpond token` prints on the head"
        )
    return ClusterSettings(address, host or _host_towards(head_host), port, token)


def head_settings(
    *, host: str | None = None, port: int = 0, token: str | None = None
) -> ClusterSettings:
    """Return how a node opens its port as the head of a new cluster."""
    return ClusterSettings("", host or _LOOPBACK, port, token or new_token())


def _host_towards(head_host: str) -> str:
    assert is_loopback(head_host)
    return _LOOPBACK
