"""Handing a computation's units to the engine, and letting go of them.

All units are submitted at once, in Dask's order: the engine runs what is ready, lowest first.
A result's reference is dropped as soon as its last consumer is submitted, because a submitted
task holds its arguments; so the engine frees each intermediate the moment its last consumer
ran, and this process keeps only what was asked for.
"""

from __future__ import annotations

import functools
import weakref
from collections import Counter
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any, Self

from dask.typing import Key
from dask.utils import key_split

import millpond

from .graph import TaskGraph
from .node import run_node
from .payload import LARGE, WorkPickler, size_of
from .persisted import ref_in
from .settings import capture_settings
from .units import Unit, make_units

__all__ = ["Submission"]

_remote_node = millpond.remote(run_node)


@functools.lru_cache(maxsize=1024)
def _call_for(prefix: str, num_returns: int) -> Any:
    """Return the remote function for tasks of one kind: the engine learns sizes by name."""
    return _remote_node.options(name=prefix, num_returns=num_returns)


def _holds_refs(value: Any) -> bool:
    """Whether values are to take the places of refs in it, which they do inside a unit."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple | set):
        return False
    return any(ref_in(item) is not None for item in value)


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

    def submit(self, submitted: Callable[[millpond.ObjectRef[Any]], None] | None = None) -> None:
        """Submit every unit; afterwards `refs` holds the wanted keys and nothing else.

        Args:
            submitted: called with the (first) object of each unit, in order.
        """
        settings = capture_settings()
        pickler = WorkPickler()
        uses = self._count_uses()
        for unit in self.units:
            named: list[Key] = []
            arguments: list[Any] = []
            literals: dict[Key, Any] = {}
            for name, target in unit.inputs.items():
                if target in self.refs:
                    named.append(name)
                    arguments.append(self.refs[target])
                    continue
                value = self._graph.literals[target]
                if size_of(value) < LARGE or _holds_refs(value):
                    literals[name] = value
                else:
                    named.append(name)
                    arguments.append(pickler.store(value))
            payload, lifted = pickler.dumps(unit, named, literals)
            ref = self._call(unit, settings, payload, arguments + lifted)
            if submitted is not None:
                submitted(ref)
            self._release(unit, uses)

    def _call(
        self, unit: Unit, settings: bytes, payload: bytes, arguments: list[Any]
    ) -> millpond.ObjectRef[Any]:
        outputs = unit.outputs
        call = _call_for(key_split(unit.key), len(outputs))
        result = call.remote(settings, payload, *arguments)
        refs: list[millpond.ObjectRef[Any]] = [result] if len(outputs) == 1 else result
        for keys, ref in zip(outputs, refs, strict=True):
            self._submitted.append(weakref.ref(ref))
            for key in keys:
                self.refs[key] = ref
        return refs[0]

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

    def cancel(self) -> None:
        """Cancel every task that has not run, as far as anything still refers to it."""
        # All first: cancelling a task lets go of its arguments, and so of who is to be next.
        alive = [ref for weak in self._submitted if (ref := weak()) is not None]
        for ref in reversed(alive):
            millpond.cancel(ref)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None:
            self.cancel()
        # The exception's traceback keeps this object: it must not keep the results with it.
        self.refs.clear()
        self._submitted.clear()
