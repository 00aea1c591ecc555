"""The tasks that run in the driver, at the end of a computation.

- *Finalizers*, which put a collection's chunks together: in the driver the result is made once,
  where it is wanted, instead of once in the store and once more in the driver.
- *Stores into the driver's own memory* (``dask.array.store`` into a numpy array): in a worker
  they would write into a copy, and the data would silently be lost. What uses their results
  runs in the driver too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from timeit import default_timer
from typing import Any

from dask._task_spec import Task
from dask.typing import Key
from dask.utils import key_split

from .graph import TaskGraph
from .observation import Observation, Span
from .stores import stores_in_driver

__all__ = ["Finishing", "take_finishing"]


@dataclass(slots=True)
class Finishing:
    """The driver's share of a computation: gives tasks their values as these arrive."""

    graph: TaskGraph
    observation: Observation | None = None
    #: the driver's tasks
    tasks: dict[Key, Task] = field(default_factory=dict)
    #: what they made, and what they still need
    values: dict[Key, Any] = field(default_factory=dict)
    _missing: dict[Key, set[Key]] = field(default_factory=dict)
    _users: dict[Key, list[Key]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Note what each task waits for; run those that wait for nothing."""
        for key, task in self.tasks.items():
            targets = {self.graph.resolve(name) for name in task.dependencies}
            self._missing[key] = targets - self.graph.literals.keys()
            for target in self._missing[key]:
                self._users.setdefault(target, []).append(key)
        for key in [key for key, missing in self._missing.items() if not missing]:
            self._run(key)

    @property
    def needs(self) -> set[Key]:
        """The keys of the objects in the store that the tasks use."""
        return {key for missing in self._missing.values() for key in missing} - self.tasks.keys()

    def arrived(self, key: Key, value: Any) -> None:
        """Take the value of ``key``, and run every task that waited for nothing else."""
        users = self._users.pop(key, ())
        if users:
            self.values[key] = value
        for user in users:
            self._missing[user].discard(key)
            if not self._missing[user]:
                self._run(user)

    def _run(self, key: Key) -> None:
        task = self.tasks[key]
        known = {name: self._value(name) for name in task.dependencies}
        if self.observation is not None:
            self.observation.task_starts(key)
        begin = default_timer()
        result = task(known)
        if self.observation is not None:
            span = Span(begin, default_timer(), os.getpid())
            self.observation.task_ends(key, result, span)
        del self._missing[key]
        used = {self.graph.resolve(name) for name in task.dependencies}
        for target in used.difference(*self._missing.values()):
            if target not in self.tasks:
                self.values.pop(target, None)  # nobody else waits for it
        self.values[key] = result
        self.arrived(key, result)

    def _value(self, name: Key) -> Any:
        target = self.graph.resolve(name)
        if target in self.graph.literals:
            return self.graph.literals[target]
        return self.values[target]


def take_finishing(
    graph: TaskGraph, wanted: Collection[Key], observation: Observation | None = None
) -> Finishing:
    """Move the tasks that the driver runs out of ``graph``."""
    finishing = Finishing(graph, observation)
    targets = {graph.resolve(key) for key in wanted}
    for key in targets:
        task = graph.tasks.get(key)
        if task is not None and not graph.dependents.get(key) and _is_finalizer(task):
            finishing.tasks[key] = task
    # What stores, and all that uses what was stored.
    ours = [key for key, task in graph.tasks.items() if stores_in_driver(task, graph.literals)]
    while ours:
        key = ours.pop()
        if key not in finishing.tasks:
            finishing.tasks[key] = graph.tasks[key]
            ours.extend(graph.dependents.get(key, ()))
    for key in finishing.tasks:
        del graph.tasks[key]
    finishing.prepare()
    for users in graph.dependents.values():
        users[:] = [user for user in users if user not in finishing.tasks]
    return finishing


def _is_finalizer(task: Task) -> bool:
    if isinstance(task.key, str):
        return task.key.startswith("finalize-")
    frames = sys.modules.get("dask.dataframe.core")
    concat = getattr(frames, "_concat", None)
    return task.func is concat and key_split(task.key) == "repartitiontofewer"
