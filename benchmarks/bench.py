"""What a case is handed: the engine, sizes, and stopwatches that also read CPU time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from . import engines, processes
from .catalogue import Case, Unit, unit_of
from .engines import ENGINES, Engine, Feature, Settings
from .events import Event, Sample
from .workloads import noop

#: Below this many seconds, the kernel's CPU clock is too coarse to say what others used.
_SHORTEST_FOR_OUTSIDE_LOAD = 0.2

#: How long every engine is left alone after its start: rates are of an engine that has started, and
#: the start has bars of its own.
_SETTLING_SECONDS = 4.0


@dataclass(slots=True)
class Timing:
    """What `Bench.timed` fills in at the end, in seconds."""

    wall: float = 0.0
    #: CPU time of the whole process tree.
    cpu: float = 0.0


class Bench:
    """The measuring side of one engine process. Lives for a group of cases."""

    def __init__(
        self,
        engine_name: str,
        settings: Settings,
        scale: float,
        mark: str,
        report: Callable[[Event], None],
    ) -> None:
        self.engine_name = engine_name
        self.settings = settings
        self.mark = mark
        #: What cases of a group hand on to later ones, for instance 10,000 refs.
        self.shared: dict[str, Any] = {}
        self._scale = scale
        self._report = report
        self._engine: Engine | None = None
        self._case: Case | None = None

    @property
    def engine(self) -> Engine:
        """The engine under test."""
        if self._engine is None:
            raise RuntimeError("the engine is not loaded")
        return self._engine

    def load(self) -> None:
        """Import the engine."""
        self._engine = engines.load(self.engine_name)

    def start(self) -> None:
        """Start the engine and let every worker run tasks, so that none is started while timed.

        Then the engine has a few seconds for what it does behind its start.
        """
        self.engine.start(self.settings)
        if Feature.TASKS in ENGINES[self.engine_name].features:
            for _ in range(2):
                self.engine.get(self.engine.submit_many(self.engine.remote(noop), 100))
        time.sleep(_SETTLING_SECONDS)

    def first_result(self) -> None:
        """Run one task and wait for it."""
        self.engine.get(self.engine.remote(noop)())

    def run(self, case: Case) -> None:
        """Run one case; its samples go to the report."""
        self._case = case
        case.run(self)

    def scaled(self, count: int) -> int:
        """Return a count or a number of bytes, times the scale of this run, at least 1."""
        return max(1, round(count * self._scale))

    def record(self, metric: str, value: float) -> None:
        """Report a value that is not a time, in the metric's unit."""
        self._report(Sample(self._current.name, metric, value))

    @contextmanager
    def timed(
        self, metric: str | None = None, *, operations: int = 1, size: int = 0
    ) -> Iterator[Timing]:
        """Time a block and report it as one sample.

        Args:
            metric: the metric's name; the case's own name by default.
            operations: how many operations the block does, for rates.
            size: how many bytes the block moves, for GB/s.
        """
        stopwatch = _Stopwatch(self.mark)
        timing = Timing()
        yield timing
        timing.wall, timing.cpu = self._sample(metric, stopwatch, operations, size)

    def repeat(
        self, action: Callable[[], object], *, operations: int, seconds: float = 1.0
    ) -> None:
        """Call `action` until `seconds` are over: one sample of a rate.

        Args:
            action: what is timed.
            operations: how many operations each call does.
            seconds: the least time; the last call ends after it.
        """
        count = 0
        stopwatch = _Stopwatch(self.mark)
        deadline = stopwatch.began + seconds
        while True:
            action()
            count += operations
            if time.perf_counter() >= deadline:
                break
        self._sample(None, stopwatch, count, 0)

    @property
    def case_name(self) -> str:
        """The name of the case that runs."""
        return self._current.name

    @property
    def _current(self) -> Case:
        if self._case is None:
            raise RuntimeError("no case is running")
        return self._case

    def _sample(
        self, metric: str | None, stopwatch: _Stopwatch, operations: int, size: int
    ) -> tuple[float, float]:
        """Report a sample; return its seconds of wall and of CPU time."""
        wall, cpu, outside = stopwatch.stop()
        name = metric or self._current.name
        match unit_of(name):
            case Unit.PER_SECOND:
                value = operations / wall
            case Unit.GIGABYTES_PER_SECOND:
                value = size / wall / 1e9
            case Unit.SECONDS:
                value = wall
            case Unit.MILLISECONDS:
                value = wall * 1e3
            case Unit.MEGABYTES | Unit.COUNT | Unit.CORES | Unit.RATIO:
                raise ValueError(f"{name} is not measured by time")
        self._report(Sample(self._current.name, name, value, operations, wall, cpu, outside))
        return wall, cpu


class _Stopwatch:
    """Wall time, CPU time of the marked processes, and load by others, from construction on."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        gc.collect()
        self._cpu = processes.cpu_seconds(mark)
        self._busy = processes.machine_busy_seconds()
        self.began = time.perf_counter()

    def stop(self) -> tuple[float, float, float | None]:
        """Return seconds of wall time, seconds of CPU time, and cores busy with other work."""
        wall = time.perf_counter() - self.began
        busy = processes.machine_busy_seconds() - self._busy
        cpu = processes.cpu_seconds(self._mark) - self._cpu
        outside = max(0.0, busy - cpu) / wall if wall >= _SHORTEST_FOR_OUTSIDE_LOAD else None
        return wall, cpu, outside
