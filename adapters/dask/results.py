"""Bringing results back to the process that asked for them.

Each result is copied out of the store as soon as it is ready and its reference dropped, so
results do not fill the store while the rest is computed, and may together be larger than it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dask.typing import Key

import millpond

from .copies import private_copy
from .payload import size_of
from .room import Room
from .sending import Item

__all__ = ["collect"]

#: seconds between looks at which results are ready: errors are seen no later than this
_FIRST_INTERVAL = 0.02
_LONGEST_INTERVAL = 0.5


def collect(
    refs: dict[Key, millpond.ObjectRef[Any]],
    arrived: Callable[[Key, Any], None],
    items: dict[Key, Item] | None = None,
    opened: Callable[[millpond.ObjectRef[Any], list[Any]], None] | None = None,
    room: Room | None = None,
) -> None:
    """Call ``arrived(key, value)`` for every value as it gets ready; empty the mappings.

    After an error ``refs`` has those that did not arrive, for the caller to cancel.

    Args:
        refs: the refs of values, by key.
        arrived: called with each key and value.
        items: other values, which are items of bundles.
        opened: called with each bundle that is read, before its values arrive.
        room: asked before a value is copied.

    Raises:
        millpond.errors.OutOfMemoryError: this process has no memory for a value.
        Exception: the first error that any of them ends with.
    """
    keys_of = _by_object(refs, items or {})
    refs.clear()
    if items is not None:
        items.clear()
    interval = _FIRST_INTERVAL
    try:
        while keys_of:
            ready = list(keys_of)
            if len(ready) > 1:
                ready = millpond.wait(ready, num_returns=len(ready), timeout=interval)[0]
                interval = min(interval * 1.5, _LONGEST_INTERVAL)
            while ready:
                _deliver(ready.pop(), keys_of, arrived, opened, room)
    finally:
        refs.update({keys[0][0]: ref for ref, keys in keys_of.items()})


def _by_object(
    refs: dict[Key, millpond.ObjectRef[Any]], items: dict[Key, Item]
) -> dict[millpond.ObjectRef[Any], list[tuple[Key, int | None]]]:
    """Return the keys of each object, with the indexes of those that are items."""
    keys_of: dict[millpond.ObjectRef[Any], list[tuple[Key, int | None]]] = {}
    for key, ref in refs.items():
        keys_of.setdefault(ref, []).append((key, None))
    for key, item in items.items():
        keys_of.setdefault(item.ref, []).append((key, item.position))
    return keys_of


def _deliver(
    ref: millpond.ObjectRef[Any],
    keys_of: dict[millpond.ObjectRef[Any], list[tuple[Key, int | None]]],
    arrived: Callable[[Key, Any], None],
    opened: Callable[[millpond.ObjectRef[Any], list[Any]], None] | None,
    room: Room | None,
) -> None:
    view = millpond.get(ref)
    keys = keys_of.pop(ref)
    if room is not None:
        room.take(keys[0][0], size_of(view))
    value = private_copy(view)
    del view
    if keys[0][1] is not None and opened is not None:
        opened(ref, value)
    for key, index in keys:
        arrived(key, value if index is None else value[index])
