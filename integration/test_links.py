"""The links between nodes over real connections; the nodes behind them are stand-ins."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

import millpond
from integration.cluster_support import needs_cluster
from integration.conftest import MIB
from integration.stand_ins import OBJECT, Net, fetch, run, until
from millpond.cluster.links import FetchError, HandedOnError
from millpond.errors import ClusterError
from millpond.testing import Cluster
from millpond.wire import messages as m
from millpond.wire.messages import cluster as c

pytestmark = needs_cluster


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


def test_who_sends_to_a_slow_node_is_to_wait() -> None:
    async def scenario(net: Net) -> None:
        head, one = await net.add("head"), await net.add("one.")
        taking = asyncio.Event()
        link = head.links._links[b"one."]
        read = link._read

        async def read_slowly() -> bytes:
            await taking.wait()
            return await read()

        link._read = read_slowly
        paused: list[str] = []
        sent = 0

        def pause() -> Callable[[], None]:
            paused.append("paused")
            return lambda: paused.append("free")

        while not paused:
            one.links.send(b"head", m.FunctionBlob(sent, bytes(MIB)))
            sent += 1
            one.links.wait_for_room(b"head", pause)
            await asyncio.sleep(0.001)
            assert sent < 200
        await asyncio.sleep(0.1)
        assert paused == ["paused"]
        taking.set()
        await until(lambda: len(head.messages) == sent)
        assert paused == ["paused", "free"]
        assert [message.request for _, message in head.messages] == list(range(sent))
        one.links.wait_for_room(b"head", pause)
        assert len(paused) == 2

    run(scenario, patience=60.0)


def test_a_node_that_takes_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from millpond.cluster import link as link_module

    monkeypatch.setattr(link_module, "_MOST", 32 * MIB)

    async def scenario(net: Net) -> None:
        head, one, two = [await net.add(name) for name in ("head", "one.", "two.")]
        one.links._links[b"head"]._read = asyncio.Event().wait  # type: ignore[assignment]
        while head.links.send(b"one.", m.FunctionBlob(0, bytes(MIB))):  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert "it is too slow" in head.left[b"one."]
        await until(lambda: b"one." in two.left)

    run(scenario, patience=60.0)
    assert [message for message in caplog.messages if "too slow" in message]


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

        run(scenario, token=cluster._token)
        assert millpond.statistics().store.num_pinned == statistics.store.num_pinned


def test_nothing_is_imported_for_one_node() -> None:
    """What importing the package costs everybody must not grow with what few need."""
    code = "import sys, millpond; print({'grpc', 'cryptography'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
