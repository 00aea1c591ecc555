"""The books of spilled objects: which object is where in which segment, and what space is dead.

A segment is a file (or a remote object) that holds objects one after the other. It is filled up to
a target size, then left alone. Objects never move: the space of deleted ones is given back by
punching holes into the file, and a segment without objects is removed. So nothing is copied (which
would need space when there is none), and where a reader was told to look stays right. Pure: no I/O,
no locks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

from .encoding import Encoded

#: Dead bytes of a segment that are worth a call of the file system, and the part of the segment.
_WORTH_BYTES: Final = 1 << 20
_WORTH_PART: Final = 0.25


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room for one object: `size` bytes at `offset` of a segment."""

    segment: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Extent:
    """Where an object is: at `offset` of a segment, in `reserved` bytes that are its own."""

    segment: int
    offset: int
    reserved: int
    encoded: Encoded


@dataclass(frozen=True, slots=True)
class Garbage:
    """Space to be given back: all of a segment, or [offset, offset + size) ranges of it."""

    segment: int
    place: Hashable
    ranges: tuple[tuple[int, int], ...] | None
    """None: the whole segment, which the books have forgotten."""


@dataclass(slots=True)
class Segment:
    """One segment. Its `end` is always `live` + `dead_bytes` + `writing_bytes` + `holes`."""

    place: Hashable
    """Where it is kept, in the caller's terms."""
    end: int = 0
    """Bytes given out so far."""
    live: int = 0
    """Bytes of objects."""
    dead_bytes: int = 0
    """Bytes of deleted objects that still take space."""
    holes: int = 0
    """Bytes that take no space: never written, or given back."""
    writing_bytes: int = 0
    """Bytes that are being written."""
    num_objects: int = 0
    num_writing: int = 0
    dead: list[tuple[int, int]] = field(default_factory=list)
    """(offset, size) of the dead bytes."""


class SegmentTable:
    """All segments of a storage.

    Args:
        target: a segment that has this many bytes gets no more objects; one that would have more
            begins a new segment, so a larger object has one of its own.
        alignment: offsets and sizes are multiples of this many bytes.
    """

    def __init__(self, target: int, alignment: int) -> None:
        self.target = target
        self.alignment = alignment
        self.segments: dict[int, Segment] = {}
        self.objects: dict[bytes, Extent] = {}
        #: Place -> the segment that is being filled there.
        self._open: dict[Hashable, int] = {}
        self._touched: set[int] = set()
        self._next = 0
        self.allocated_at: Counter[Hashable] = Counter()
        """Place -> bytes that its segments take: of objects, dead, or being written."""

    @property
    def allocated(self) -> int:
        """Bytes that all segments take."""
        return self.allocated_at.total()

    def aligned(self, size: int) -> int:
        """The bytes that an object of this size takes in a segment, or just less."""
        return -(-size // self.alignment) * self.alignment

    def reserve(self, size: int, place: Hashable, *, fuse: bool = True) -> Reservation:
        """Give room for an object, to be settled by `commit` or `abandon`.

        Args:
            size: the most bytes that will be written.
            place: where its segment is to be.
            fuse: False gives it a segment of its own.
        """
        size = self.aligned(size)
        number = self._open.get(place) if fuse else None
        if number is None or self.segments[number].end + size > self.target:
            number = self._next
            self._next += 1
            self.segments[number] = Segment(place)
            if fuse and size < self.target:
                self._open[place] = number
        segment = self.segments[number]
        reservation = Reservation(number, segment.end, size)
        segment.end += size
        segment.writing_bytes += size
        segment.num_writing += 1
        self.allocated_at[place] += size
        return reservation

    def close(self, place: Hashable) -> None:
        """The next object at this place begins a new segment."""
        number = self._open.pop(place, None)
        if number is not None:
            self._touched.add(number)

    def commit(
        self, oid: bytes, reservation: Reservation, encoded: Encoded, offset: int | None = None
    ) -> None:
        """The object is written; it replaces one of the same id.

        Args:
            oid: the object.
            reservation: its room.
            encoded: what was written; what is left of the room was never touched.
            offset: where it was written, if not at the reserved place.
        """
        self.delete(oid)
        segment = self._settle(reservation)
        used = self.aligned(encoded.stored)
        segment.live += used
        segment.num_objects += 1
        segment.holes += reservation.size - used
        self.allocated_at[segment.place] -= reservation.size - used
        at = reservation.offset if offset is None else offset
        self.objects[oid] = Extent(reservation.segment, at, used, encoded)

    def abandon(self, reservation: Reservation) -> None:
        """The object could not be written; parts of it may have been."""
        segment = self._settle(reservation)
        self._bury(reservation.segment, segment, reservation.offset, reservation.size)

    def delete(self, oid: bytes) -> bool:
        """Forget an object. False when it is not known."""
        extent = self.objects.pop(oid, None)
        if extent is None:
            return False
        segment = self.segments[extent.segment]
        segment.live -= extent.reserved
        segment.num_objects -= 1
        self._bury(extent.segment, segment, extent.offset, extent.reserved)
        return True

    def collect(self, *, everything: bool = False) -> list[Garbage]:
        """What has become free, and is taken out of the books by this call.

        Args:
            everything: little holes too, which are not worth the work unless space is short.
        """
        if everything:
            self._touched.update(n for n, segment in self.segments.items() if segment.dead)
        found: list[Garbage] = []
        for number in sorted(self._touched):
            segment = self.segments.get(number)
            if segment is None:
                continue
            if not segment.num_objects and not segment.num_writing:
                self._remove(number, segment)
                found.append(Garbage(number, segment.place, None))
            elif everything or segment.dead_bytes >= max(_WORTH_BYTES, segment.end * _WORTH_PART):
                ranges = tuple(_merged(segment.dead))
                if ranges:
                    found.append(Garbage(number, segment.place, ranges))
                self._forget_dead(segment)
        self._touched.clear()
        return found

    def counted(self) -> dict[str, int]:
        """Count the objects, their bytes in memory and as they are stored, and the segments."""
        encoded = [extent.encoded for extent in self.objects.values()]
        return {
            "objects": len(encoded),
            "object_bytes": sum(each.size for each in encoded),
            "stored_bytes": sum(each.stored for each in encoded),
            "segments": len(self.segments),
        }

    def validate(self) -> None:
        """Check the sums.

        Raises:
            AssertionError: one is wrong.
        """
        live = dict.fromkeys(self.segments, 0)
        count = dict.fromkeys(self.segments, 0)
        for extent in self.objects.values():
            live[extent.segment] += extent.reserved
            count[extent.segment] += 1
        for number, segment in self.segments.items():
            assert segment.live == live[number]
            assert segment.num_objects == count[number]
            assert segment.dead_bytes == sum(size for _, size in segment.dead)
            parts = segment.live + segment.dead_bytes + segment.writing_bytes + segment.holes
            assert segment.end == parts
            assert (segment.num_writing == 0) <= (segment.writing_bytes == 0)
            if not segment.num_objects and not segment.num_writing:
                assert number in self._touched, "garbage that nobody collects"
        sums: Counter[Hashable] = Counter()
        for segment in self.segments.values():
            sums[segment.place] += segment.live + segment.dead_bytes + segment.writing_bytes
        assert self.allocated_at == sums
        assert all(self.segments[number].place == place for place, number in self._open.items())

    def _settle(self, reservation: Reservation) -> Segment:
        segment = self.segments[reservation.segment]
        segment.writing_bytes -= reservation.size
        segment.num_writing -= 1
        self._touched.add(reservation.segment)
        return segment

    def _bury(self, number: int, segment: Segment, offset: int, size: int) -> None:
        segment.dead_bytes += size
        if size:
            segment.dead.append((offset, size))
        self._touched.add(number)

    def _forget_dead(self, segment: Segment) -> None:
        segment.holes += segment.dead_bytes
        self.allocated_at[segment.place] -= segment.dead_bytes
        segment.dead_bytes = 0
        segment.dead.clear()

    def _remove(self, number: int, segment: Segment) -> None:
        self._forget_dead(segment)
        del self.segments[number]
        if self._open.get(segment.place) == number:
            del self._open[segment.place]


def _merged(ranges: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """The ranges in order, with those that touch made one."""
    start = end = -1
    for offset, size in sorted(ranges):
        if offset == end:
            end += size
            continue
        if end > start:
            yield start, end - start
        start, end = offset, offset + size
    if end > start:
        yield start, end - start
