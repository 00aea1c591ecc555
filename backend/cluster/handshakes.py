"""Connections that end in the TLS handshake, of which the transport tells nobody.

The transport asks for the certificate whenever a handshake begins: then the connection is looked up
among those of the kernel. One that is not there any more, and over which no call came, has failed.
Nobody can say why, as it is the other side that was not trusted, or did not trust.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote

__all__ = ["Handshakes", "connected_to", "parse_peer"]

_log = logging.getLogger("millpond.cluster")

_ESTABLISHED: Final = "01"
#: addresses that one line names at most
_NAMED: Final = 5
#: seconds in which a host is told of once: what only looks whether a port is open comes often
_ONCE_IN: Final = 60.0

#: host and port of the other side
Peer = tuple[str, int]


class Handshakes:
    """The connections of one port that have not called yet.

    Args:
        connected: returns the other sides of all connections of the port.
        clock: seconds that never go back.
    """

    def __init__(self, connected: Callable[[], set[Peer]], clock: Callable[[], float]) -> None:
        self._connected = connected
        self._clock = clock
        #: host -> when it was told of
        self._told: dict[str, float] = {}
        #: began, and have not called
        self._silent: set[Peer] = set()
        #: have called, and may still be connected
        self._known: set[Peer] = set()

    def begun(self) -> set[Peer]:
        """Return who is connected while a handshake begins, for `watch`. Safe in any thread."""
        return self._connected()

    def watch(self, connected: set[Peer]) -> None:
        """Notice those of them that are new."""
        self._known &= connected
        self._silent |= connected - self._known

    def called(self, peer: Peer) -> None:
        """A call came from there: there was a handshake."""
        self._silent.discard(peer)
        self._known.add(peer)

    def check(self) -> None:
        """Tell of those that are gone; to be called every now and then."""
        if not self._silent:
            return
        connected = self._connected()
        now = self._clock()
        self._told = {host: at for host, at in self._told.items() if now - at < _ONCE_IN}
        failed = sorted(peer for peer in self._silent - connected if peer[0] not in self._told)
        self._silent &= connected
        if failed:
            self._told.update((host, now) for host, _ in failed)
            names = ", ".join(f"{host} port {port}" for host, port in failed[:_NAMED])
            more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
            _log.warning(
                "refused in the TLS handshake: %s%s. Who joins needs the cluster's token, or "
                "certificates of its authority that are valid now, and TLS",
                names,
                more,
            )


def connected_to(port: int) -> set[Peer]:
    """Return the other sides of all connections of a port here, by the kernel's table."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/self/net", name).read_text().splitlines()[1:]
        except OSError:  # no such family here
            continue
        for line in lines:
            _, local, remote, state, *_ = line.split()
            if state == _ESTABLISHED and int(local.rpartition(":")[2], 16) == port:
                host, _, other = remote.rpartition(":")
                found.add((_address(host), int(other, 16)))
    return found


def _address(digits: str) -> str:
    """Return an address of the kernel's table: words of 4 bytes, each in the machine's order."""
    raw = bytes.fromhex(digits)
    packed = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return _plain(ipaddress.ip_address(packed))


def parse_peer(text: str) -> Peer | None:
    """Return the host and the port of a peer that the transport writes ``ipv4:10.0.0.5:42``."""
    family, _, rest = unquote(text).partition(":")
    host, _, port = rest.rpartition(":")
    if family not in {"ipv4", "ipv6"}:
        return None
    return _plain(ipaddress.ip_address(host.strip("[]").partition("%")[0])), int(port)


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
