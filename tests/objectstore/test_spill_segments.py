"""The books of segments, and the turns that directories take: pure."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
)

from millpond.objectstore.spill.encoding import Encoded
from millpond.objectstore.spill.rotation import REST, Rotation
from millpond.objectstore.spill.segments import Reservation, SegmentTable

MIB = 1 << 20


def encoded(size: int, stored: int | None = None) -> Encoded:
    stored = size if stored is None else stored
    return Encoded(size, stored, ((stored, 0),))


def put(table: SegmentTable, oid: bytes, size: int, place: int = 0, *, fuse: bool = True) -> int:
    room = table.reserve(size, place, fuse=fuse)
    table.commit(oid, room, encoded(size))
    return room.segment


def test_objects_fill_a_segment_one_after_the_other() -> None:
    table = SegmentTable(10 * MIB, 4096)
    rooms = [table.reserve(size, 0) for size in (5000, 0, 4 * MIB)]
    assert [(room.segment, room.offset) for room in rooms] == [(0, 0), (0, 8192), (0, 8192)]
    assert table.allocated == 8192 + 4 * MIB


def test_a_segment_is_full_at_its_target_and_large_objects_have_their_own() -> None:
    table = SegmentTable(10 * MIB, 4096)
    assert [put(table, b"%d" % i, 3 * MIB) for i in range(4)] == [0, 0, 0, 1]
    assert put(table, b"large", 11 * MIB) == 2
    assert put(table, b"small", MIB) == 1, "the open segment stays open"
    assert put(table, b"elsewhere", MIB, place=1) == 3
    assert put(table, b"alone", MIB, fuse=False) == 4
    assert put(table, b"next", MIB) == 1


def test_a_closed_segment_gets_no_more() -> None:
    table = SegmentTable(10 * MIB, 1)
    put(table, b"a", 10)
    table.close(0)
    assert put(table, b"b", 10) == 1


def test_little_garbage_stays_until_space_is_short() -> None:
    table = SegmentTable(64 * MIB, 4096)
    for i in range(16):
        put(table, b"%d" % i, MIB)
    table.delete(b"3")
    table.delete(b"4")
    assert table.collect() == []
    (hole,) = table.collect(everything=True)
    assert hole.ranges == ((3 * MIB, 2 * MIB),)
    assert table.collect(everything=True) == []
    assert table.allocated == 14 * MIB


def test_much_garbage_becomes_holes() -> None:
    table = SegmentTable(64 * MIB, 4096)
    for i in range(16):
        put(table, b"%d" % i, MIB)
    for i in (0, 1, 9):
        table.delete(b"%d" % i)
    assert table.collect() == []
    table.delete(b"10")
    (holes,) = table.collect()
    assert holes.ranges == ((0, 2 * MIB), (9 * MIB, 2 * MIB))


def test_a_segment_without_objects_goes_at_once_unless_it_is_written() -> None:
    table = SegmentTable(64 * MIB, 4096)
    put(table, b"a", 100)
    room = table.reserve(100, 0)
    table.delete(b"a")
    assert table.collect() == []
    table.abandon(room)
    (whole,) = table.collect()
    assert whole.ranges is None
    assert table.allocated == 0
    assert put(table, b"b", 100) == 1, "its number is not used again"


def test_what_compression_saved_takes_no_space() -> None:
    table = SegmentTable(64 * MIB, 4096)
    table.commit(b"a", table.reserve(10 * MIB, 0), encoded(10 * MIB, MIB))
    assert table.allocated == MIB
    table.delete(b"a")
    assert table.allocated == MIB
    table.collect()
    assert table.allocated == 0


class Books(RuleBasedStateMachine):
    """Against a file system that only knows which bytes of which segment belong to whom."""

    rooms = Bundle("rooms")

    def __init__(self) -> None:
        super().__init__()
        self.table = SegmentTable(10_000, 16)
        self.owners: dict[tuple[int, int], Any] = {}
        self.alive: dict[bytes, tuple[Reservation, int]] = {}
        self.writing: list[Reservation] = []
        self.removed: set[int] = set()

    @rule(
        target=rooms,
        size=st.integers(0, 15_000),
        place=st.integers(0, 2),
        fuse=st.booleans(),
    )
    def reserve(self, size: int, place: int, fuse: bool) -> tuple[Reservation, int]:
        room = self.table.reserve(size, place, fuse=fuse)
        assert room.segment not in self.removed
        for block in range(room.offset, room.offset + room.size, 16):
            assert (room.segment, block) not in self.owners, "given to two"
            self.owners[room.segment, block] = room
        self.writing.append(room)
        return room, size

    @rule(given=consumes(rooms), oid=st.integers(0, 20), part=st.floats(0, 1))
    def commit(self, given: tuple[Reservation, int], oid: int, part: float) -> None:
        room, size = given
        stored = int(size * part)
        name = b"%d" % oid
        self._forget(name)
        self.table.commit(name, room, encoded(size, stored))
        self.writing.remove(room)
        self.alive[name] = room, self.table.aligned(stored)

    @rule(given=consumes(rooms))
    def abandon(self, given: tuple[Reservation, int]) -> None:
        self.table.abandon(given[0])
        self.writing.remove(given[0])

    @rule(oid=st.integers(0, 20))
    def delete(self, oid: int) -> None:
        name = b"%d" % oid
        assert self.table.delete(name) is (name in self.alive)
        self._forget(name)

    @rule(place=st.integers(0, 2))
    def close(self, place: int) -> None:
        self.table.close(place)

    @rule(everything=st.booleans())
    def collect(self, everything: bool) -> None:
        used = {room.segment for room, _ in self.alive.values()}
        used |= {room.segment for room in self.writing}
        for garbage in self.table.collect(everything=everything):
            if garbage.ranges is None:
                assert garbage.segment not in used
                self.removed.add(garbage.segment)
                continue
            for offset, size in garbage.ranges:
                for room, kept in self.alive.values():
                    if room.segment == garbage.segment:
                        assert offset + size <= room.offset or offset >= room.offset + kept
                for room in self.writing:
                    if room.segment == garbage.segment:
                        assert offset + size <= room.offset or offset >= room.offset + room.size
        assert used == set(self.table.segments), "a segment without objects is removed at once"
        if everything:
            live = sum(kept for _, kept in self.alive.values())
            assert self.table.allocated == live + sum(room.size for room in self.writing)

    def _forget(self, name: bytes) -> None:
        self.alive.pop(name, None)

    @invariant()
    def the_sums_are_right(self) -> None:
        self.table.validate()
        assert set(self.table.objects) == set(self.alive)
        for name, (room, _) in self.alive.items():
            extent = self.table.objects[name]
            assert (extent.segment, extent.offset) == (room.segment, room.offset)


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_directories_take_turns() -> None:
    rotation = Rotation(3)
    assert [list(rotation.order(0.0)) for _ in range(4)] == [
        [0, 1, 2],
        [1, 2, 0],
        [2, 0, 1],
        [0, 1, 2],
    ]


@given(st.integers(1, 5), st.data())
def test_those_that_failed_are_tried_last(count: int, data: st.DataObject) -> None:
    rotation = Rotation(count)
    failed = data.draw(st.sets(st.integers(0, count - 1)))
    for number in failed:
        assert rotation.failed(number, 100.0)
        assert not rotation.failed(number, 100.0)
    during = list(rotation.order(100.0 + REST / 2))
    assert sorted(during) == list(range(count)), "they remain the last resort"
    assert set(during[count - len(failed) :]) == failed
    assert all(not rotation.resting(number, 100.0 + REST) for number in range(count))
    for number in failed:
        rotation.worked(number)
    assert not any(rotation.resting(number, 100.0) for number in range(count))
