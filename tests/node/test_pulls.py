"""Fetching objects from other nodes into a store, with simulated links."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from millpond.cluster.links import FetchError, FetchRequest
from millpond.node.object_service import ObjectService
from millpond.node.pulls import Pulls
from millpond.objectstore.arena import Arena
from millpond.objectstore.spill.local import LocalStorage
from millpond.wire.messages import (
    IN_ARENA,
    IN_FILE,
    MISSING,
    Copies,
    CopiesGone,
    CopiesMade,
    Location,
)

HERE, THERE, YONDER = b"nod1", b"nod2", b"nod3"
READER = HERE + b"work"
OBJECT, OTHER = THERE + b"driv00000001", THERE + b"driv00000002"
SIZE = 1 << 16
CONTENT = bytes(range(256)) * 256


class Owner:
    """The process that owns everything."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def send(self, message: Any) -> None:
        self.heard.append(message)


class Store:
    """A store with room for one object, and nodes that have more."""

    def __init__(self, directory: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.arena = Arena(SIZE)
        self.directory = directory
        files = LocalStorage([directory])
        self.service = ObjectService(self.arena, files, self.loop, validate=True)
        #: node -> what a fetch from it does
        self.nodes: dict[bytes, Callable[[memoryview, int], None]] = {}
        self.fetched: list[tuple[bytes, int]] = []
        self.owner: Owner | None = Owner()
        cluster = cast("Any", SimpleNamespace(node_id=HERE, links=self))
        self.pulls = Pulls(self.service, cluster, lambda _: cast("Any", self.owner), self.loop)

    async def fetch(
        self,
        node_id: bytes,
        request: FetchRequest,
        target: memoryview,
        filled: Callable[[int], None],
    ) -> None:
        await asyncio.sleep(0)
        assert request.size == len(target)
        self.fetched.append((node_id, request.offset))
        self.nodes[node_id](target, request.offset)
        filled(len(target))

    def pin(self, *nodes: bytes, object_id: bytes = OBJECT, size: int = SIZE) -> Location:
        future: asyncio.Future[list[Location]] = self.loop.create_future()
        copies = [Copies(object_id, size, list(nodes))]
        self.service.pin([object_id], READER, future.set_result, copies)
        (location,) = self.loop.run_until_complete(asyncio.wait_for(future, 10))
        self.loop.run_until_complete(asyncio.sleep(0))
        return location

    def close(self) -> None:
        self.pulls.close()
        self.service.close()
        self.arena.close()
        self.loop.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def deliver(target: memoryview, offset: int) -> None:
    end = offset + len(target)
    target[:] = (CONTENT * -(-end // SIZE))[offset:end]


def gone(target: memoryview, offset: int) -> None:
    raise FetchError("it was freed there", gone=True)


def break_off(target: memoryview, offset: int) -> None:
    target[: SIZE // 2] = CONTENT[: SIZE // 2]
    raise FetchError("the link broke", SIZE // 2)


def test_a_pin_of_what_another_node_has_is_answered_when_it_is_here(store: Store) -> None:
    store.nodes[THERE] = deliver
    location = store.pin(THERE)
    assert location.kind == IN_ARENA
    assert store.service.mapping.view(location.offset, SIZE) == CONTENT
    assert store.owner is not None
    assert store.owner.heard == [CopiesMade(HERE, [OBJECT])]


def test_what_is_here_is_not_fetched_again(store: Store) -> None:
    store.nodes[THERE] = deliver
    store.pin(THERE)
    store.pin(THERE)
    assert len(store.fetched) == 1


def test_a_fetch_that_broke_off_goes_on_at_another_node(store: Store) -> None:
    store.nodes[THERE] = break_off
    location = store.pin(THERE)
    assert location == Location(MISSING, reason="the link broke")
    store.nodes[YONDER] = deliver
    while store.pin(THERE, YONDER).kind == IN_ARENA and (THERE, 0) not in store.fetched[1:]:
        store.service.unpin([OBJECT], READER)  # until the first choice is the one that breaks
        store.service.delete([OBJECT])
    assert store.fetched[-2:] == [(THERE, 0), (YONDER, SIZE // 2)]
    (row,) = store.service.core.contents()
    assert row.in_memory


def test_what_no_node_has_is_missing_and_leaves_nothing(store: Store) -> None:
    store.nodes[THERE] = gone
    assert store.pin(THERE) == Location(MISSING, reason="it was freed there")
    assert store.service.statistics().num_objects == 0


def test_an_object_that_is_named_nowhere_else_is_missing(store: Store) -> None:
    assert store.pin(HERE).kind == MISSING
    assert store.fetched == []


def test_what_does_not_fit_in_memory_is_fetched_to_a_file(store: Store) -> None:
    store.nodes[THERE] = deliver
    location = store.pin(THERE, size=2 * SIZE)
    assert location.kind == IN_FILE
    content = Path(location.path).read_bytes()
    assert content[location.offset : location.offset + 2 * SIZE] == CONTENT * 2


def test_nothing_is_left_of_a_file_that_could_not_be_fetched(store: Store) -> None:
    store.nodes[THERE] = gone
    assert store.pin(THERE, size=2 * SIZE).kind == MISSING
    assert [path for path in store.directory.rglob("*") if path.is_file()] == []


def test_a_copy_that_needs_the_room_of_another_takes_it_and_the_owner_hears(store: Store) -> None:
    store.nodes[THERE] = deliver
    store.pin(THERE)
    store.service.unpin([OBJECT], READER)
    store.pin(THERE, object_id=OTHER)
    assert store.owner is not None
    assert CopiesGone(HERE, [OBJECT]) in store.owner.heard
    assert store.service.statistics().spills_total == 0


def test_a_copy_whose_owner_is_gone_is_not_kept(store: Store) -> None:
    store.nodes[THERE] = deliver
    store.owner = None
    store.pin(THERE)
    store.service.unpin([OBJECT], READER)
    assert store.service.statistics().num_objects == 0
