"""From what Dask hands over to the tasks that must run.

Covers: materialising expressions and high-level graphs, converting legacy tuples, following
aliases, leaving out what the wanted keys do not need, and refusing graphs that only
dask.distributed can run. Not: how tasks are grouped (``units``) or executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dask._expr import HLGExpr, _HLGExprSequence
from dask._task_spec import Alias, DataNode, GraphNode, Task, convert_legacy_graph
from dask.core import flatten, literal
from dask.highlevelgraph import MaterializedLayer
from dask.typing import Key
from dask.utils import ensure_dict

import millpond

from .fusion import fuse_frames
from .futures import ref_in
from .hints import NO_HINTS, Hints
from .stores import open_store

__all__ = ["TaskGraph", "flat_keys", "materialize", "select"]

_P2P_MESSAGE = (
    "this graph uses Dask's peer-to-peer (P2P) {kind}, which only a dask.distributed cluster can "
    "run. Set dask.config.set({{{settings}}}) before building the collection, or call "
    "millpond.dask.enable(), which sets both."
)
_SHUFFLE_SETTING = '"dataframe.shuffle.method": "tasks"'
_RECHUNK_SETTING = '"array.rechunk.method": "tasks"'


@dataclass(slots=True)
class TaskGraph:
    """The part of a graph that some keys need, with aliases out of the way."""

    #: every task to run, by key
    tasks: dict[Key, Task] = field(default_factory=dict)
    #: values that the graph itself holds, by key
    literals: dict[Key, Any] = field(default_factory=dict)
    #: objects of earlier computations (persisted collections) that the graph holds, by key
    refs: dict[Key, millpond.ObjectRef[Any]] = field(default_factory=dict)
    #: other names of the above
    aliases: dict[Key, Key] = field(default_factory=dict)
    #: the tasks whose results a task uses, by key
    dependencies: dict[Key, set[Key]] = field(default_factory=dict)
    #: the tasks that use a task's result, by key; a key that nobody uses is missing
    dependents: dict[Key, list[Key]] = field(default_factory=dict)
    #: how each task is to run; a key that nothing was said about is missing
    hints: dict[Key, Hints] = field(default_factory=dict)

    def resolve(self, key: Key) -> Key:
        """Return the key of the task or value that ``key`` names."""
        aliases = self.aliases
        steps = 0
        while key in aliases:
            key = aliases[key]
            steps += 1
            if steps > len(aliases):
                raise ValueError(f"the graph's aliases form a cycle through {key!r}")
        return key


def materialize(dsk: Any) -> dict[Key, GraphNode]:
    """Return the low-level graph of an expression, a high-level graph or a mapping."""
    renamed: dict[Key, Key] = {}
    if not isinstance(dsk, Mapping):
        dsk, renamed = fuse_frames(dsk)
        dsk = _layers_of_delayed(dsk) or dsk.__dask_graph__()
    graph: dict[Key, GraphNode] = convert_legacy_graph(ensure_dict(dsk))
    for old, new in renamed.items():
        graph.setdefault(old, Alias(old, new))
    return graph


def _layers_of_delayed(expr: Any) -> dict[Key, Any] | None:
    """Return the graph of an expression of delayed values alone; None for any other.

    All that Dask's optimization does for these is to leave out what is not needed. That takes it
    time quadratic in the number of values computed at once, and `select` does it anyway.
    """
    merged: dict[Key, Any] = {}
    for part in expr.operands if isinstance(expr, _HLGExprSequence) else (expr,):
        if not isinstance(part, HLGExpr):
            return None
        optimizer, layered = part.low_level_optimizer, part.hlg
        if getattr(optimizer, "__module__", "") != "dask.delayed" or not all(
            type(layer) is MaterializedLayer for layer in layered.layers.values()
        ):
            return None
        for layer in layered.layers.values():
            merged.update(layer)
    return merged


def flat_keys(keys: Any) -> list[Key]:
    """Return the keys of a nested list of them, in order."""
    return list(flatten(keys)) if isinstance(keys, list) else [keys]


def select(
    nodes: Mapping[Key, GraphNode],
    keys: Iterable[Key],
    hints_of: Callable[[Key], Hints] | None = None,
) -> TaskGraph:
    """Return what is needed to compute ``keys``.

    Args:
        nodes: the low-level graph.
        keys: the wanted keys.
        hints_of: says how a task is to run.

    Raises:
        KeyError: a wanted key is not in the graph.
        ValueError: a key that a task uses is not in the graph.
        RuntimeError: the graph needs dask.distributed.
    """
    graph = TaskGraph()
    available = dict(nodes)
    seen: set[Key] = set()
    #: the key of the graph that a part of a fused task belongs to
    of_part: dict[Key, Key] = {}
    stack: list[tuple[Key, Key | None]] = [(key, None) for key in reversed(list(keys))]
    while stack:
        key, user = stack.pop()
        if key in seen:
            continue
        seen.add(key)
        node = available.get(key)
        if node is None:
            if user is None:
                raise KeyError(key)
            raise ValueError(f"Missing dependency {key!r} of {user!r}: the graph has no such key")
        while parts := open_store(node):
            available |= parts
            node = parts[key]
            of_part |= dict.fromkeys(parts, of_part.get(key, key))
        _add(graph, key, node)
        stack.extend([(name, key) for name in node.dependencies])
    tasks = graph.tasks
    for key, task in tasks.items():
        names = task.dependencies
        if graph.aliases:
            names = {graph.resolve(name) for name in names}
        needed = graph.dependencies[key] = {name for name in names if name in tasks}
        for name in needed:
            graph.dependents.setdefault(name, []).append(key)
        hints = hints_of(of_part.get(key, key)) if hints_of is not None else NO_HINTS
        if hints != NO_HINTS:
            graph.hints[key] = hints
    return graph


def _add(graph: TaskGraph, key: Key, node: GraphNode) -> None:
    if isinstance(node, DataNode):
        ref = ref_in(node.value)
        if ref is None:
            graph.literals[key] = node.value
        else:
            graph.refs[key] = ref
    elif isinstance(node, Alias):
        graph.aliases[key] = node.target
    elif not isinstance(node, Task):
        raise TypeError(f"the graph's node {key!r} is a {type(node).__name__}, not a task")
    elif type(node.func) is literal:
        graph.literals[key] = node.func()  # delayed(value, traverse=False)
    else:
        _refuse_p2p(node)
        graph.tasks[key] = node if node.key == key else _renamed(node, key)


def _renamed(task: Task, key: Key) -> Task:
    """Return a task under another key: some of Dask's optimizations leave one under several."""
    made = task.substitute({}, key=key)
    # Dask's containers stay what they are called.
    return made if made.key == key else Task(key, _itself, task)


def _itself(value: Any) -> Any:
    return value


def _refuse_p2p(task: Task) -> None:
    # Recognised by name: importing dask.distributed for the class would cost a second.
    if type(task) is Task or type(task).__name__ != "P2PBarrierTask":
        return
    rechunk = "rechunk" in str(task.key)
    raise RuntimeError(
        _P2P_MESSAGE.format(
            kind="rechunk" if rechunk else "shuffle",
            settings=_RECHUNK_SETTING if rechunk else _SHUFFLE_SETTING,
        )
    )
