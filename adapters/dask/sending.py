"""Handing single units to the engine: which call, with which options and arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from dask.typing import Key
from dask.utils import key_split

import millpond

from .futures import ref_in
from .hints import Hints
from .node import run_node, run_timed_node
from .payload import LARGE, WorkPickler, size_of
from .settings import capture_settings
from .units import Unit

__all__ = ["Sender"]

_remote_node = millpond.remote(run_node)
_remote_timed_node = millpond.remote(run_timed_node)


@functools.lru_cache(maxsize=1024)
def _call_for(prefix: str, num_objects: int, hints: Hints, timed: bool) -> Any:
    """Return the remote function for tasks of one kind: the engine learns sizes by name."""
    function = _remote_timed_node if timed else _remote_node
    return function.options(name=prefix, num_returns=num_objects + timed, **hints.options())


class Sender:
    """Sends units under the present settings; large values that they share are stored once.

    Args:
        timed: each unit returns one object more: the times of its tasks.
    """

    def __init__(self, *, timed: bool = False) -> None:
        self._timed = timed
        self._settings = capture_settings()
        self._pickler = WorkPickler()

    def send(
        self, unit: Unit, source: Callable[[Key], Any] | None = None
    ) -> Sequence[millpond.ObjectRef[Any]]:
        """Submit a unit; return its objects.

        Args:
            unit: what to run.
            source: gives each input, by its key: a ref, or a value. None when there are none.

        Raises:
            millpond.errors.SerializationError: it cannot be pickled; nothing was submitted.
            millpond.errors.ResourceError: the machine cannot provide what it asks for.
        """
        named: list[Key] = []
        arguments: list[Any] = []
        literals: dict[Key, Any] = {}
        for name, target in unit.inputs.items():
            value = source(target) if source is not None else None
            ref = ref_in(value)
            if ref is not None:
                named.append(name)
                arguments.append(ref)
            elif size_of(value) < LARGE or _holds_refs(value):
                literals[name] = value
            else:
                named.append(name)
                arguments.append(self._pickler.store(value))
        payload, lifted = self._pickler.dumps(unit, named, literals)
        call = _call_for(key_split(unit.key), len(unit.outputs), unit.hints, self._timed)
        made = call.remote(self._settings, payload, *arguments, *lifted)
        return made if isinstance(made, list) else [made]


def _holds_refs(value: Any) -> bool:
    """Whether values are to take the places of refs in it, which they do inside a unit."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple | set):
        return False
    return any(ref_in(item) is not None for item in value)
