from __future__ import annotations

import socket

import pytest

from millpond.cluster.addresses import (
    is_loopback,
    join_address,
    reachable_host,
    split_address,
    why_not_bound,
)
from millpond.errors import ConfigurationError


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:7600", "127.0.0.1", 7600),
        ("head.example:1", "head.example", 1),
        ("[::1]:65535", "::1", 65535),
    ],
)
def test_addresses_come_apart_and_together(address: str, host: str, port: int) -> None:
    assert split_address(address) == (host, port)
    assert join_address(host, port) == address


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":7600", "host:x", "host:0", "host:65536", "::1:7600", "h:-1"]
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ConfigurationError, match="host:port"):
        split_address(address)


def test_which_hosts_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.5", "head.example")))


def test_a_wildcard_is_nowhere_to_connect_to() -> None:
    assert reachable_host("10.0.0.5") == "10.0.0.5"
    assert reachable_host("head.example") == "head.example"
    assert reachable_host("0.0.0.0") != "0.0.0.0"
    socket.inet_pton(socket.AF_INET, reachable_host("0.0.0.0"))
    socket.inet_pton(socket.AF_INET6, reachable_host("::"))


def test_why_a_port_cannot_be_had() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = why_not_bound("127.0.0.1", port, "?")
    assert str(error) == f"cannot listen on 127.0.0.1:{port}: another process uses this port"
    assert "192.0.2.1:80: Cannot assign" in str(why_not_bound("192.0.2.1", 80, "?"))
