"""Dask's callbacks (`dask.callbacks.Callback`: progress bars, profilers) over a computation.

Covers who is told what, and the ``state`` that Dask's callbacks read. Not: how this process
learns what the workers did (``following``).

What happened in a worker is known here when it has ended. A callback that reads the clock
(``clocks``) is told of a task's start and end together, each at its time. Any other is told of
the start when the task is next in line.

A callback that uses results gets every task's value, so with one in force each task runs on its
own; progress bars and profilers change nothing about how tasks are grouped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from timeit import default_timer
from typing import Any, NamedTuple, Self

from dask._task_spec import GraphNode, convert_legacy_graph
from dask.callbacks import Callback, normalize_callback
from dask.diagnostics import Profiler, ResourceProfiler
from dask.typing import Key

from .clocks import on_clock
from .graph import TaskGraph
from .tracking import track_workers

__all__ = ["Observation", "Span", "active_callbacks"]


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


class Span(NamedTuple):
    """When a task ran, in seconds of `timeit.default_timer`, and in which process."""

    begin: float
    end: float
    worker: int


class Observation:
    """The callbacks of one computation, and the state that they are shown.

    As a context manager it tells them of the end, and whether it was a failure.
    """

    def __init__(self, callbacks: Iterable[tuple[Any, ...]]) -> None:
        self._callbacks = list(callbacks)
        self._now = 0.0
        #: of callbacks that read the clock: told when a task has ended
        self._timed_starts: list[Callable[..., Any]] = []
        #: of others: told when it is next in line
        self._starts: list[Callable[..., Any]] = []
        self._ends: list[Callable[..., Any]] = []
        for _, _, pretask, posttask, _ in self._callbacks:
            timed = on_clock(pretask, self._clock)
            if timed is not None:
                self._timed_starts.append(timed)
            elif pretask:
                self._starts.append(pretask)
            if posttask:
                self._ends.append(on_clock(posttask, self._clock) or posttask)
        self._nodes: dict[Key, GraphNode] = {}
        #: what Dask's own schedulers keep, as far as callbacks may read it
        self._state: dict[str, Any] = {}
        self._aliases: set[Key] = set()
        self._started: list[tuple[Any, ...]] = []

    @property
    def wants_values(self) -> bool:
        """Whether some callback uses each task's result."""
        return any(
            callback[3] and getattr(callback[3], "__func__", None) is not Profiler._posttask  # noqa: SLF001
            for callback in self._callbacks
        )

    def _clock(self) -> float:
        return self._now

    def start(self, nodes: dict[Key, GraphNode]) -> dict[Key, GraphNode]:
        """Tell of the start; return the graph, which callbacks may have changed."""
        for callback in self._callbacks:
            if callback[0]:
                owner = getattr(callback[0], "__self__", None)
                if isinstance(owner, ResourceProfiler):
                    track_workers(owner)
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
            self._alias_ends(key, graph.literals.get(graph.resolve(key)), default_timer())

    def task_starts(self, key: Key) -> None:
        """Tell that a task runs, or is about to."""
        if key in self._state["running"]:
            return
        if key in self._state["ready"]:
            self._state["ready"].remove(key)
        self._state["running"].add(key)
        for told in self._starts:
            told(key, self._nodes, self._state)

    def task_ends(self, key: Key, value: Any, span: Span) -> None:
        """Tell that a task has its result, and when it ran."""
        self.task_starts(key)
        state = self._state
        self._now = span.begin
        for told in self._timed_starts:
            told(key, self._nodes, state)
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
        self._now = span.end
        for told in self._ends:
            told(key, value, self._nodes, state, span.worker)
        for user in state["dependents"][key] & self._aliases:
            self._alias_ends(user, value, span.end)

    def _alias_ends(self, key: Key, value: Any, now: float) -> None:
        self.task_ends(key, value, Span(now, now, os.getpid()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        for callback in self._started:
            if callback[4]:
                callback[4](self._nodes, self._state, failure is not None)
