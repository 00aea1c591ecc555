"""A link over two queues in the place of a stream."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from millpond.cluster import link as link_module
from millpond.cluster.link import MAX_BATCH_BYTES, Link, SlowPeerError
from millpond.errors import ProtocolError
from millpond.wire import messages as m


class Pipe:
    """One direction of a stream; an exception in it breaks the stream."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.writes: list[int] = []

    async def read(self) -> bytes:
        data = await self.queue.get()
        if isinstance(data, Exception):
            raise data
        return data

    async def write(self, data: bytes) -> None:
        self.writes.append(len(data))
        await self.queue.put(data)

    async def end(self) -> None:
        await self.queue.put(b"")


def messages(count: int, size: int = 0) -> list[msgspec.Struct]:
    return [m.FunctionBlob(number, bytes(size)) for number in range(count)]


async def run_pair(sent: list[msgspec.Struct]) -> tuple[list[Any], Pipe]:
    """Send messages from one side to the other and close; return what came, and how."""
    there, back = Pipe(), Pipe()
    client = Link(back.read, there.write, there.end)
    server = Link(there.read, back.write)
    got: list[Any] = []
    for message in sent:
        client.send(message)
    client.close()

    async def serve() -> None:
        await server.run(got.append)
        await back.end()  # as the end of the call does

    await asyncio.gather(client.run(got.append), serve())
    return got, there


async def _pair(sent: list[msgspec.Struct]) -> tuple[list[Any], Pipe]:
    async with asyncio.timeout(10):
        return await run_pair(sent)


def test_messages_arrive_in_order_and_in_one_batch() -> None:
    sent = messages(1000)
    got, pipe = asyncio.run(_pair(sent))
    assert got == sent
    assert len(pipe.writes) == 1


def test_what_is_large_is_cut() -> None:
    sent = messages(3, size=MAX_BATCH_BYTES)
    got, pipe = asyncio.run(_pair(sent))
    assert got == sent
    assert len(pipe.writes) == 4
    assert max(pipe.writes) <= MAX_BATCH_BYTES


@pytest.mark.parametrize("garbage", [b"\xff" * 40, (2**32 - 1).to_bytes(4, "little") + b"x"])
def test_garbage_and_giant_frames_end_the_link(garbage: bytes) -> None:
    async def scenario() -> None:
        there, back = Pipe(), Pipe()
        await there.write(garbage)
        async with asyncio.timeout(10):
            await Link(there.read, back.write).run(lambda _: None)

    with pytest.raises(ProtocolError):
        asyncio.run(scenario())


def test_what_came_before_the_break_is_served() -> None:
    got: list[Any] = []

    async def scenario() -> None:
        there, back = Pipe(), Pipe()
        link = Link(back.read, there.write, there.end)
        other = Link(there.read, back.write)
        other.send(m.Shutdown())
        other.close()
        async with asyncio.timeout(10):
            await other.run(lambda _: None)
            await back.queue.put(ConnectionError("reset"))
            await link.run(got.append)

    with pytest.raises(ConnectionError, match="reset"):
        asyncio.run(scenario())
    assert got == [m.Shutdown()]


class Slow(Pipe):
    """A stream of which the other side takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.taking = asyncio.Event()

    async def write(self, data: bytes) -> None:
        await self.taking.wait()
        await super().write(data)


def test_a_link_is_crowded_until_most_has_been_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_CROWDED", 5 << 20)
    monkeypatch.setattr(link_module, "_FREE", 2 << 20)
    free: list[int] = []

    async def scenario() -> None:
        slow, back = Slow(), Pipe()
        link = Link(back.read, slow.write, slow.end)
        running = asyncio.create_task(link.run(lambda _: None))
        for message in messages(5, size=1 << 20):
            link.send(message)
            assert not link.crowded or link.unsent > 5 << 20
            await asyncio.sleep(0)
        assert link.crowded
        link.when_free(lambda: free.append(link.unsent))
        await asyncio.sleep(0.01)
        assert free == []
        slow.taking.set()
        while not free:  # noqa: ASYNC110 - each turn of the loop counts
            await asyncio.sleep(0)
        assert not link.crowded
        link.close()
        await back.end()
        await running
        assert link.unsent == 0

    asyncio.run(asyncio.wait_for(scenario(), 10))
    (left,) = free
    assert 1 << 20 < left <= 2 << 20


@pytest.mark.parametrize("end", ["closed", "broken"])
def test_who_waits_for_room_is_told_of_the_end(end: str) -> None:
    free: list[str] = []

    async def scenario() -> None:
        slow, back = Slow(), Pipe()
        link = Link(back.read, slow.write)
        link.when_free(lambda: free.append(end))
        running = asyncio.create_task(link.run(lambda _: None))
        await asyncio.sleep(0)
        if end == "closed":
            link.close()
        else:
            await back.queue.put(ConnectionError("reset"))
            with pytest.raises(ConnectionError):
                await running
        assert free == [end]
        running.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_link_that_keeps_too_much_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_MOST", 5 << 20)

    async def scenario() -> None:
        slow, back = Slow(), Pipe()
        link = Link(back.read, slow.write)
        running = asyncio.create_task(link.run(lambda _: None))
        for message in messages(6, size=1 << 20):
            await asyncio.sleep(0)
            link.send(message)
        await running

    with pytest.raises(SlowPeerError, match=r"\d+ bytes waited to be sent"):
        asyncio.run(asyncio.wait_for(scenario(), 10))
