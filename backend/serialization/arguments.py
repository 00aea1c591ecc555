"""The arguments of a call: top-level refs become slots, the rest is pickled.

A slot stands for a value that the owner resolves before the task runs; refs deeper inside
stay refs.
"""

from __future__ import annotations

from typing import Any

from .layout import SerializedValue
from .values import deserialize, serialize

__all__ = ["fill_slots", "serialize_arguments"]


class Slot:
    """The place of the ``index``-th resolved argument."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __reduce__(self) -> tuple[Any, ...]:
        return Slot, (self.index,)


def serialize_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], ref_type: type, what: str
) -> tuple[SerializedValue | None, list[Any]]:
    """Pickle a call's arguments.

    Returns:
        The pickled arguments (None when there are none) and the top-level refs, in slot order.
    """
    if not args and not kwargs:
        return None, []
    refs: list[Any] = []
    slots: dict[int, Slot] = {}

    def slotted(value: Any) -> Any:
        if not isinstance(value, ref_type):
            return value
        slot = slots.get(id(value))
        if slot is None:
            slot = slots[id(value)] = Slot(len(refs))
            refs.append(value)
        return slot

    call = (
        tuple([slotted(value) for value in args]),
        {name: slotted(value) for name, value in kwargs.items()},
    )
    return serialize(call, what), refs


def fill_slots(
    payload: Any, values: list[Any]
) -> tuple[tuple[Any, ...], dict[str, Any], list[Any]]:
    """Return args and kwargs with ``values`` in their slots, and the refs found inside."""
    (args, kwargs), refs = deserialize(payload)
    if values:
        args = tuple([values[a.index] if type(a) is Slot else a for a in args])
        kwargs = {k: values[a.index] if type(a) is Slot else a for k, a in kwargs.items()}
    return args, kwargs, refs
