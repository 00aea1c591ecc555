"""Who is not let in, and what is no message: an error where it helps, one line on the other side.

And the cluster goes on: in each case another node joins afterwards.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from integration.cluster_support import needs_cluster
from integration.stand_ins import OBJECT, TOKEN, Net, Node, fetch, run, until
from millpond.cluster.links import FetchError
from millpond.errors import (
    AuthenticationError,
    CertificateError,
    ClusterError,
    DuplicateNodeError,
    HeadUnreachableError,
    VersionMismatchError,
)
from millpond.wire import messages as m
from millpond.wire.messages import cluster as c

pytestmark = needs_cluster

Scenario = Callable[[Net, Node], Awaitable[None]]


def refused(
    scenario: Scenario, caplog: pytest.LogCaptureFixture, line: str, **settings: Any
) -> None:
    """Run what is refused by a head, which says so in one line; then another node joins it."""

    async def whole(net: Net) -> None:
        head = await net.add("head")
        await scenario(net, head)
        await until(lambda: caplog.messages)
        await asyncio.sleep(0.3)  # no other line follows
        joined = len(head.joined)
        late = await net.add("late")
        assert len(head.joined) == joined + 1
        assert late.links.send(b"head", m.Shutdown())

    run(whole, **settings)
    (said,) = caplog.messages
    assert line in said


def certificate_files(directory: Path, begin: int, end: int) -> c.TlsFiles:
    """Make files of the cluster's authority that are valid from the one year to the other."""
    from millpond.cluster.certificates import derived_certificates

    validity = (dt.datetime(begin, 1, 1, tzinfo=dt.UTC), dt.datetime(end, 1, 1, tzinfo=dt.UTC))
    made = derived_certificates(TOKEN, validity)
    paths = [directory / name for name in ("ca.pem", "cert.pem", "key.pem")]
    for path, content in zip(paths, (made.authority, made.certificate, made.key), strict=True):
        path.write_bytes(content)
    return c.TlsFiles(*map(str, paths))


# --- who wants to join ---------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
def test_another_token(caplog: pytest.LogCaptureFixture, tls: bool) -> None:
    async def scenario(net: Net, head: Node) -> None:
        stranger = Net(net.stack, token="x" * 32, tls=tls)
        stranger.head = net.head
        error = CertificateError if tls else AuthenticationError
        with pytest.raises(error, match="token"):
            await stranger.add("one.")

    refused(scenario, caplog, "refused in the TLS handshake" if tls else "a wrong token", tls=tls)


def test_no_tls_where_it_is_used(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(net: Net, head: Node) -> None:
        stranger = Net(net.stack)
        stranger.head = net.head
        with pytest.raises(HeadUnreachableError, match="one side uses TLS"):
            await stranger.add("one.")

    refused(scenario, caplog, "refused in the TLS handshake", tls=True)


def test_an_expired_certificate(tmp_path: Path) -> None:
    async def scenario(net: Net) -> None:
        await net.add("head")
        with pytest.raises(CertificateError, match=r"ca\.pem is valid from 2000"):
            await net.add("one.", certificate_files(tmp_path, 2000, 2010))

    run(scenario, tls=True)


def test_a_certificate_that_is_not_valid_by_the_other_clock(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millpond.cluster import certificates

    async def scenario(net: Net, head: Node) -> None:
        monkeypatch.setattr(certificates, "_check_dates", lambda *_: None)  # by its own, it is
        with pytest.raises(CertificateError, match="not valid now"):
            await net.add("one.", certificate_files(tmp_path, 2000, 2010))

    refused(scenario, caplog, "refused in the TLS handshake", tls=True)


def test_two_nodes_of_one_id(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(net: Net, head: Node) -> None:
        await net.add("one.")
        with pytest.raises(
            DuplicateNodeError, match=f"refused: a node with the id {b'one.'.hex()}"
        ):
            await net.add("one.")

    refused(scenario, caplog, "is a member already")


def test_the_id_of_the_head(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(net: Net, head: Node) -> None:
        with pytest.raises(DuplicateNodeError, match="refused"):
            await net.add("head")

    refused(scenario, caplog, "is a member already")


def test_another_version_is_refused_with_both_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millpond.cluster import grpc_links

    async def scenario(net: Net, head: Node) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(
                grpc_links,
                "credentials",
                lambda token: (("millpond-token", token), ("millpond-version", "millpond 99")),
            )
            with pytest.raises(VersionMismatchError, match=rf"millpond 99.*protocol {m.PROTOCOL}"):
                await net.add("one.")

    refused(scenario, caplog, "millpond 99")


def test_a_link_of_one_who_never_joined(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(net: Net, head: Node) -> None:
        other = await Net(net.stack).add("othr")
        with pytest.raises(ClusterError, match="no member"):
            await other.links._connect(head.info)
        assert head.joined == []

    refused(scenario, caplog, "refused a link")


def test_nobody_at_the_address() -> None:
    async def scenario(net: Net) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            net.head = f"127.0.0.1:{unused.getsockname()[1]}"
            with pytest.raises(HeadUnreachableError, match=net.head):
                await net.add("one.")
        net.head = "nowhere.invalid:7600"
        with pytest.raises(HeadUnreachableError, match=r"nowhere\.invalid"):
            await net.add("two.")

    run(scenario)


# --- what is no message --------------------------------------------------------------------------


GARBAGE = [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 65536]


@pytest.mark.parametrize("garbage", GARBAGE, ids=["http", "noise"])
def test_what_is_no_handshake(caplog: pytest.LogCaptureFixture, garbage: bytes) -> None:
    def send(address: str) -> None:
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(garbage)
            connection.recv(1000)

    async def scenario(net: Net, head: Node) -> None:
        await asyncio.to_thread(send, net.head)

    refused(scenario, caplog, "refused in the TLS handshake: 127.0.0.1 port", tls=True)


def test_a_client_without_a_certificate(caplog: pytest.LogCaptureFixture) -> None:
    def send(address: str) -> bytes:
        host, _, port = address.partition(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection((host, int(port))) as connection,
            context.wrap_socket(connection) as wrapped,
        ):
            try:
                return wrapped.recv(1000)
            except OSError:
                return b""

    async def scenario(net: Net, head: Node) -> None:
        assert await asyncio.to_thread(send, net.head) == b""

    refused(scenario, caplog, "refused in the TLS handshake", tls=True)


async def call(net: Net, head: Node, name: str, data: bytes, *more: tuple[str, Any]) -> None:
    """Call a head with the right token, and something that no node says."""
    import grpc.aio

    from millpond.cluster import calls
    from millpond.cluster.security import credentials

    async with grpc.aio.insecure_channel(net.head) as channel:
        path, metadata = f"/{calls.SERVICE}/{name}", (*credentials(TOKEN), *more)
        answer: Any
        if name == calls.JOIN:
            answer = channel.unary_unary(path)(data, metadata=metadata)
        elif name == calls.FETCH:
            answer = channel.unary_stream(path)(data, metadata=metadata).read()
        else:
            answer = channel.stream_stream(path)(metadata=metadata).read()
        with pytest.raises(grpc.aio.AioRpcError):
            await answer


@pytest.mark.parametrize("name", ["Join", "Link", "Fetch"])
def test_a_call_that_says_nothing(caplog: pytest.LogCaptureFixture, name: str) -> None:
    async def scenario(net: Net, head: Node) -> None:
        await call(net, head, name, b"\xff" * 100, ("millpond-node-bin", b"\xff" * 100))

    refused(scenario, caplog, "refused")


def test_bytes_beyond_the_end_of_an_object() -> None:
    async def scenario(net: Net) -> None:
        await net.add("head")
        one = await net.add("one.")
        with pytest.raises(FetchError):
            await fetch(one, b"head", b"object", bytearray(10), len(OBJECT) - 5)

    run(scenario)


FRAMES = {
    "four GiB": (struct.pack("<I", 0xFFFFFFFF) + bytes(100), "claims 4294967295 bytes"),
    "noise": (struct.pack("<I", 100) + b"\xc1" * 100, "does not decode"),
    "no such message": (struct.pack("<I", 3) + b"\x92\xcd\xff", "does not decode"),
}


@pytest.mark.parametrize(("frame", "reason"), FRAMES.values(), ids=FRAMES)
def test_a_member_that_sends_garbage_is_thrown_out(
    caplog: pytest.LogCaptureFixture, frame: bytes, reason: str
) -> None:
    async def scenario(net: Net, head: Node) -> None:
        one, two = [await net.add(name) for name in ("one.", "two.")]
        one.links._links[b"head"]._out += frame
        one.links.send(b"head", m.Shutdown())
        await until(lambda: one.alone and b"one." in two.left)
        assert "it sent what is no message" in head.left[b"one."]
        assert reason in head.left[b"one."]
        assert head.links.send(b"two.", m.Shutdown())

    refused(scenario, caplog, reason)
