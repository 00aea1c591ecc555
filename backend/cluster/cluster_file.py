"""The file by which programs of the same user on the same machine find a cluster and its token.

Every node with a port writes one into its session's directory, readable by its user only, and
removes it when it has lost its cluster. What a killed node left behind does not count.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import Final

import msgspec

from .addresses import is_loopback, split_address

__all__ = [
    "KnownCluster",
    "find_cluster",
    "known_clusters",
    "remove_cluster_file",
    "write_cluster_file",
]

_NAME: Final = "cluster.json"


class KnownCluster(msgspec.Struct, frozen=True):
    """A cluster that has a node here. Never printed: it holds the token."""

    #: host:port of its head
    address: str
    token: str
    #: its nodes talk over TLS
    tls: bool
    #: the node that wrote this is the head
    is_head: bool

    def __repr__(self) -> str:
        return f"KnownCluster({self.address!r})"


def write_cluster_file(directory: str, known: KnownCluster) -> None:
    """Write the file of a node.

    Args:
        directory: of its session.
        known: what others are to find.
    """
    path = Path(directory) / _NAME
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.encode(known))


def remove_cluster_file(directory: str) -> None:
    """Remove the file of a node."""
    Path(directory, _NAME).unlink(missing_ok=True)


def known_clusters(parent: Path) -> list[KnownCluster]:
    """Return the clusters that this user's nodes on this machine belong to, the newest first.

    Args:
        parent: where sessions have their directories.
    """
    found = []
    for path in parent.glob(f"millpond-*/{_NAME}"):
        with contextlib.suppress(OSError, msgspec.DecodeError):  # it ends just now
            status, own = path.lstat(), path.parent.lstat()
            private = not status.st_mode & 0o077 and stat.S_ISREG(status.st_mode)
            ours = {status.st_uid, own.st_uid} == {os.geteuid()}
            if private and ours and not _is_dead(path.parent):
                known = msgspec.json.decode(path.read_bytes(), type=KnownCluster)
                found.append((status.st_mtime_ns, known))
    found.sort(key=lambda item: item[0], reverse=True)
    return [known for _, known in found]


def _is_dead(directory: Path) -> bool:
    """Whether a killed node left this behind; one that is about to listen is alive."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(directory / "node.sock"))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def find_cluster(address: str, parent: Path) -> KnownCluster | None:
    """Return the cluster at an address, if one of its nodes is on this machine and this user's."""
    host, port = split_address(address)
    for known in known_clusters(parent):
        _, other_port = split_address(known.address)
        if known.address == address or (port == other_port and is_loopback(host)):
            return known
    return None
