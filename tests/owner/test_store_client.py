"""Reading stored objects from files that may be gone, moved or damaged."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from millpond.errors import NodeDiedError, OutOfDiskError
from millpond.objectstore.arena import Arena
from millpond.objectstore.mapping import ArenaMapping
from millpond.owner.store_client import BytesGone, StoreClient
from millpond.serialization.values import serialize
from millpond.wire.messages import (
    IN_FILE,
    LOST,
    AbortObjects,
    CreateObjects,
    GetMemory,
    Location,
    Locations,
    PinObjects,
)

OID = b"owner-00object-0"


class Node:
    """Answers with the locations that it was given, in order."""

    def __init__(self, *locations: Location) -> None:
        self.locations = list(locations)
        self.asked: list[Any] = []
        self.sent: list[Any] = []
        self.unpinned: list[bytes] = []
        arena = Arena(1 << 20)
        mapping = ArenaMapping(arena.fds, arena.capacity)
        arena.close()
        requests: Any = self
        self.client = StoreClient(mapping, self, requests, self.unpinned.append)

    def ask(self, _: object, message: PinObjects | CreateObjects | GetMemory) -> Locations:
        self.asked.append(message)
        if isinstance(message, GetMemory):
            raise NodeDiedError("it makes no reports")
        return Locations(0, [self.locations.pop(0) for _ in message.object_ids])

    def send(self, message: object) -> None:
        self.sent.append(message)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"0123456789" * 1000)
    return tmp_path / "file"


def in_file(path: Path, offset: int = 0, size: int = 10) -> Location:
    return Location(IN_FILE, offset, size, str(path))


def test_an_object_in_the_middle_of_a_file(file: Path) -> None:
    node = Node(in_file(file, 4098, 5))
    (pin,), _ = node.client.pin([OID], [])
    buffer = pin.buffer()
    del pin
    gc.collect()
    assert buffer.to_pybytes() == b"89012"
    assert node.unpinned == [], "the buffer keeps the pin"
    del buffer
    gc.collect()
    assert node.unpinned == [OID]


def test_a_file_that_is_gone_is_asked_for_again_with_one_pin_in_the_end(file: Path) -> None:
    gone = in_file(file.with_name("gone"))
    node = Node(gone, gone, in_file(file, 5, 5))
    (pin,), _ = node.client.pin([OID], [])
    assert pin.buffer().to_pybytes() == b"56789"
    assert [message.object_ids for message in node.asked] == [[OID]] * 3
    assert node.unpinned == [OID] * 2
    assert pin.buffer().to_pybytes() == b"56789"
    assert len(node.asked) == 3, "the new place is remembered"
    del pin
    gc.collect()
    assert node.unpinned == [OID] * 3


def test_a_file_that_never_comes_is_a_lost_object(file: Path) -> None:
    node = Node(*[in_file(file.with_name("gone"))] * 1000)
    (pin,), _ = node.client.pin([OID], [])
    with pytest.raises(BytesGone, match=r"its file .*gone is gone") as caught:
        pin.buffer()
    assert caught.value.object_id == OID
    assert len(node.asked) < 100


def test_a_damaged_object_is_lost_with_the_reason(file: Path) -> None:
    node = Node(in_file(file.with_name("gone")), Location(LOST, reason="(a bad checksum)"))
    (pin,), _ = node.client.pin([OID], [])
    with pytest.raises(BytesGone, match=r"\(a bad checksum\)"):
        pin.buffer()
    assert node.unpinned == [], "the node gave no second pin"


def test_a_file_that_is_too_short_is_asked_for_again(file: Path) -> None:
    node = Node(in_file(file, 9_990, 11), in_file(file, 9_990, 10))
    (pin,), _ = node.client.pin([OID], [])
    assert pin.buffer().to_pybytes() == b"0123456789"
    assert len(node.asked) == 2


def test_a_file_that_cannot_be_mapped_says_why(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(in_file(file))
    (pin,), _ = node.client.pin([OID], [])

    def map_file(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(node.client.mapping, "map_file", map_file)
    with pytest.raises(BytesGone, match="Too many open files"):
        pin.buffer()
    assert len(node.asked) == 1


def test_a_file_is_mapped_once_and_may_go_then(file: Path) -> None:
    node = Node(in_file(file))
    (pin,), _ = node.client.pin([OID], [])
    first = pin.buffer()
    file.unlink()
    assert pin.buffer().to_pybytes() == first.to_pybytes() == b"0123456789"
    assert len(node.asked) == 1


def test_a_disk_that_fills_up_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(in_file(tmp_path / "file"))

    def write_file(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(node.client.mapping, "write_file", write_file)
    with pytest.raises(OutOfDiskError, match="No space left"):
        node.client.write([(OID, serialize(b"x" * 100_000, "it"))])
    assert node.sent == [AbortObjects([OID])]
