"""Arguments of a task with every ref lifted to the top level.

The engine resolves top-level refs before it hands a task to a worker, and leaves nested ones
alone. Modin nests them: in the argument lists of a call queue, in keyword arguments. A task that
fetched them by itself would hold its worker while it waits, so `pack` replaces each ref by a slot,
and `unpack` fills the slots in the worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import millpond

from . import read_only
from .extents import Extent, Selection

#: Containers that are searched for refs; subclasses may mean something else and are left alone.
_CONTAINERS = frozenset((dict, list, tuple))


@dataclass(frozen=True, slots=True)
class Deferred:
    """A stored value on which calls have to run first, in the task that takes it."""

    source: millpond.ObjectRef[Any]
    #: Triples of function, positional and keyword arguments, which may hold futures themselves.
    calls: Any


_FUTURES = frozenset((Deferred, Extent, millpond.ObjectRef))


@dataclass(frozen=True, slots=True)
class _Slot:
    """The place of a value that travels by itself."""

    index: int
    #: What to take out of the value; None for all of it.
    selection: Selection | None = None
    #: Calls to run on the value, packed; None for none.
    calls: Any = None


#: What `pack` leaves in place of futures, and `unpack` looks for.
_SLOTS = frozenset((_Slot,))


def pack(arguments: Any) -> tuple[Any, list[millpond.ObjectRef[Any]]]:
    """Return ``arguments`` with slots in place of futures, and the refs for `unpack`, each once.

    Containers without futures are not copied.
    """
    packing = _Packing()
    template = packing.packed(arguments)
    return template, list(packing.positions)


def unpack(template: Any, values: Sequence[Any]) -> Any:
    """Return what was packed, with ``values`` in place of the refs."""
    return _Unpacking(values).unpacked(template) if values else template


# Classes rather than closures that call themselves: those are reference cycles, which would keep
# the refs of a task, and the values in a worker, until Python happens to collect them.


class _Packing:
    """The refs of one task, in the order in which they were found."""

    def __init__(self) -> None:
        self.positions: dict[millpond.ObjectRef[Any], int] = {}

    def packed(self, arguments: Any) -> Any:
        """Return ``arguments`` with slots in place of futures."""
        return _replaced(arguments, _FUTURES, self._slot)

    def _slot(self, future: Deferred | Extent | millpond.ObjectRef[Any]) -> _Slot:
        if isinstance(future, Deferred):
            return _Slot(self._position(future.source), calls=self.packed(future.calls))
        if isinstance(future, Extent):
            return _Slot(self._position(future.source), future.selection)
        return _Slot(self._position(future))

    def _position(self, ref: millpond.ObjectRef[Any]) -> int:
        return self.positions.setdefault(ref, len(self.positions))


class _Unpacking:
    """The values of the refs of one task."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    def unpacked(self, template: Any) -> Any:
        """Return ``template`` with values in place of slots."""
        return _replaced(template, _SLOTS, self._value)

    def _value(self, slot: _Slot) -> Any:
        found = self._values[slot.index]
        if slot.calls is not None:
            return read_only.run(self.unpacked(slot.calls), found)
        return found if slot.selection is None else slot.selection.pick(found)


def _replaced(tree: Any, kinds: frozenset[type], replacement: Any) -> Any:
    """Return ``tree`` with ``replacement(leaf)`` for every leaf of a type in ``kinds``."""
    kind = type(tree)
    if kind in kinds:
        return replacement(tree)
    if kind not in _CONTAINERS:
        return tree
    items = tree.values() if kind is dict else tree
    # Lists of a million labels are common and hold one or two types: look at the types first.
    found = set(map(type, items))
    if found.isdisjoint(kinds) and found.isdisjoint(_CONTAINERS):
        return tree
    changed = [_replaced(item, kinds, replacement) for item in items]
    if all(new is old for new, old in zip(changed, items, strict=True)):
        return tree
    return dict(zip(tree, changed, strict=True)) if kind is dict else kind(changed)
