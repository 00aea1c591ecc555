"""The links between nodes over real connections; the nodes behind them are stand-ins."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import millpond
from integration.conftest import MIB
from millpond.cluster.links import FetchError, FetchRequest, HandedOnError
from millpond.errors import (
    CertificateError,
    ClusterError,
    DuplicateNodeError,
    VersionMismatchError,
)
from millpond.scheduler.placement import Load
from millpond.testing import Cluster
from millpond.wire import messages as m
from millpond.wire.messages import cluster as c

if TYPE_CHECKING:
    from millpond.cluster.grpc_links import GrpcLinks

pytestmark = pytest.mark.skipif(
    not (importlib.util.find_spec("grpc") and importlib.util.find_spec("cryptography")),
    reason="needs millpond[cluster]",
)

TOKEN = "t" * 32
OBJECT = np.random.default_rng(1).bytes(5 * MIB + 17)


class Node:
    """A node that only keeps what it is told."""

    def __init__(self, name: str) -> None:
        self.info = c.NodeInfo(name.encode(), "", name, 1, {}, 0, False)
        self.joined: list[bytes] = []
        self.left: dict[bytes, str] = {}
        self.messages: list[tuple[bytes, Any]] = []
        self.loads: dict[bytes, Load] = {}
        self.alone: list[str] = []
        #: pieces served so far
        self.served = 0
        self.stall = False
        self.links: GrpcLinks

    def on_joined(self, node: c.NodeInfo) -> None:
        self.joined.append(node.node_id)

    def on_left(self, node_id: bytes, reason: str) -> None:
        self.left[node_id] = reason

    def on_load(self, node_id: bytes, load: Load) -> None:
        self.loads[node_id] = load

    def on_message(self, node_id: bytes, message: Any) -> None:
        self.messages.append((node_id, message))

    def on_alone(self, reason: str) -> None:
        self.alone.append(reason)

    def load(self) -> Load:
        return Load(1, 2, 0.5, 100)

    async def serve_fetch(self, request: FetchRequest) -> AsyncIterator[memoryview]:
        if request.object_id == b"elsewhere":
            raise HandedOnError(request.reader)
        if request.object_id != b"object":
            raise FetchError("it is not here", gone=True)
        whole = memoryview(OBJECT)[request.offset : request.offset + request.size]
        for start in range(0, len(whole), MIB):
            yield whole[start : start + MIB]
            self.served += 1
            if self.stall:
                await asyncio.Event().wait()


async def fetch(
    reader: Node, source: bytes, object_id: bytes, target: bytearray, offset: int = 0
) -> list[int]:
    """Fill a target; return how many bytes were there, each time that was told."""
    told: list[int] = []
    request = FetchRequest(object_id, offset, len(target), reader.info.node_id)
    await reader.links.fetch(source, request, memoryview(target), told.append)
    return told


class Net:
    """Nodes that are started and closed together."""

    def __init__(self, stack: AsyncExitStack, *, tls: bool = False, patience: float = 5.0) -> None:
        self._stack = stack
        self._tls = tls
        self._patience = patience
        self.head = ""

    async def add(self, name: str, files: c.TlsFiles | None = None) -> Node:
        from millpond.cluster.grpc_links import GrpcLinks

        node = Node(name)
        settings = c.ClusterSettings(
            self.head, "127.0.0.1", 0, TOKEN, self._tls, files, patience=self._patience
        )
        node.links = GrpcLinks(node.info, settings, node)
        self._stack.push_async_callback(node.links.close)
        await node.links.start()
        node.info = node.links.info
        self.head = self.head or node.info.address
        return node


def run(scenario: Callable[[Net], Awaitable[None]], **settings: Any) -> None:
    async def body() -> None:
        async with asyncio.timeout(30), AsyncExitStack() as stack:
            await scenario(Net(stack, **settings))

    asyncio.run(body())


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - what it waits for says nothing of itself
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("tls", [False, True])
def test_messages_reach_everybody_in_order(tls: bool) -> None:
    async def scenario(net: Net) -> None:
        nodes = [await net.add(name) for name in ("head", "one.", "two.")]
        for node in nodes:
            others = [other for other in nodes if other is not node]
            assert set(node.joined) == {other.info.node_id for other in others}
            for number in range(500):
                for other in others:
                    assert node.links.send(other.info.node_id, m.FunctionBlob(number, b"x" * 100))
        for node in nodes:
            await until(lambda node=node: len(node.messages) == 1000)  # type: ignore[misc]
            for other in set(nodes) - {node}:
                came = [
                    msg.request for sender, msg in node.messages if sender == other.info.node_id
                ]
                assert came == list(range(500))

    run(scenario, tls=tls)


def test_a_message_larger_than_any_batch() -> None:
    async def scenario(net: Net) -> None:
        head, one = await net.add("head"), await net.add("one.")
        blob = m.FunctionBlob(1, bytes(40 * MIB))
        assert one.links.send(b"head", blob)
        await until(lambda: head.messages)
        assert head.messages == [(b"one.", blob)]

    run(scenario)


def test_loads_are_passed_on() -> None:
    async def scenario(net: Net) -> None:
        head, one, two = [await net.add(name) for name in ("head", "one.", "two.")]
        await until(lambda: len(head.loads) == len(one.loads) == len(two.loads) == 2)
        assert one.loads[b"two."] == two.load()

    run(scenario)


def test_who_leaves_is_gone_for_all() -> None:
    async def scenario(net: Net) -> None:
        head, one, two = [await net.add(name) for name in ("head", "one.", "two.")]
        await two.links.close()
        await until(lambda: head.left and one.left)
        assert head.left == {b"two.": "it left"}
        assert not one.links.send(b"two.", m.Shutdown())
        assert not head.links.send(b"two.", m.Shutdown())
        assert one.links.send(b"head", m.Shutdown())

    run(scenario)


def test_who_leaves_has_its_last_words() -> None:
    async def scenario(net: Net) -> None:
        head, one = await net.add("head"), await net.add("one.")
        for number in range(1000):
            one.links.send(b"head", m.FunctionBlob(number, bytes(1000)))
        await one.links.close()
        await until(lambda: head.left)
        assert [message.request for _, message in head.messages] == list(range(1000))

    run(scenario)


def test_the_end_of_the_head_is_the_end_of_the_cluster() -> None:
    async def scenario(net: Net) -> None:
        head, one, two = [await net.add(name) for name in ("head", "one.", "two.")]
        await head.links.close()
        await until(lambda: one.alone and two.alone)
        assert one.alone == ["the head of the cluster was stopped"]
        assert set(one.left) == {b"head", b"two."}

    run(scenario)


def test_a_node_that_sends_garbage_is_thrown_out() -> None:
    async def scenario(net: Net) -> None:
        head, one, two = [await net.add(name) for name in ("head", "one.", "two.")]
        one.links._links[b"head"]._out += b"\xff" * 100
        one.links.send(b"head", m.Shutdown())
        await until(lambda: one.alone and b"one." in two.left)
        assert "no message" in head.left[b"one."]
        assert head.links.send(b"two.", m.Shutdown())

    run(scenario)


@pytest.mark.parametrize("tls", [False, True])
def test_objects_are_fetched_whole_and_in_parts(tls: bool) -> None:
    async def scenario(net: Net) -> None:
        await net.add("head")
        one, two = await net.add("one."), await net.add("two.")
        for fetcher, source in ((two, b"one."), (one, b"two.")):
            for offset, size in ((0, len(OBJECT)), (1000, 3 * MIB), (len(OBJECT) - 1, 1), (7, 0)):
                target = bytearray(size)
                told = await fetch(fetcher, source, b"object", target, offset)
                assert target == OBJECT[offset : offset + size]
                assert told == sorted(told)
                assert told[-1:] == ([size] if size else [])

    run(scenario, tls=tls)


def test_an_object_that_is_not_there() -> None:
    async def scenario(net: Net) -> None:
        await net.add("head")
        one = await net.add("one.")
        with pytest.raises(FetchError, match="not here") as caught:
            await fetch(one, b"head", b"nothing", bytearray(5))
        assert caught.value.gone
        with pytest.raises(FetchError, match="no member") as caught:
            await fetch(one, b"gone", b"object", bytearray(5))
        assert not caught.value.gone
        with pytest.raises(FetchError, match=r"bytes came instead of \d+"):
            await fetch(one, b"head", b"object", bytearray(len(OBJECT) + 1))
        with pytest.raises(HandedOnError) as handed:
            await fetch(one, b"head", b"elsewhere", bytearray(5))
        assert handed.value.node_id == b"one."

    run(scenario)


def test_a_node_that_is_not_the_one_that_is_meant() -> None:
    """An address can lead elsewhere: loopback does on every machine."""

    async def scenario(net: Net) -> None:
        head, one, two = [await net.add(name) for name in ("head", "one.", "two.")]
        head.links._nodes[b"one."] = two.info
        with pytest.raises(FetchError, match=f"this is node {b'two.'.hex()}, not") as caught:
            await fetch(head, b"one.", b"object", bytearray(5))
        assert not caught.value.gone
        wrong = c.NodeInfo(b"miss", one.info.address, "", 1, {}, 0, False)
        with pytest.raises(ClusterError, match=f"not {b'miss'.hex()}"):
            await head.links._connect(wrong)

    run(scenario)


def test_a_fetch_that_is_interrupted_says_how_far_it_came() -> None:
    async def scenario(net: Net) -> None:
        head, one = await net.add("head"), await net.add("one.")
        one.stall = True
        target = bytearray(len(OBJECT))
        fetching = asyncio.create_task(fetch(head, b"one.", b"object", target))
        await until(lambda: one.served)
        await asyncio.sleep(0.05)
        await one.links.close()
        with pytest.raises(FetchError) as caught:
            await fetching
        filled = caught.value.filled
        assert not caught.value.gone
        assert filled > 0
        assert target[:filled] == OBJECT[:filled]

    run(scenario)


def test_a_fetch_can_be_given_up() -> None:
    async def scenario(net: Net) -> None:
        head, one = await net.add("head"), await net.add("one.")
        one.stall = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await fetch(head, b"one.", b"object", bytearray(len(OBJECT)))
        assert head.links.send(b"one.", m.Shutdown())

    run(scenario)


def test_two_nodes_of_one_id() -> None:
    async def scenario(net: Net) -> None:
        await net.add("head")
        await net.add("one.")
        with pytest.raises(DuplicateNodeError, match=b"one.".hex()):
            await net.add("one.")
        with pytest.raises(DuplicateNodeError, match="refused"):
            await net.add("head")

    run(scenario)


def test_another_version_is_refused_with_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from millpond.cluster import grpc_links

    async def scenario(net: Net) -> None:
        await net.add("head")
        monkeypatch.setattr(
            grpc_links,
            "credentials",
            lambda token: (("millpond-token", token), ("millpond-version", "millpond 99")),
        )
        with pytest.raises(VersionMismatchError, match=rf"millpond 99.*protocol {m.PROTOCOL}"):
            await net.add("one.")

    run(scenario)


def test_an_expired_certificate(tmp_path: Any) -> None:
    import datetime as dt

    from millpond.cluster.certificates import derived_certificates

    long_ago = derived_certificates(TOKEN, dt.datetime(2001, 1, 1, tzinfo=dt.UTC))
    paths = [tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")]
    contents = (long_ago.authority, long_ago.certificate, long_ago.key)
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)

    async def scenario(net: Net) -> None:
        await net.add("head")
        with pytest.raises(CertificateError, match=r"ca\.pem is valid from 2000"):
            await net.add("one.", c.TlsFiles(*map(str, paths)))

    run(scenario, tls=True)


def test_a_link_of_one_who_never_joined() -> None:
    async def scenario(net: Net) -> None:
        head, stranger = await net.add("head"), Net(net._stack)
        other = await stranger.add("othr")
        with pytest.raises(ClusterError, match="no member"):
            await other.links._connect(head.info)
        assert head.joined == []

    run(scenario)


def test_a_node_serves_the_objects_of_its_store() -> None:
    """In memory and spilled, from a real node to a stand-in that joined its cluster."""
    with Cluster(1, object_store_memory=32 * MIB) as cluster:
        cluster.connect(object_store_memory=32 * MIB)
        values = [np.random.default_rng(seed).bytes(8 * MIB) for seed in range(6)]
        refs = [millpond.put(value) for value in values]
        here = next(node.node_id for node in millpond.nodes() if node.is_here)
        statistics = millpond.statistics()
        assert statistics.store.spilled_bytes > 0

        async def scenario(net: Net) -> None:
            net.head = cluster.address
            one = await net.add("one.")
            await until(lambda: bytes.fromhex(here) in one.joined)
            for ref, value in zip(refs, values, strict=True):
                with pytest.raises(FetchError, match=r"has (\d+) bytes") as caught:
                    await fetch(one, bytes.fromhex(here), ref.id, bytearray(9 * MIB))
                size = int(str(caught.value).split(" has ")[1].split()[0])
                target = bytearray(size)
                await fetch(one, bytes.fromhex(here), ref.id, target)
                start = target.find(value[:64])
                assert target[start : start + len(value)] == value
            with pytest.raises(FetchError, match="not in the store") as caught:
                await fetch(one, bytes.fromhex(here), bytes(16), bytearray(1))
            assert caught.value.gone

        global TOKEN
        before, TOKEN = TOKEN, cluster._token
        try:
            run(scenario)
        finally:
            TOKEN = before
        assert millpond.statistics().store.num_pinned == statistics.store.num_pinned


def test_nothing_is_imported_for_one_node() -> None:
    """What importing the package costs everybody must not grow with what few need."""
    code = "import sys, millpond; print({'grpc', 'cryptography'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
