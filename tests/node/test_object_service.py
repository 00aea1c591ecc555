from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from millpond.node.object_service import ObjectService
from millpond.objectstore.arena import Arena
from millpond.objectstore.spill.local import LocalStorage
from millpond.wire.messages import IN_ARENA, LOST, MISSING, PRESENT, Location

ME, YOU, THEM = b"client-1", b"client-2", b"client-3"
LOST_ONE, OTHER = b"owner-01object01", b"owner-01object02"
SIZE = 1 << 16


class Store:
    """An object service whose arena has room for one object."""

    def __init__(self, directory: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.arena = Arena(SIZE)
        self.directory = directory
        self.files = LocalStorage([directory])
        self.service = ObjectService(self.arena, self.files, self.loop, validate=True)

    def create(self, object_id: bytes, client: bytes, *, rebuild: bool = False) -> Location:
        """Ask for room, and wait for the answer."""
        future: asyncio.Future[list[Location]] = self.loop.create_future()
        self.service.create([object_id], [SIZE], client, future.set_result, rebuild=rebuild)
        (location,) = self.loop.run_until_complete(asyncio.wait_for(future, 10))
        return location

    def put(self, object_id: bytes) -> None:
        assert self.create(object_id, ME).kind == IN_ARENA
        self.service.seal([object_id])

    def lose(self) -> None:
        """Store an object, and lose it once it is spilled."""
        self.put(LOST_ONE)
        self.put(OTHER)
        for file in self.directory.rglob("*"):
            if file.is_file():
                file.write_bytes(b"\xff" * file.stat().st_size)
        self.service.delete([OTHER])

    def close(self) -> None:
        self.service.close()
        self.arena.close()
        self.loop.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def test_what_can_be_read_is_left_as_it_is(store: Store) -> None:
    store.put(LOST_ONE)
    location = store.create(LOST_ONE, YOU, rebuild=True)
    assert (location.kind, location.size) == (PRESENT, SIZE)
    assert store.service.statistics().num_pinned == 0


def test_what_was_freed_and_is_still_read_is_left_as_it_is(store: Store) -> None:
    store.put(LOST_ONE)
    store.service.pin([LOST_ONE], THEM, lambda _: None)
    store.service.delete([LOST_ONE])
    assert store.create(LOST_ONE, YOU, rebuild=True).kind == PRESENT
    store.service.unpin([LOST_ONE], THEM)
    assert store.service.statistics().num_objects == 1


@pytest.mark.parametrize("freed", [True, False])
def test_what_is_lost_is_replaced(store: Store, freed: bool) -> None:
    store.lose()
    if freed:
        store.service.delete([LOST_ONE])
    assert store.create(LOST_ONE, YOU, rebuild=True).kind == IN_ARENA


def test_what_others_try_to_read_again_is_replaced(store: Store) -> None:
    store.lose()
    answers: list[int] = []

    def tried(locations: list[Location]) -> None:
        answers.append(locations[0].kind)
        if len(answers) < 3:  # before the rebuild hears that it is lost
            store.service.pin([LOST_ONE], THEM, tried)

    store.service.pin([LOST_ONE], THEM, tried)
    assert store.create(LOST_ONE, YOU, rebuild=True).kind == IN_ARENA
    store.service.seal([LOST_ONE])
    assert answers in ([LOST, LOST, LOST], [LOST, LOST, IN_ARENA])
    assert MISSING not in answers
