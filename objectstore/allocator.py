"""Where blocks lie in the arena: pure arithmetic over offsets, which touches no memory.

Best fit with immediate coalescing. The space above the highest offset ever used is kept out of the
free list and taken only when nothing below fits: pages that were touched once are many times faster
to write than fresh ones. It does not move blocks, so free space can be in pieces.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Final

#: Blocks start at, and are rounded up to, multiples of this many bytes unless more is asked for (a
#: cache line; what Arrow wants).
ALIGNMENT: Final = 64


def block_size(size: int, alignment: int = ALIGNMENT) -> int:
    """The bytes that a block for `size` bytes takes. An empty object takes one unit."""
    return max(alignment, (size + alignment - 1) & -alignment)


@dataclass(frozen=True, slots=True)
class AllocatorStatistics:
    """A snapshot of an allocator, in bytes and counts."""

    capacity: int
    """Bytes that can be allocated at most."""
    used: int
    """Bytes in blocks."""
    peak: int
    """The most that `used` ever was."""
    blocks: int
    """Blocks in use."""
    largest_free: int
    """The largest block that would fit now."""
    high_water_offset: int
    """Nothing was ever placed at or above this offset."""


class Allocator:
    """Hands out blocks of [0, capacity).

    Args:
        capacity: bytes; rounded down to a multiple of the alignment.
        alignment: blocks start at, and are rounded up to, multiples of it; a power of two.

    Raises:
        ValueError: the capacity is negative, or the alignment no power of two.
    """

    __slots__ = (
        "_by_size",
        "_end_to_start",
        "_free",
        "_used",
        "alignment",
        "capacity",
        "high_water_offset",
        "peak",
        "used",
    )

    def __init__(self, capacity: int, alignment: int = ALIGNMENT) -> None:
        if capacity < 0:
            raise ValueError(f"the capacity must not be negative, it is {capacity}")
        if alignment <= 0 or alignment & (alignment - 1):
            raise ValueError(f"the alignment must be a power of two, it is {alignment}")
        self.alignment = alignment
        self.capacity = capacity & -alignment
        """Bytes that can be allocated at most: the given capacity rounded down to whole units."""
        self.used = 0
        """Bytes in blocks."""
        self.peak = 0
        """The most that `used` ever was."""
        self.high_water_offset = 0
        """Nothing was ever placed at or above this offset: fresh memory starts here."""
        self._used: dict[int, int] = {}  # offset -> size of each block
        # The free space below high_water_offset, three ways. No two free pieces touch each other.
        self._free: dict[int, int] = {}  # offset -> size
        self._end_to_start: dict[int, int] = {}  # end -> offset
        self._by_size: list[tuple[int, int]] = []  # (size, offset), sorted

    @property
    def free_bytes(self) -> int:
        """Bytes not in blocks, in however many pieces."""
        return self.capacity - self.used

    @property
    def largest_free(self) -> int:
        """The size of the largest block that would fit now, in bytes."""
        top = self.high_water_offset
        tail = self.capacity - self._end_to_start.get(top, top)
        return max(tail, self._by_size[-1][0]) if self._by_size else tail

    def allocate(self, size: int) -> int | None:
        """Reserve a block for `size` bytes, at the offset returned; None when no piece is enough.

        Raises:
            ValueError: the size is negative.
        """
        if size < 0:
            raise ValueError(f"the size must not be negative, it is {size}")
        size = block_size(size, self.alignment)
        by_size = self._by_size
        at = bisect_left(by_size, (size, 0))
        if at < len(by_size):
            found, offset = by_size.pop(at)
            del self._free[offset]
            end = offset + found
            if found == size:
                del self._end_to_start[end]
            else:
                rest = offset + size
                self._free[rest] = found - size
                self._end_to_start[end] = rest
                insort(by_size, (found - size, rest))
        else:
            grown = self._grow(size)
            if grown is None:
                return None
            offset = grown
        self._used[offset] = size
        self.used += size
        self.peak = max(self.peak, self.used)
        return offset

    def free(self, offset: int) -> None:
        """Give a block back.

        Raises:
            ValueError: no block starts at this offset.
        """
        size = self._used.pop(offset, None)
        if size is None:
            raise ValueError(f"no block starts at offset {offset}")
        self.used -= size
        end = offset + size
        after = self._free.get(end)
        if after is not None:
            self._take_free(end, after)
            end += after
        before = self._end_to_start.get(offset)
        if before is not None:
            self._take_free(before, offset - before)
            offset = before
        self._free[offset] = end - offset
        self._end_to_start[end] = offset
        insort(self._by_size, (end - offset, offset))

    def room_around(self, offset: int) -> tuple[int, int]:
        """[start, end) of a block and the free space on both sides of it.

        Raises:
            KeyError: no block starts at this offset.
        """
        end = offset + self._used[offset]
        end += self._free.get(end, 0)
        if end == self.high_water_offset:
            end = self.capacity
        return self._end_to_start.get(offset, offset), end

    def blocks(self) -> list[tuple[int, int]]:
        """The (offset, size) of every block, in order."""
        return sorted(self._used.items())

    def statistics(self) -> AllocatorStatistics:
        """A snapshot."""
        return AllocatorStatistics(
            capacity=self.capacity,
            used=self.used,
            peak=self.peak,
            blocks=len(self._used),
            largest_free=self.largest_free,
            high_water_offset=self.high_water_offset,
        )

    def validate(self) -> None:
        """Check that blocks and free pieces tile the used part of the space.

        Raises:
            AssertionError: they do not.
        """
        assert 0 <= self.used <= self.peak <= self.capacity, (self.used, self.peak, self.capacity)
        assert self.high_water_offset <= self.capacity, (self.high_water_offset, self.capacity)
        assert self.used == sum(self._used.values()), (self.used, self._used)
        assert self._end_to_start == {start + size: start for start, size in self._free.items()}
        assert self._by_size == sorted((size, start) for start, size in self._free.items())
        pieces = sorted(
            [(start, size, True) for start, size in self._used.items()]
            + [(start, size, False) for start, size in self._free.items()]
        )
        position, was_used = 0, True
        for start, size, is_used in pieces:
            assert start == position, (
                f"a gap or an overlap between {position} and {start}: {pieces}"
            )
            assert size > 0, f"an empty piece at {start}"
            assert size % self.alignment == 0, f"an unaligned piece of {size} bytes at {start}"
            assert is_used or was_used, f"two free pieces touch at {start}: {pieces}"
            position, was_used = start + size, is_used
        assert position == self.high_water_offset, (position, self.high_water_offset)

    def _grow(self, size: int) -> int | None:
        """Place a block at the end of what was ever used, together with the free piece there."""
        top = self.high_water_offset
        offset = self._end_to_start.get(top, top)
        if size > self.capacity - offset:
            return None
        if offset != top:
            self._take_free(offset, top - offset)
        self.high_water_offset = offset + size
        return offset

    def _take_free(self, offset: int, size: int) -> None:
        del self._free[offset]
        del self._end_to_start[offset + size]
        del self._by_size[bisect_left(self._by_size, (size, offset))]
