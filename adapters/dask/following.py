"""Watching a computation's units on behalf of Dask's callbacks.

The engine runs the tasks without asking this process. Each unit returns one small object more,
which says when its tasks ran, and which is watched here. Until then a unit is taken to run when
it is among the first in line of those that could.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from itertools import islice, pairwise
from typing import Any

import millpond

from .node import Times, take_times
from .observation import Observation, Span
from .units import Unit

__all__ = ["Follower"]

#: how many of the units next in line are watched at a time
_WINDOW = 64
#: how many wanted results are watched besides, for errors
_WATCHED_RESULTS = 16
#: seconds after which to look again even if nothing was reported
_INTERVAL = 0.5


class Follower:
    """Watches the units of a computation and reports each to an `Observation`.

    Where a callback uses results, it keeps each until it has been told, so an intermediate is freed
    a moment later than without.
    """

    def __init__(self, observation: Observation, units: list[Unit]) -> None:
        self._observation = observation
        self._units = units
        #: by unit in submission order; those that ended are gone
        self._times: dict[int, millpond.ObjectRef[Any]] = {}
        #: likewise, if anybody wants them
        self._results: dict[int, millpond.ObjectRef[Any]] = {}
        made_by = {key: i for i, unit in enumerate(units) for keys in unit.outputs for key in keys}
        self._missing: list[set[int]] = []
        self._users: list[list[int]] = [[] for _ in units]
        for i, unit in enumerate(units):
            needed = {made_by[key] for key in unit.inputs.values() if key in made_by}
            self._missing.append(needed)
            for j in needed:
                self._users[j].append(i)
        self._ready = [i for i, needed in enumerate(self._missing) if not needed]

    def submitted(
        self, index: int, result: millpond.ObjectRef[Any], times: millpond.ObjectRef[Any]
    ) -> None:
        """Take a unit's (first) object, and that of its times."""
        self._times[index] = times
        if self._observation.wants_values:
            self._results[index] = result

    def follow(self, results: Iterable[millpond.ObjectRef[Any]]) -> None:
        """Report until every unit has ended.

        Raises:
            Exception: one of the first of ``results`` is an error.
        """
        watched = list(islice(results, _WATCHED_RESULTS))
        session = millpond.context()
        abreast = max(1, int(session.num_cpus)) if session is not None else 1
        try:
            while self._ready:
                window = self._ready[:_WINDOW]
                for i in window[:abreast]:
                    for task in self._units[i].tasks:
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
        finally:
            # A traceback keeps this frame: it must not keep the results with it.
            refs = []
            done = set()
            self._times.clear()
            self._results.clear()
            watched.clear()

    def _ends(self, i: int) -> None:
        unit = self._units[i]
        try:
            times = millpond.get(self._times.pop(i))
        except Exception as error:
            self._tell(unit, take_times(error), None)
            raise
        self._tell(unit, times, millpond.get(self._results.pop(i)) if i in self._results else None)
        self._ready.remove(i)
        for user in self._users[i]:
            self._missing[user].discard(i)
            if not self._missing[user]:
                bisect.insort(self._ready, user)

    def _tell(self, unit: Unit, times: Times, value: Any) -> None:
        """Report the tasks of a unit, as far as they have ended."""
        worker, moments = times
        spans = [Span(begin, end, worker) for begin, end in pairwise(moments)]
        for task, span in zip(unit.tasks, spans, strict=False):
            self._observation.task_ends(task.key, value, span)
        if len(spans) > len(unit.tasks):
            for key in [key for keys in unit.outputs for key in keys]:
                self._observation.task_ends(key, None, spans[-1])
