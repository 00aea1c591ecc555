"""Dask's callbacks (`dask.callbacks.Callback`: progress bars, profilers) over a computation.

Covers who is told what, and the ``state`` that Dask's callbacks read. Not: how this process
learns what the workers did (``following``).

A callback that wants results (``posttask``) gets every task's value, so with one in force each
task runs on its own; a progress bar alone changes nothing about how tasks are grouped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from dask._task_spec import GraphNode, convert_legacy_graph
from dask.callbacks import Callback, normalize_callback
from dask.typing import Key

from .graph import TaskGraph

__all__ = ["Observation", "active_callbacks"]


def active_callbacks(callbacks: Any) -> list[tuple[Any, ...]]:
    """Return the callbacks given to this computation, or else those registered with Dask."""
    if callbacks is None:
        # A copy. Dask's schedulers empty the class attribute while they run, lest a nested
        # computation reports twice; ours is another process's, and that would not be
        # thread-safe.
        return list(Callback.active)
    if isinstance(callbacks, Callback | tuple):
        callbacks = [callbacks]
    return [normalize_callback(callback) for callback in callbacks]


class Observation:
    """The callbacks of one computation, and the state that they are shown.

    As a context manager it tells them of the end, and whether it was a failure.
    """

    def __init__(self, callbacks: Iterable[tuple[Any, ...]]) -> None:
        self._callbacks = list(callbacks)
        self._nodes: dict[Key, GraphNode] = {}
        #: what Dask's own schedulers keep, as far as callbacks may read it
        self._state: dict[str, Any] = {}
        self._aliases: set[Key] = set()
        self._started: list[tuple[Any, ...]] = []

    @property
    def wants_values(self) -> bool:
        """Whether some callback is told of each task's result."""
        return any(callback[3] for callback in self._callbacks)

    def start(self, nodes: dict[Key, GraphNode]) -> dict[Key, GraphNode]:
        """Tell of the start; return the graph, which callbacks may have changed."""
        for callback in self._callbacks:
            if callback[0]:
                callback[0](nodes)
            self._started.append(callback)
        self._nodes = convert_legacy_graph(nodes)
        return self._nodes

    def begin(self, graph: TaskGraph) -> None:
        """Tell of the tasks that are going to run."""
        # To Dask's schedulers an alias is a task too.
        self._aliases = set(graph.aliases)
        made = graph.tasks.keys() | self._aliases
        dependencies = {
            key: {name for name in task.dependencies if name in made}
            for key, task in graph.tasks.items()
        }
        dependencies |= {key: {graph.aliases[key]} & made for key in self._aliases}
        users: dict[Key, set[Key]] = {key: set() for key in made}
        for key, needed in dependencies.items():
            for name in needed:
                users[name].add(key)
        waiting = {key: set(needed) for key, needed in dependencies.items() if needed}
        self._state = {
            "dependencies": dependencies,
            "dependents": users,
            "waiting": waiting,
            "waiting_data": {key: set(using) for key, using in users.items() if using},
            "cache": dict(graph.literals),
            "ready": [key for key in made if key not in waiting],
            "running": set(),
            "finished": set(),
            "released": set(),
        }
        for callback in self._callbacks:
            if callback[1]:
                callback[1](self._nodes, self._state)
        for key in self._aliases - waiting.keys():
            self.task_ends(key, graph.literals.get(graph.resolve(key)))

    def task_starts(self, key: Key) -> None:
        """Tell that a task runs."""
        if key in self._state["running"]:
            return
        if key in self._state["ready"]:
            self._state["ready"].remove(key)
        self._state["running"].add(key)
        for callback in self._callbacks:
            if callback[2]:
                callback[2](key, self._nodes, self._state)

    def task_ends(self, key: Key, value: Any) -> None:
        """Tell that a task has its result."""
        self.task_starts(key)
        state = self._state
        state["running"].discard(key)
        state["finished"].add(key)
        for user in state["dependents"][key]:
            needed = state["waiting"].get(user)
            if needed is not None:
                needed.discard(key)
                if not needed:
                    del state["waiting"][user]
                    state["ready"].append(user)
        for dependency in state["dependencies"][key]:
            users = state["waiting_data"][dependency]
            users.discard(key)
            if not users:
                state["released"].add(dependency)
        for callback in self._callbacks:
            if callback[3]:
                callback[3](key, value, self._nodes, state, None)
        for user in state["dependents"][key] & self._aliases:
            self.task_ends(user, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        for callback in self._started:
            if callback[4]:
                callback[4](self._nodes, self._state, failure is not None)
