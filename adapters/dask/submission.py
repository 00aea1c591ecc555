"""Handing a computation's units to the engine, and letting go of them.

All units are submitted at once, in Dask's order: the engine runs what is ready, lowest first.
A result's reference is dropped as soon as its last consumer is submitted, because a submitted
task holds its arguments; so the engine frees each intermediate the moment its last consumer
ran, and this process keeps only what was asked for.

Units that cannot be sent run here (``driver``) after everything else was submitted; what depends
on them follows then.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, Self

from dask.typing import Key
from dask.utils import key_split

import millpond
from millpond.errors import SerializationError

from .driver import DriverUnits, note_unpicklable
from .graph import TaskGraph
from .sending import Sender
from .units import Unit, make_units

__all__ = ["Submission"]

Submitted = Callable[[int, millpond.ObjectRef[Any], millpond.ObjectRef[Any]], None]


class Submission:
    """The tasks of one computation in the engine.

    As a context manager it drops every reference at the end, and cancels what has not run when
    an exception (Ctrl-C included) ends the block.

    Args:
        graph: what to compute.
        wanted: keys of tasks and refs (no aliases) whose references to keep.
        grouped: whether tasks may share a unit; else each is one of its own.
    """

    def __init__(self, graph: TaskGraph, wanted: Collection[Key], *, grouped: bool = True) -> None:
        self._graph = graph
        self._wanted = set(wanted)
        #: what is still needed, by key
        self.refs: dict[Key, millpond.ObjectRef[Any]] = dict(graph.refs)
        #: every object, weakly: pending tasks keep what they wait for alive
        self._submitted: list[weakref.ref[millpond.ObjectRef[Any]]] = []
        self.units: list[Unit] = make_units(graph, self._wanted, grouped=grouped)
        self._driver = DriverUnits()

    @property
    def values(self) -> dict[Key, Any]:
        """The wanted values that were made in this process, by key."""
        return {key: value for key, value in self._driver.values.items() if key in self._wanted}

    def submit(self, submitted: Submitted | None = None) -> None:
        """Submit every unit; afterwards `refs` and `values` hold the wanted keys.

        Args:
            submitted: called with each unit's index in `units`, its (first) object, and the
                object that will hold the times of its tasks.
        """
        sender = Sender(timed=submitted is not None)
        uses = self._count_uses()
        held: list[tuple[int | None, Unit]] = []
        #: keys that units in ``held`` will make
        later: set[Key] = set()
        for index, unit in enumerate(self.units):
            hold = DriverUnits.must_run(unit) or not later.isdisjoint(unit.inputs.values())
            refs = None if hold else self._send(sender, unit)
            if refs is None:
                later.update(*unit.outputs)
                held += self._single(index, unit, uses)
                continue
            if submitted is not None:
                submitted(index, refs[0], refs[-1])
            self._release(unit, uses)
        for place, unit in held:
            refs = None if DriverUnits.must_run(unit) else self._send(sender, unit)
            times = self._driver.run(unit, self._source) if refs is None else None
            if submitted is not None and place is not None:
                if refs is None:
                    refs = [millpond.put(None), millpond.put(times)]
                submitted(place, refs[0], refs[-1])
            self._release(unit, uses)

    @staticmethod
    def _single(index: int, unit: Unit, uses: Counter[Key]) -> list[tuple[int | None, Unit]]:
        """Return a unit's tasks as units of their own: not all of them need run here."""
        if len(unit.tasks) == 1:
            return [(index, unit)]
        parts = unit.singles()
        uses.subtract(set(unit.inputs.values()))
        for part in parts:
            uses.update(set(part.inputs.values()))
        return [*((None, part) for part in parts[:-1]), (index, parts[-1])]

    def _source(self, target: Key) -> Any:
        ref = self.refs.get(target)
        if ref is not None:
            return ref
        if target in self._driver.values:
            return self._driver.values[target]
        return self._graph.literals[target]

    def _send(self, sender: Sender, unit: Unit) -> Sequence[millpond.ObjectRef[Any]] | None:
        """Submit a unit and return its objects, or None where it cannot be pickled."""
        try:
            refs = sender.send(unit, self._source)
        except SerializationError as error:
            # Of several tasks it is not known which; after a value made here, it is that value.
            if len(unit.tasks) == 1 and self._driver.values.keys().isdisjoint(unit.inputs.values()):
                note_unpicklable(key_split(unit.key), str(error))
            return None
        for keys, ref in zip(unit.outputs, refs, strict=False):  # times may follow
            self._submitted.append(weakref.ref(ref))
            for key in keys:
                self.refs[key] = ref
        return refs

    def _count_uses(self) -> Counter[Key]:
        uses: Counter[Key] = Counter(self._wanted)
        for unit in self.units:
            uses.update(set(unit.inputs.values()))
        return uses

    def _release(self, unit: Unit, uses: Counter[Key]) -> None:
        """Drop what no later unit needs: this unit's inputs, and outputs that nobody uses."""
        targets = set(unit.inputs.values())
        for target in targets:
            uses[target] -= 1
        for target in targets.union(*unit.outputs):
            if not uses[target]:
                self.refs.pop(target, None)
                self._driver.values.pop(target, None)

    def cancel(self) -> None:
        """Cancel every task that has not run, as far as anything still refers to it."""
        # All first: cancelling a task lets go of its arguments, and so of who is to be next.
        alive = [ref for weak in self._submitted if (ref := weak()) is not None]
        for ref in reversed(alive):
            millpond.cancel(ref)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is not None:
            self.cancel()
        # The exception's traceback keeps this object: it must not keep the results with it.
        self.refs.clear()
        self._submitted.clear()
        self._driver.values.clear()
