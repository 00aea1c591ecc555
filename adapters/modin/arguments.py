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

from .extents import Extent, Selection

#: Containers that are searched for refs; subclasses may mean something else and are left alone.
_CONTAINERS = frozenset((dict, list, tuple))

_FUTURES = frozenset((Extent, millpond.ObjectRef))


@dataclass(frozen=True, slots=True)
class _Slot:
    """The place of a value that travels by itself."""

    index: int
    #: What to take out of the value; None for all of it.
    selection: Selection | None = None


#: What `pack` leaves in place of futures, and `unpack` looks for.
_SLOTS = frozenset((_Slot,))


def pack(arguments: Any) -> tuple[Any, list[millpond.ObjectRef[Any]]]:
    """Return ``arguments`` with slots in place of futures, and the refs for `unpack`, each once.

    Containers without futures are not copied.
    """
    positions: dict[millpond.ObjectRef[Any], int] = {}

    def slot(future: Extent | millpond.ObjectRef[Any]) -> _Slot:
        if isinstance(future, Extent):
            return _Slot(positions.setdefault(future.source, len(positions)), future.selection)
        return _Slot(positions.setdefault(future, len(positions)))

    template = _replaced(arguments, _FUTURES, slot)
    return template, list(positions)


def unpack(template: Any, values: Sequence[Any]) -> Any:
    """Return what was packed, with ``values`` in place of the refs."""
    if not values:
        return template

    def value(slot: _Slot) -> Any:
        found = values[slot.index]
        return found if slot.selection is None else slot.selection.pick(found)

    return _replaced(template, _SLOTS, value)


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
