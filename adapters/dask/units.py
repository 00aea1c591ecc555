"""Grouping the tasks of a graph into units: what one call of a worker executes.

Three steps. *Splits*: a task whose result is only ever picked apart (shuffles make one such
task per partition and a ``getitem`` task per piece) becomes one unit that stores the pieces
separately, so a consumer reads its own piece and nothing else. *Chains*: a task and its only
consumer run in one unit, so that the result between them is never stored. *Order*: Dask's
static order of what is left, in which the units are submitted.

Pure: no engine, no pickling.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol, TypeVar

from dask._task_spec import Alias, GraphNode, Task, TaskRef
from dask.core import getcycle
from dask.order import order
from dask.typing import Key

from .graph import TaskGraph
from .hints import NO_HINTS, Hints

__all__ = ["Pick", "Unit", "group_tasks", "in_order", "make_units"]


@dataclass(slots=True)
class Pick:
    """One piece of a split result: ``function(result, *arguments)``."""

    #: the selecting tasks that this piece stands for
    keys: list[Key]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(slots=True)
class Unit:
    """Tasks that one call executes, one after the other."""

    #: each uses the one before; the last makes the result
    tasks: list[Task]
    #: what the tasks call their inputs from outside -> the key of the task or literal it is
    inputs: dict[Key, Key]
    #: the pieces to return instead of the result itself
    picks: list[Pick] = field(default_factory=list)
    #: how all the tasks are to run
    hints: Hints = NO_HINTS

    @property
    def key(self) -> Key:
        """The key of the task that makes the result."""
        return self.tasks[-1].key

    @property
    def outputs(self) -> list[list[Key]]:
        """The keys of each object that the unit returns."""
        return [pick.keys for pick in self.picks] if self.picks else [[self.key]]

    def singles(self) -> list[Unit]:
        """Return units of one task each that do the same, in order."""
        made: list[Unit] = []
        for task in self.tasks:
            inputs = {name: self.inputs.get(name, name) for name in task.dependencies}
            made.append(Unit([task], inputs, hints=self.hints))
        made[-1].picks = self.picks
        return made


def make_units(graph: TaskGraph, wanted: Collection[Key]) -> list[Unit]:
    """Group the graph's tasks, keeping each ``wanted`` key as an object; return them in order.

    Args:
        graph: the tasks.
        wanted: keys of tasks (no aliases) whose results must be objects of their own.

    Raises:
        RuntimeError: the graph holds a cycle.
    """
    return in_order(group_tasks(graph, wanted))


def group_tasks(graph: TaskGraph, wanted: Collection[Key], *, grouped: bool = True) -> list[Unit]:
    """Do what `make_units` does, but in no particular order; ``grouped=False`` leaves tasks alone.

    Raises:
        RuntimeError: the graph holds a cycle.
    """
    if not grouped:
        return [
            Unit([task], _inputs(graph, [task]), hints=graph.hints.get(key, NO_HINTS))
            for key, task in graph.tasks.items()
        ]
    picks = _find_splits(graph, wanted)
    picked = {key for pieces in picks.values() for piece in pieces for key in piece.keys}
    units = _chain(graph, wanted, picks, picked)
    if sum(len(unit.tasks) for unit in units) + len(picked) < len(graph.tasks):
        cycle = getcycle(graph.tasks, None)  # a chain that is a circle has no first task
        raise RuntimeError("the graph holds a cycle: " + " -> ".join(map(repr, cycle)))
    return units


# --- splits ------------------------------------------------------------------------------


def _find_splits(graph: TaskGraph, wanted: Collection[Key]) -> dict[Key, list[Pick]]:
    """Return the pieces of every task whose consumers all select from it by a constant."""
    selectors: dict[Key, list[tuple[Key, Task]]] = {}
    for key, task in graph.tasks.items():
        source = _selected_from(task)
        if source is not None:
            selectors.setdefault(graph.resolve(source), []).append((key, task))
    selecting = {key for pairs in selectors.values() for key, _ in pairs}
    splits: dict[Key, list[Pick]] = {}
    for source, pairs in selectors.items():
        if (
            len(pairs) >= 2
            and len(pairs) == len(graph.dependents.get(source, ()))
            and source not in wanted
            and source not in selecting  # a piece of a piece: the second selection is a task
            and not graph.tasks[source].block_fusion
        ):
            splits[source] = _pieces(pairs)
    return splits


def _selected_from(task: Task) -> Key | None:
    """Return the key that ``task`` does nothing with but select a constant item of it."""
    function = task.func
    if function is operator.getitem:
        constants = 1
    elif function is dict.get:  # Bag.groupby
        constants = 2
    elif getattr(function, "__name__", "") == "shuffle_group_get":  # last stage of a shuffle
        constants = 1
    else:
        return None
    if task.kwargs or len(task.args) != constants + 1 or len(task.dependencies) != 1:
        return None
    source, index = task.args[0], task.args[1]
    if type(index) not in (int, str) or isinstance(task.args[-1], GraphNode | TaskRef):
        return None
    if isinstance(source, Alias):
        return source.target
    return source.key if isinstance(source, TaskRef) else None


def _pieces(pairs: list[tuple[Key, Task]]) -> list[Pick]:
    pieces: dict[tuple[Any, type, Any], Pick] = {}
    for key, task in pairs:
        identity = (task.func, type(task.args[1]), task.args[1])
        piece = pieces.get(identity)
        if piece is None:
            pieces[identity] = Pick([key], task.func, task.args[1:])
        else:
            piece.keys.append(key)
    return list(pieces.values())


# --- chains ------------------------------------------------------------------------------


def _chain(
    graph: TaskGraph,
    wanted: Collection[Key],
    picks: dict[Key, list[Pick]],
    picked: set[Key],
) -> list[Unit]:
    following: dict[Key, Key] = {}
    preceded: set[Key] = set()
    for key, task in graph.tasks.items():
        if key in picked or task.block_fusion:
            continue
        dependencies = graph.dependencies[key]
        if len(dependencies) != 1:
            continue
        (previous,) = dependencies
        if (
            len(graph.dependents[previous]) == 1
            and previous not in wanted
            and previous not in picked
            and previous not in picks
            and (not graph.aliases or _names_of(graph, task, previous) == [previous])
            and not graph.tasks[previous].block_fusion
            and graph.hints.get(previous) == graph.hints.get(key)
        ):
            following[previous] = key
            preceded.add(key)
    units = []
    for key, task in graph.tasks.items():
        if key in preceded or key in picked:
            continue
        tasks = [task]
        last = key
        while last in following:
            last = following[last]
            tasks.append(graph.tasks[last])
        hints = graph.hints.get(last, NO_HINTS)
        units.append(Unit(tasks, _inputs(graph, tasks), picks.get(last, []), hints))
    return units


def _names_of(graph: TaskGraph, task: Task, target: Key) -> list[Key]:
    """Return what the task calls ``target``: its key, aliases of it, or both."""
    return [name for name in task.dependencies if graph.resolve(name) == target]


def _inputs(graph: TaskGraph, tasks: list[Task]) -> dict[Key, Key]:
    if not graph.aliases and len(tasks) == 1:
        return {name: name for name in tasks[0].dependencies}
    inputs = {name: graph.resolve(name) for name in tasks[0].dependencies}
    for previous, task in pairwise(tasks):
        inputs |= {n: graph.resolve(n) for n in task.dependencies if n != previous.key}
    return inputs


# --- order -------------------------------------------------------------------------------


class Orderly(Protocol):
    """What is submitted with one call."""

    @property
    def key(self) -> Key:
        """A key that no other call has."""
        ...

    @property
    def inputs(self) -> dict[Key, Key]:
        """What it needs: by its own names, the keys of results."""
        ...

    @property
    def outputs(self) -> list[list[Key]]:
        """The keys of each result that it returns."""
        ...

    @property
    def hints(self) -> Hints:
        """How it is to run."""
        ...


Node = TypeVar("Node", bound=Orderly)


def in_order(nodes: list[Node]) -> list[Node]:
    """Return units and batches in the order in which they are to be submitted.

    Raises:
        RuntimeError: they form a cycle.
    """
    maker = {key: node.key for node in nodes for keys in node.outputs for key in keys}
    dependencies = {
        node.key: {maker[key] for key in node.inputs.values() if key in maker} for node in nodes
    }
    if any(dependencies.values()):
        # All that matters to Dask's ordering is what depends on what.
        tasks = {key: Task(key, len, *map(TaskRef, dependencies[key])) for key in dependencies}
        position = order(tasks)
        nodes = sorted(nodes, key=lambda node: position[node.key])
    if any(node.hints.priority for node in nodes):
        nodes = _by_priority(nodes, dependencies)
    return nodes


def _by_priority(nodes: list[Node], dependencies: dict[Key, set[Key]]) -> list[Node]:
    """Sort by the user's priorities; what a unit needs is at least as urgent as the unit."""
    urgency = {node.key: node.hints.priority for node in nodes}
    for node in reversed(nodes):  # whoever uses a result comes after it
        for needed in dependencies[node.key]:
            urgency[needed] = max(urgency[needed], urgency[node.key])
    return sorted(nodes, key=lambda node: -urgency[node.key])
