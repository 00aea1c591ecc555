"""Lengths and widths of partitions that are still being computed.

Every task that makes partitions returns their outlines as one more small result, which the engine
carries inline in the message that the task is done. An `Extent` is one number out of it: it costs
no task and no object in the store, and becomes an ``int`` as soon as somebody asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import millpond

from .outlines import Outline, source_of


@dataclass(frozen=True, slots=True)
class Selection:
    """Which number to take out of what a task returned."""

    #: Which of the outlines, and 0 for its length, 1 for its width; None for a bare number.
    position: tuple[int, Literal[0, 1]] | None
    #: Slices of that axis taken since, first one first.
    slices: tuple[slice, ...] = ()

    def pick(self, value: Sequence[Outline] | int) -> int:
        """Return the number, out of the value of the ref."""
        if isinstance(value, int):
            extent = value
        else:
            assert self.position is not None
            result, axis = self.position
            extent = value[result][axis]
        for taken in self.slices:
            extent = len(range(*taken.indices(extent)))
        return extent


@dataclass(frozen=True, slots=True)
class Extent:
    """The length or width of one partition, once the task that makes it is done."""

    #: Ref to the outlines of all results of that task, or to the number by itself.
    source: millpond.ObjectRef[Any]
    selection: Selection = Selection(None)

    def sliced(self, taken: slice) -> Extent:
        """Return the extent of ``taken`` out of this axis."""
        if taken == slice(None):
            return self
        position, slices = self.selection.position, self.selection.slices
        return Extent(self.source, Selection(position, (*slices, taken)))


def extents_of(outlines: millpond.ObjectRef[Any], result: int) -> tuple[Extent, Extent]:
    """Return length and width of one result of the task that returns ``outlines``."""
    return Extent(outlines, Selection((result, 0))), Extent(outlines, Selection((result, 1)))


def known_extents(data: millpond.ObjectRef[Any]) -> tuple[int | Extent, int | Extent] | None:
    """Return length and width of a partition; None if its origin is unknown."""
    source = source_of(data)
    if source is None:
        return None
    return source[:2] if isinstance(source, Outline) else extents_of(*source)
