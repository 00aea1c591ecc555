"""The order in which objects leave memory: by their next use.

`Candidates` only orders the objects it was given; which objects are candidates, and when one has to
go, is decided by the core. Sizes are those of the blocks, in bytes.

Objects that no task is known to need go first, the one whose last use ended longest ago before all
others. Then goes the one whose next use is furthest away: Belady's rule (L. A. Belady, "A study of
replacement algorithms for a virtual-storage computer", IBM Systems Journal 5(2), 1966), as far
ahead as the queues of tasks let us see.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from itertools import islice

#: Stale entries of the heap that are tolerated beside as many live ones.
_SLACK = 64


class Candidates:
    """An ordered set of objects with their sizes."""

    def __init__(self) -> None:
        self.total = 0
        """The sum of the candidates' sizes."""
        self.idle = 0
        """The sum of the sizes of those that no task is known to need."""
        # An OrderedDict and not a dict: finding the first key of a dict slows down when many early
        # ones were deleted.
        self._idle: OrderedDict[bytes, int] = OrderedDict()
        #: Object -> its size and the position of its next use.
        self._needed: dict[bytes, tuple[int, int]] = {}
        #: (minus position, object); those that `_needed` does not agree with are stale.
        self._furthest: list[tuple[int, bytes]] = []

    def add(self, oid: bytes, size: int, position: int | None = None) -> None:
        """Make an object that is not one yet a candidate; it was in use until now.

        Args:
            oid: the object.
            size: bytes of its block.
            position: of its next use, smaller is sooner; None when no use is known.
        """
        self.total += size
        if position is None:
            self._idle[oid] = size
            self.idle += size
        else:
            self._needed[oid] = size, position
            heapq.heappush(self._furthest, (-position, oid))

    def discard(self, oid: bytes) -> None:
        """Forget a candidate."""
        size = self._idle.pop(oid, None)
        if size is not None:
            self.idle -= size
        else:
            size, _ = self._needed.pop(oid)
            if len(self._furthest) > 2 * len(self._needed) + _SLACK:
                self._furthest = [(-at, name) for name, (_, at) in self._needed.items()]
                heapq.heapify(self._furthest)
        self.total -= size

    def expect(self, oid: bytes, position: int | None) -> None:
        """The next use of a candidate is another one now, or none is known any more."""
        size = self._idle.get(oid)
        if size is None:
            size = self._needed[oid][0]
        self.discard(oid)
        self.add(oid, size, position)

    def first_idle(self) -> bytes | None:
        """The candidate to go first of those that no task is known to need."""
        return next(iter(self._idle), None)

    def furthest(self) -> tuple[int, bytes] | None:
        """The position and the name of the candidate that is needed last."""
        heap = self._furthest
        while heap:
            position, oid = -heap[0][0], heap[0][1]
            known = self._needed.get(oid)
            if known is not None and known[1] == position:
                return position, oid
            heapq.heappop(heap)
        return None

    def first(self) -> bytes | None:
        """The candidate to go first (it stays one), or None when there is none."""
        oid = self.first_idle()
        if oid is None and (needed := self.furthest()) is not None:
            return needed[1]
        return oid

    def first_few(self, count: int) -> list[bytes]:
        """Up to `count` candidates that go before all others."""
        found = list(islice(self._idle, count))
        taken: list[tuple[int, bytes]] = []
        while len(found) < count and self.furthest() is not None:
            taken.append(heapq.heappop(self._furthest))
            if taken[-1][1] not in found:  # the heap may have an entry twice
                found.append(taken[-1][1])
        for entry in taken:
            heapq.heappush(self._furthest, entry)
        return found

    def later_than(self, position: int) -> int:
        """Bytes of the candidates that are needed after a position, or not at all."""
        last = self.furthest()
        if last is None or last[0] <= position:
            return self.idle
        return self.idle + sum(size for size, at in self._needed.values() if at > position)

    def __contains__(self, oid: object) -> bool:
        return oid in self._idle or oid in self._needed

    def __len__(self) -> int:
        return len(self._idle) + len(self._needed)
