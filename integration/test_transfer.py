"""Objects on their way between nodes: real stores and real links, all in this process.

And one object that eight real nodes want at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import millpond
from integration.cluster_support import needs_cluster
from integration.conftest import MIB
from millpond.node.cluster_service import ClusterService
from millpond.node.fetch_service import FetchService
from millpond.node.object_service import ObjectService
from millpond.node.pulls import Pulls
from millpond.objectstore.arena import Arena
from millpond.objectstore.spill.local import LocalStorage
from millpond.scheduler.placement import Load
from millpond.testing import Cluster
from millpond.wire.messages import IN_ARENA, IN_FILE, MISSING, Copies, CopiesMade, Location
from millpond.wire.messages import cluster as c

if TYPE_CHECKING:
    from millpond.cluster.grpc_links import GrpcLinks

pytestmark = needs_cluster

SIZE = 24 * MIB
CONTENT = np.random.default_rng(1).bytes(SIZE)


class Node:
    """A node that has a store, links, and nothing else."""

    def __init__(self, name: bytes, directory: Path, capacity: int) -> None:
        loop = asyncio.get_running_loop()
        self.node_id = name
        self.arena = Arena(capacity)
        self.objects = ObjectService(self.arena, LocalStorage([directory]), loop, validate=True)
        info = c.NodeInfo(name, "", name.decode(), 1, {}, 0, False)
        self.cluster = ClusterService(info, lambda: Load(0, 1, 0.0, 0), str(directory))
        self.pulls = Pulls(self.objects, self.cluster, lambda _: self, loop)  # type: ignore[arg-type, return-value]
        self.fetches = FetchService(self.objects, name, self.pulls.arrival)
        self.cluster.serve_fetch = self._serve
        #: served, and as many bytes of each object at most before it waits for `go_on`
        self.stall_at = SIZE
        self.go_on = asyncio.Event()
        #: of the owner of all objects
        self.heard: list[Any] = []
        self.links: GrpcLinks

    def send(self, message: Any) -> None:
        self.heard.append(message)

    async def _serve(self, request: Any) -> Any:
        at = request.offset
        async for piece in self.fetches.serve(request):
            if at >= self.stall_at:
                await self.go_on.wait()
            yield piece
            at += len(piece)

    async def join(self, head: str, token: str) -> None:
        self.cluster.links = None
        settings = c.ClusterSettings(head, "127.0.0.1", 0, token)
        from millpond.cluster.grpc_links import GrpcLinks

        self.links = self.cluster.links = GrpcLinks(
            self.cluster.nodes[self.node_id], settings, self.cluster
        )
        await self.links.start()

    async def put(self, object_id: bytes, content: bytes) -> None:
        (location,) = await self._asked(
            lambda answer: self.objects.create([object_id], [len(content)], self.node_id, answer)
        )
        assert location.kind == IN_ARENA
        self.objects.block(location.offset, len(content))[:] = content
        self.objects.seal([object_id])

    async def pull(self, object_id: bytes, *sources: Node, size: int = SIZE) -> Location:
        """Have an object fetched, unless it is here, and pin it."""
        copies = [Copies(object_id, size, [source.node_id for source in sources])]
        (location,) = await self._asked(
            lambda answer: self.objects.pin([object_id], b"reader", answer, copies)
        )
        return location

    async def _asked(self, ask: Callable[[Callable[[list[Location]], None]], object]) -> Any:
        answer: asyncio.Future[list[Location]] = asyncio.get_running_loop().create_future()
        ask(answer.set_result)
        return await answer

    def content(self, location: Location) -> bytes:
        if location.kind == IN_ARENA:
            return bytes(self.objects.mapping.view(location.offset, location.size))
        assert location.kind == IN_FILE, location
        return Path(location.path).read_bytes()[location.offset :][: location.size]

    async def close(self) -> None:
        self.pulls.close()
        await self.links.close()
        self.objects.close()
        self.arena.close()


class Net:
    def __init__(self, stack: AsyncExitStack, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        self._head = ""

    async def add(self, *names: bytes, capacity: int = SIZE) -> list[Node]:
        nodes = []
        for name in names:
            directory = self._directory / name.decode()
            directory.mkdir()
            nodes.append(Node(name, directory, capacity))
            await nodes[-1].join(self._head, "t" * 32)
            self._stack.push_async_callback(nodes[-1].close)
            self._head = self._head or nodes[-1].links.info.address
        return nodes


def run(directory: Path, scenario: Callable[[Net], Awaitable[None]]) -> None:
    async def body() -> None:
        async with asyncio.timeout(60), AsyncExitStack() as stack:
            await scenario(Net(stack, directory))

    asyncio.run(body())


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - what it waits for says nothing of itself
        await asyncio.sleep(0.002)


OBJECT = b"headdriv00000001"


def test_a_transfer_that_breaks_off_goes_on_from_there_at_another_node(tmp_path: Path) -> None:
    async def scenario(net: Net) -> None:
        _, one, two, reader = await net.add(b"head", b"one.", b"two.", b"read")
        for source in (one, two):
            await source.put(OBJECT, CONTENT)
            source.stall_at = SIZE // 2
        pulling = asyncio.create_task(reader.pull(OBJECT, one, two))
        await until(lambda: reader.pulls.received >= SIZE // 2)
        first, second = (one, two) if one.fetches.sent else (two, one)
        second.go_on.set()
        await first.links.close()
        location = await pulling
        assert reader.content(location) == CONTENT
        assert reader.pulls.received == SIZE
        assert second.fetches.sent == SIZE - SIZE // 2

    run(tmp_path, scenario)


NAMES = [b"nod%d" % number for number in range(8)]


def test_one_object_for_many_nodes_leaves_its_holder_twice(tmp_path: Path) -> None:
    async def scenario(net: Net) -> None:
        (holder,) = await net.add(b"head")
        readers = await net.add(*NAMES)
        await holder.put(OBJECT, CONTENT)
        holder.stall_at = 2 * MIB  # so that all of them come while it is being read
        pulls = [asyncio.create_task(reader.pull(OBJECT, holder)) for reader in readers]
        await until(lambda: all(reader.pulls.received for reader in readers))
        holder.go_on.set()
        for reader, location in zip(readers, await asyncio.gather(*pulls), strict=True):
            assert reader.content(location) == CONTENT
            assert reader.heard == [CopiesMade(reader.node_id, [OBJECT])]
        assert holder.fetches.sent == 2 * SIZE
        assert sum(reader.fetches.sent for reader in readers) == 6 * SIZE
        assert max(reader.fetches.sent for reader in readers) <= 2 * SIZE
        await until(lambda: holder.objects.statistics().num_pinned == 0)

    run(tmp_path, scenario)


def test_a_node_hands_on_what_comes_into_a_file(tmp_path: Path) -> None:
    async def scenario(net: Net) -> None:
        (holder,) = await net.add(b"head")
        readers = await net.add(*NAMES[:5], capacity=SIZE // 2)
        await holder.put(OBJECT, CONTENT)
        holder.stall_at = 2 * MIB
        pulls = [asyncio.create_task(reader.pull(OBJECT, holder)) for reader in readers]
        await until(lambda: all(reader.pulls.received for reader in readers))
        holder.go_on.set()
        for reader, location in zip(readers, await asyncio.gather(*pulls), strict=True):
            assert location.kind == IN_FILE
            assert reader.content(location) == CONTENT
        assert holder.fetches.sent == 2 * SIZE

    run(tmp_path, scenario)


def test_when_a_node_in_the_middle_goes_those_below_it_lose_nothing(tmp_path: Path) -> None:
    async def scenario(net: Net) -> None:
        (holder,) = await net.add(b"head")
        readers = await net.add(*NAMES)
        await holder.put(OBJECT, CONTENT)
        holder.stall_at = SIZE // 2
        pulls = {
            reader.node_id: asyncio.create_task(reader.pull(OBJECT, holder)) for reader in readers
        }
        await until(lambda: all(reader.pulls.received >= SIZE // 2 for reader in readers))
        victim = max(readers, key=lambda reader: reader.fetches.sent)
        assert victim.fetches.sent
        await victim.links.close()
        holder.go_on.set()
        for reader in readers:
            if reader is not victim:
                assert reader.content(await pulls[reader.node_id]) == CONTENT
                assert reader.pulls.received == SIZE
        pulls[victim.node_id].cancel()

    run(tmp_path, scenario)


def test_what_its_owner_frees_on_the_way_is_missing_for_those_below(tmp_path: Path) -> None:
    async def scenario(net: Net) -> None:
        (holder,) = await net.add(b"head")
        readers = await net.add(*NAMES[:4])
        await holder.put(OBJECT, CONTENT)
        holder.stall_at = SIZE // 2
        pulls = [asyncio.create_task(reader.pull(OBJECT, holder)) for reader in readers]
        await until(lambda: all(reader.pulls.received >= SIZE // 2 for reader in readers))
        for node in (holder, *readers):
            node.objects.delete([OBJECT])
        holder.go_on.set()
        for location in await asyncio.gather(*pulls):
            assert location.kind == MISSING
        await until(lambda: not any(reader.pulls.inbound for reader in readers))
        for node in (holder, *readers):
            assert node.objects.statistics().num_objects == 0

    run(tmp_path, scenario)


def test_nodes_that_wrongly_name_each_other_do_not_wait_for_each_other(tmp_path: Path) -> None:
    async def scenario(net: Net) -> None:
        _, one, two = await net.add(b"head", b"one.", b"two.")
        pulls = [one.pull(OBJECT, two), two.pull(OBJECT, one)]
        for location in await asyncio.gather(*pulls):
            assert location.kind == MISSING

    run(tmp_path, scenario)


def test_one_object_for_eight_nodes_at_once() -> None:
    size = 64 * MIB
    with Cluster(0, object_store_memory=size * 5 // 4) as cluster:
        names = [name.decode() for name in NAMES]
        for name in names:
            cluster.add_node(resources={name: 1})
        cluster.connect(num_cpus=0)

        def read(block: Any) -> int:
            return int(block[-1])

        readers = [millpond.remote(read).options(resources={name: 1}) for name in names]
        millpond.get([reader.remote([7]) for reader in readers])  # there are workers
        ref = millpond.put(np.arange(size // 8))
        assert millpond.get([reader.remote(ref) for reader in readers]) == [size // 8 - 1] * 8
        statistics = millpond.statistics()
        assert size < statistics.sent_bytes < 3 * size + MIB
        assert statistics.received_bytes == 0
