"""Watching a computation's units on behalf of Dask's callbacks.

The engine runs the tasks without asking this process. Each unit, or batch of units, returns one
small object more, which says when its tasks ran, and which is watched here. Until then it is taken
to run when it is among the first in line of those that could.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from dask.typing import Key

import millpond

from .batches import Batch
from .node import Times, take_times
from .observation import Observation, Span
from .units import Unit

__all__ = ["Follower"]

#: how many of the calls next in line are watched at a time
_WINDOW = 64
#: how many wanted results are watched besides, for errors
_WATCHED_RESULTS = 16
#: seconds after which to look again even if nothing was reported
_INTERVAL = 0.5


class Follower:
    """Watches the calls of a computation and reports their tasks to an `Observation`.

    Where a callback uses results, it keeps each until it has been told, so an intermediate is freed
    a moment later than without.
    """

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        #: in submission order: each after what it needs
        self._nodes: list[Unit | Batch] = []
        #: which of them makes a result
        self._maker: dict[Key, int] = {}
        #: by number; those that ended are gone
        self._times: dict[int, millpond.ObjectRef[Any]] = {}
        #: likewise, if anybody wants them
        self._results: dict[int, millpond.ObjectRef[Any]] = {}
        self._missing: list[set[int]] = []
        self._users: list[list[int]] = []
        self._ready: list[int] = []

    def submitted(self, node: Unit | Batch, objects: Sequence[millpond.ObjectRef[Any]]) -> None:
        """Take what was sent, and its objects: the last are the times of its tasks."""
        number = len(self._nodes)
        self._nodes.append(node)
        self._maker.update((key, number) for keys in node.outputs for key in keys)
        self._times[number] = objects[-1]
        if self._observation.wants_values:
            self._results[number] = objects[0]
        needed = {self._maker[key] for key in node.inputs.values() if key in self._maker}
        self._missing.append(needed)
        self._users.append([])
        for maker in needed:
            self._users[maker].append(number)
        if not needed:
            self._ready.append(number)

    def follow(self, results: Iterable[millpond.ObjectRef[Any]]) -> None:
        """Report until everything that was submitted has ended.

        Raises:
            Exception: one of the first of ``results`` is an error.
        """
        watched = list(islice(results, _WATCHED_RESULTS))
        session = millpond.context()
        abreast = max(1, int(session.num_cpus)) if session is not None else 1
        while self._ready:
            window = self._ready[:_WINDOW]
            for i in window[:abreast]:
                for task in self._nodes[i].tasks:
                    self._observation.task_starts(task.key)
            refs = list(dict.fromkeys([self._times[i] for i in window] + watched))
            millpond.wait(refs, num_returns=1, timeout=_INTERVAL)
            done = set(millpond.wait(refs, num_returns=len(refs), timeout=0)[0])
            for i in window:
                if self._times[i] in done:
                    self._ends(i)
            for ref in [ref for ref in watched if ref in done]:
                watched.remove(ref)
                millpond.get(ref)

    def _ends(self, i: int) -> None:
        node = self._nodes[i]
        try:
            times = millpond.get(self._times.pop(i))
        except Exception as error:
            self._tell(node, take_times(error), None)
            raise
        self._tell(node, times, millpond.get(self._results.pop(i)) if i in self._results else None)
        self._ready.remove(i)
        for user in self._users[i]:
            self._missing[user].discard(i)
            if not self._missing[user]:
                bisect.insort(self._ready, user)

    def _tell(self, node: Unit | Batch, times: Times, value: Any) -> None:
        """Report the tasks of a unit or batch, as far as they have ended."""
        tasks = node.tasks
        for task, ran in zip(tasks, times, strict=False):
            if ran is not None:
                self._observation.task_ends(task.key, value, Span(*ran))
        for picked in times[len(tasks) :]:
            if picked is not None:
                for key in [key for keys in node.outputs for key in keys]:
                    self._observation.task_ends(key, None, Span(*picked))
