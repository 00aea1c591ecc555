from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from millpond.node import object_service
from millpond.node.object_service import ObjectService
from millpond.objectstore import mapping
from millpond.objectstore.arena import Arena
from millpond.objectstore.spill.checked_file import write_checked
from millpond.objectstore.spill.local import LocalStorage
from millpond.wire.messages import (
    IN_ARENA,
    IN_FILE,
    LOST,
    MISSING,
    PRESENT,
    REFUSED,
    Location,
)

ME, YOU, THEM = b"client-1", b"client-2", b"client-3"
LOST_ONE, OTHER, LARGE = (b"owner-01object%02d" % number for number in range(3))
SIZE = 1 << 16


class Store:
    """An object service whose arena has room for one object, if nothing else is said."""

    def __init__(self, directory: Path, capacity: int = SIZE) -> None:
        self.loop = asyncio.new_event_loop()
        self.arena = Arena(capacity)
        self.directory = directory
        self.files = LocalStorage([directory])
        self.service = ObjectService(self.arena, self.files, self.loop, validate=True)

    def create(
        self,
        object_id: bytes,
        client: bytes,
        *,
        rebuild: bool = False,
        size: int = SIZE,
        patience: float = 10,
    ) -> Location:
        """Ask for room, and wait for the answer."""
        future: asyncio.Future[list[Location]] = self.loop.create_future()
        self.service.create([object_id], [size], client, future.set_result, rebuild=rebuild)
        (location,) = self.loop.run_until_complete(asyncio.wait_for(future, patience))
        return location

    def pin(self, object_id: bytes, client: bytes) -> Location:
        """Ask to read an object, and wait for the answer."""
        future: asyncio.Future[list[Location]] = self.loop.create_future()
        self.service.pin([object_id], client, future.set_result)
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


def test_what_was_to_be_read_from_a_lost_file_is_replaced(store: Store) -> None:
    store.create(LARGE, ME, size=2 * SIZE)
    store.service.seal([LARGE])  # although nothing was written
    assert store.create(LARGE, YOU, rebuild=True, size=2 * SIZE).kind == IN_FILE


def test_new_bytes_wait_for_a_reader_of_the_old_ones_but_not_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_service, "_READERS_LEAVE", 0.2)
    path = Path(store.create(LARGE, ME, size=2 * SIZE).path)
    write_checked(path, [bytes(2 * SIZE)])
    store.service.seal([LARGE])
    assert store.pin(LARGE, THEM).kind == IN_FILE
    path.unlink()
    refused = store.create(LARGE, YOU, rebuild=True, size=2 * SIZE)
    assert refused.kind == REFUSED
    assert "is still being read" in refused.reason
    monkeypatch.setattr(object_service, "_READERS_LEAVE", 60.0)
    store.loop.call_later(0.1, store.service.unpin, [LARGE], THEM)
    assert store.create(LARGE, YOU, rebuild=True, size=2 * SIZE).kind == IN_FILE


def test_who_waits_for_a_reader_may_die(store: Store) -> None:
    path = Path(store.create(LARGE, ME, size=2 * SIZE).path)
    write_checked(path, [bytes(2 * SIZE)])
    store.service.seal([LARGE])
    assert store.pin(LARGE, THEM).kind == IN_FILE
    path.unlink()
    with pytest.raises(TimeoutError):
        store.create(LARGE, YOU, rebuild=True, size=2 * SIZE, patience=0.1)
    store.service.drop_process(YOU)
    store.service.unpin([LARGE], THEM)
    assert store.create(LARGE, ME, rebuild=True, size=2 * SIZE).kind == IN_FILE


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


@pytest.mark.parametrize("size", [SIZE, mapping.LARGE])
def test_memory_that_was_prepared_is_not_given_back_under_an_object(
    tmp_path: Path, size: int
) -> None:
    store = Store(tmp_path, capacity=2 * mapping.LARGE)
    store.arena.prepare(store.arena.capacity)
    settle(store.arena)
    assert store.arena.ensured == store.arena.capacity
    place = store.create(OTHER, ME, size=size)
    store.service.mapping.write(place.offset, [b"value"])
    store.service.seal([OTHER])
    store.arena.withdraw()
    settle(store.arena)
    assert store.service.mapping.view(place.offset, 5) == b"value"
    store.close()


def settle(arena: Arena) -> None:
    """Wait until its thread has done what it was asked for."""
    assert arena._adjusting is not None
    arena._adjusting.join()
