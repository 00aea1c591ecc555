"""Addresses of nodes: ``host:port`` in and out, and why a port cannot be had."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket

import psutil

from ..errors import ConfigurationError, PortError

__all__ = ["is_loopback", "join_address", "reachable_host", "split_address", "why_not_bound"]


def split_address(address: str) -> tuple[str, int]:
    """Return the host and the port of ``host:port``, where an IPv6 host is in brackets.

    Raises:
        ConfigurationError: it is no such thing.
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    wrong = not colon or not host or (":" in host and not bracketed)
    if wrong or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 1 << 16:
        raise ConfigurationError(
            f"the address of a cluster is host:port, such as 10.0.0.5:7600; it is {address!r}"
        )
    return host.strip("[]"), int(port)


def join_address(host: str, port: int) -> str:
    """Return ``host:port``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reachable_host(host: str) -> str:
    """Return where others reach a node that listens on a host, which may be the wildcard."""
    try:
        if not ipaddress.ip_address(host).is_unspecified:
            return host
    except ValueError:
        return host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for addresses in psutil.net_if_addrs().values():
        for found in addresses:
            name = found.address.partition("%")[0]
            if found.family == family and not _only_local(name):
                return name
    return "::1" if ":" in host else "127.0.0.1"


def _only_local(host: str) -> bool:
    address = ipaddress.ip_address(host)
    return address.is_loopback or address.is_link_local


def why_not_bound(host: str, port: int, text: str) -> PortError:
    """Return the error for a port that cannot be listened on, which the system tells best."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, port))
    except OSError as error:
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else str(error)
        text = "another process uses this port" if number == errno.EADDRINUSE else reason
    return PortError(f"cannot listen on {join_address(host, port)}: {text}")
