"""How a node gets into a cluster: the address, the token, TLS, and where to listen."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import Final

from ..cluster.addresses import is_loopback, split_address
from ..cluster.cluster_file import find_cluster, known_clusters
from ..errors import ConfigurationError
from ..wire.messages.cluster import ClusterSettings, TlsFiles

__all__ = ["DEFAULT_PORT", "TOKEN_VARIABLE", "head_settings", "join_settings", "new_token"]

#: The environment variable of the cluster's token: it is given in no other way.
TOKEN_VARIABLE: Final = "MILLPOND_TOKEN"  # noqa: S105 - the name of it
_TLS_VARIABLES: Final = ("MILLPOND_TLS_CA", "MILLPOND_TLS_CERT", "MILLPOND_TLS_KEY")
#: Where a head listens unless told otherwise.
DEFAULT_PORT: Final = 7600
_LOOPBACK: Final = "127.0.0.1"
#: The authority's key follows from the token, so it must be too long to be guessed.
_SHORTEST_TOKEN: Final = 32


def new_token() -> str:
    """Return a token for a new cluster."""
    return secrets.token_hex(32)


def join_settings(
    address: str, *, host: str | None = None, port: int = 0, token: str | None = None
) -> ClusterSettings:
    """Return how a node joins a cluster.

    Args:
        address: host:port of the head, or "auto" for the one cluster that this machine is part of.
        host: where the node listens; None for what the head's address suggests.
        port: where it listens, 0 for any.
        token: of the cluster; None for that of the environment, or of a node that runs here.

    Raises:
        ConfigurationError: the address is wrong, or there is no token.
    """
    parent = Path(tempfile.gettempdir())
    if address == "auto":
        address = _only_cluster(parent)
    known = find_cluster(address, parent)
    if known is not None:  # by the address that other machines know, whatever leads there from here
        address = known.address
    head_host, _ = split_address(address)
    token = token or os.environ.get(TOKEN_VARIABLE) or (known.token if known else None)
    if not token:
        raise ConfigurationError(
            f"to join the cluster at {address}, its token is needed: set {TOKEN_VARIABLE} to what "
            "`millpond token` prints on the head"
        )
    files = _tls_files()
    tls = known.tls if known else files is not None or not is_loopback(head_host)
    if host is None:
        host = _LOOPBACK if is_loopback(head_host) else _host_towards(head_host)
    return _checked(ClusterSettings(address, host, port, token, tls, files))


def head_settings(
    *, host: str | None = None, port: int = 0, token: str | None = None, tls: bool = False
) -> ClusterSettings:
    """Return how a node opens its port as the head of a new cluster.

    Args:
        host: where it listens; None for the loopback address.
        port: where it listens, 0 for any.
        token: of the cluster; None for that of the environment, or a new one.
        tls: use TLS even on the loopback address.

    Raises:
        ConfigurationError: the token is too short, or the files of the certificates are incomplete.
    """
    host = host or _LOOPBACK
    token = token or os.environ.get(TOKEN_VARIABLE) or new_token()
    files = _tls_files()
    tls = tls or files is not None or not is_loopback(host)
    return _checked(ClusterSettings("", host, port, token, tls, files))


def _checked(settings: ClusterSettings) -> ClusterSettings:
    token = settings.token
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise ConfigurationError(
            f"a cluster's token is at least {_SHORTEST_TOKEN} ASCII characters; that of "
            f"{TOKEN_VARIABLE} has {len(token)} characters"
        )
    if not is_loopback(settings.host) and not settings.tls:
        raise ConfigurationError(
            f"a node that listens on {settings.host} must use TLS, and the cluster at "
            f"{settings.head} does not: start its head with --host or --tls"
        )
    return settings


def _only_cluster(parent: Path) -> str:
    found = {known.address for known in known_clusters(parent)}
    if len(found) != 1:
        which = ", ".join(sorted(found)) or "none"
        raise ConfigurationError(
            f"address='auto' means the one cluster that has a node on this machine; found: {which}"
        )
    return found.pop()


def _tls_files() -> TlsFiles | None:
    given = [os.environ.get(name) for name in _TLS_VARIABLES]
    if not any(given):
        return None
    authority, certificate, key = given
    if not authority or not certificate or not key:
        raise ConfigurationError(
            f"certificates of your own need all of {', '.join(_TLS_VARIABLES)} (paths of PEM files)"
        )
    return TlsFiles(*(os.path.abspath(path) for path in (authority, certificate, key)))  # noqa: PTH100


def _host_towards(host: str) -> str:
    """Return the address of this machine that others on the way to a host can reach."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, DEFAULT_PORT))  # sends nothing
            found: str = probe.getsockname()[0]
            return found
    except OSError as error:
        raise ConfigurationError(f"there is no way to {host} from here: {error}") from None
