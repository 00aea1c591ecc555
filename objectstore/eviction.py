"""The order in which objects leave memory.

A policy only orders the candidates it was given; which objects are candidates, and when one has to
go, is decided by the core. Sizes are those of the blocks, in bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol


class EvictionPolicy(Protocol):
    """An ordered set of candidates with their sizes."""

    @property
    def total(self) -> int:
        """The sum of the candidates' sizes."""

    def add(self, oid: bytes, size: int) -> None:
        """Make an object that is not one yet a candidate; it was in use until now."""

    def discard(self, oid: bytes) -> None:
        """Forget a candidate."""

    def first(self) -> bytes | None:
        """The candidate to go first (it stays one), or None when there is none."""

    def __contains__(self, oid: object) -> bool: ...

    def __len__(self) -> int: ...


class LeastRecentlyUsed:
    """The object whose last use ended longest ago goes first."""

    def __init__(self) -> None:
        self.total = 0
        """The sum of the candidates' sizes."""
        # An OrderedDict and not a dict: finding the first key of a dict slows down when many early
        # ones were deleted.
        self._sizes: OrderedDict[bytes, int] = OrderedDict()

    def add(self, oid: bytes, size: int) -> None:
        """Make an object a candidate, the last one to go."""
        self._sizes[oid] = size
        self.total += size

    def discard(self, oid: bytes) -> None:
        """Forget a candidate."""
        self.total -= self._sizes.pop(oid)

    def first(self) -> bytes | None:
        """The candidate that was used least recently, or None."""
        return next(iter(self._sizes), None)

    def __contains__(self, oid: object) -> bool:
        return oid in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)
