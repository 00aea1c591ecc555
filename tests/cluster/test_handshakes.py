"""Who did not get past the handshake, found out from the kernel's connections."""

from __future__ import annotations

import socket

import pytest

from millpond.cluster.handshakes import Handshakes, Peer, connected_to, parse_peer

ONE, TWO = ("10.0.0.5", 1), ("10.0.0.6", 2)


class Port:
    def __init__(self) -> None:
        self.connected: set[Peer] = set()
        self.now = 0.0
        self.handshakes = Handshakes(lambda: set(self.connected), lambda: self.now)

    def begin(self, peer: Peer) -> None:
        self.connected.add(peer)
        self.handshakes.watch(self.handshakes.begun())


def told(port: Port, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    port.handshakes.check()
    return caplog.messages


def test_who_ends_without_a_call_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    port = Port()
    port.begin(ONE)
    assert told(port, caplog) == []
    port.connected.clear()
    (line,) = told(port, caplog)
    assert line.startswith("refused in the TLS handshake: 10.0.0.5 port 1. ")
    assert told(port, caplog) == []


def test_a_host_that_comes_often_is_told_of_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = Port()
    lines = []
    for number in range(100):
        port.now += 5
        port.begin(("10.0.0.5", number))
        port.connected.clear()
        lines += told(port, caplog)
    assert len(lines) == 9  # in 500 seconds
    port.begin(TWO)
    port.connected.clear()
    assert len(told(port, caplog)) == 1


def test_who_called_is_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    port = Port()
    port.begin(ONE)
    port.handshakes.called(ONE)
    port.begin(TWO)
    port.handshakes.called(TWO)
    port.connected.clear()
    assert told(port, caplog) == []


def test_a_port_that_was_used_before_may_fail_later(caplog: pytest.LogCaptureFixture) -> None:
    port = Port()
    port.begin(ONE)
    port.handshakes.called(ONE)
    port.connected.clear()
    port.begin(TWO)
    port.begin(ONE)
    port.connected.clear()
    assert "10.0.0.5 port 1, 10.0.0.6 port 2." in told(port, caplog)[0]


def test_a_line_does_not_name_hundreds(caplog: pytest.LogCaptureFixture) -> None:
    port = Port()
    for number in range(300):
        port.begin(("10.0.0.5", number))
    port.connected.clear()
    (line,) = told(port, caplog)
    assert "port 4 and 295 more." in line


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_knows_who_is_connected(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with server:
        port = server.getsockname()[1]
        assert connected_to(port) == set()
        with socket.create_connection((host, port)) as client:
            assert connected_to(port) == {client.getsockname()[:2]}


def test_a_peer_as_the_transport_writes_it() -> None:
    assert parse_peer("ipv4:10.0.0.5:4242") == ("10.0.0.5", 4242)
    assert parse_peer("ipv6:%5B::1%5D:80") == ("::1", 80)
    assert parse_peer("ipv6:[::ffff:10.0.0.5]:80") == ("10.0.0.5", 80)
    assert parse_peer("unix:/somewhere") is None
