"""Handing single units and batches to the engine: which call, with which options and arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key
from dask.utils import key_split

import millpond

from .batch_node import batch_work_of, run_batch, run_timed_batch
from .batches import BATCH_MARK, Batch
from .costs import kind_of
from .futures import ref_in
from .hints import Hints
from .node import run_node, run_timed_node
from .payload import LARGE, Bundled, WorkPickler, size_of, work_of
from .settings import capture_settings
from .units import Unit

__all__ = ["Item", "Sender"]

_remote_node = millpond.remote(run_node)
_remote_timed_node = millpond.remote(run_timed_node)
_remote_batch = millpond.remote(run_batch)
_remote_timed_batch = millpond.remote(run_timed_batch)

#: kinds of tasks that the name of a batch tells
_NAMED_KINDS = 3


@functools.lru_cache(maxsize=1024)
def _call_for(function: Any, name: str, num_returns: int, hints: Hints) -> Any:
    """Return the remote function for tasks of one kind: the engine learns sizes by name."""
    # Dask has put them in order, with all of the graph in view.
    return function.options(name=name, num_returns=num_returns, in_order=True, **hints.options())


@dataclass(frozen=True, slots=True)
class Item:
    """Where a result is: an item of the list that a ref stands for."""

    ref: millpond.ObjectRef[Any]
    position: int


@dataclass(slots=True)
class _Arguments:
    """The inputs of a call, sorted by how they get there."""

    #: refs, and the names of their values
    refs: list[millpond.ObjectRef[Any]] = field(default_factory=list)
    names: list[Key] = field(default_factory=list)
    literals: dict[Key, Any] = field(default_factory=dict)
    #: names of items -> whose they are
    items: dict[Key, Item] = field(default_factory=dict)

    def take_bundles(self) -> list[Bundled]:
        """Append the lists that items are in to the refs; say what is where."""
        slots: dict[millpond.ObjectRef[Any], int] = {}
        for item in self.items.values():
            if item.ref not in slots:
                slots[item.ref] = len(self.refs)
                self.refs.append(item.ref)
        return [(name, slots[item.ref], item.position) for name, item in self.items.items()]


class Sender:
    """Sends units under the present settings; large values that they share are stored once.

    Args:
        timed: each unit and batch returns one object more: the times of its tasks.
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
            source: gives each input, by its key: a ref, an `Item`, or a value. None when there
                are none.

        Raises:
            millpond.errors.SerializationError: it cannot be pickled; nothing was submitted.
            millpond.errors.ResourceError: the machine cannot provide what it asks for.
        """
        given = self._arguments(unit.inputs, source)
        bundled = given.take_bundles()
        work = work_of(unit, given.names, given.literals, bundled)
        payload, lifted = self._pickler.dumps(work, len(given.refs), unit.tasks, given.literals)
        function = _remote_timed_node if self._timed else _remote_node
        objects = len(unit.outputs) + self._timed
        call = _call_for(function, key_split(unit.key), objects, unit.hints)
        made = call.remote(self._settings, payload, *given.refs, *lifted)
        return made if isinstance(made, list) else [made]

    def send_batch(
        self, batch: Batch, source: Callable[[Key], Any]
    ) -> Sequence[millpond.ObjectRef[Any]]:
        """Submit a batch; return its bundle, and the objects of its singles.

        Arguments and errors as those of `send`.
        """
        given = self._arguments(batch.inputs, source)
        bundled = given.take_bundles()
        work = batch_work_of(batch, given.names, given.literals, bundled)
        payload, lifted = self._pickler.dumps(work, len(given.refs), batch.tasks, given.literals)
        function = _remote_timed_batch if self._timed else _remote_batch
        objects = 1 + len(batch.singles) + self._timed
        call = _call_for(function, _name_of(batch), objects, batch.hints)
        made = call.remote(self._settings, payload, *given.refs, *lifted)
        return made if isinstance(made, list) else [made]

    def _arguments(self, inputs: dict[Key, Key], source: Callable[[Key], Any] | None) -> _Arguments:
        given = _Arguments()
        for name, target in inputs.items():
            value = source(target) if source is not None else None
            if type(value) is Item:
                given.items[name] = value
                continue
            ref = ref_in(value)
            if ref is None and (size_of(value) < LARGE or _holds_refs(value)):
                given.literals[name] = value
                continue
            given.names.append(name)
            given.refs.append(self._pickler.store(value) if ref is None else ref)
        return given


def _name_of(batch: Batch) -> str:
    kinds = list(dict.fromkeys([kind_of(unit.key) for unit in batch.units]))
    more = ", ..." if len(kinds) > _NAMED_KINDS else ""
    return ", ".join(kinds[:_NAMED_KINDS]) + more + BATCH_MARK


def _holds_refs(value: Any) -> bool:
    """Whether values are to take the places of refs in it, which they do inside a unit."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple | set):
        return False
    return any(ref_in(item) is not None for item in value)
