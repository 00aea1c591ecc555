"""A run of the suite: which engine runs which group of cases when.

Engines take turns within each repeat, each in a fresh process, so that a noisy minute hits all of
them alike.
"""

from __future__ import annotations

import mmap
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from .catalogue import Case
from .child import Job
from .engines import ENGINES, Feature
from .record import Failure, Measured, Record, describe_machine
from .runner import Limits, Outcome, run

#: Bytes of object store for every engine, where the machine has the memory.
_STORE_BYTES = 4 << 30
#: The largest part of the machine's memory that a store may take.
_STORE_SHARE = 0.3
#: What cases need that use a lot of memory.
_USE_MEMORY = {
    Feature.ARRAYS,
    Feature.SHUFFLE,
    Feature.SORT,
    Feature.DASK,
    Feature.FRAMES,
}
#: How often an engine that does not start is tried.
_START_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Options:
    """What is to be run."""

    engines: tuple[str, ...]
    cases: tuple[Case, ...]
    repeats: int
    scale: float
    cpus: int
    limits: Limits


class Session:
    """One run of the suite; `run` gives its record."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._record = Record(
            list(options.engines), options.repeats, options.scale, describe_machine()
        )
        #: Engine and case pairs that timed out: not tried again.
        self._given_up: set[tuple[str, str]] = set()
        memory = psutil.virtual_memory().total
        self._store_bytes = min(_STORE_BYTES, int(memory * _STORE_SHARE))

    def run(self) -> Record:
        """Run everything; return what was measured, also when interrupted."""
        if any(case.needs & _USE_MEMORY for case in self._options.cases):
            _use_memory(min(2 * self._store_bytes, psutil.virtual_memory().available // 2))
        groups = list(dict.fromkeys(case.group for case in self._options.cases))
        try:
            for repeat in range(self._options.repeats):
                for group in groups:
                    for engine in _rotated(self._options.engines, repeat):
                        self._turn(engine, group, repeat)
        except KeyboardInterrupt:
            _say("interrupted: reporting what there is")
        return self._record

    def _turn(self, engine: str, group: str, repeat: int) -> None:
        cases = self._cases(engine, group, repeat)
        if not cases or engine in self._record.unavailable:
            return
        began = time.monotonic()
        for attempt in range(_START_ATTEMPTS):
            outcome = run(self._job(engine, cases), self._options.limits)
            self._keep(engine, group, repeat, outcome)
            if outcome.start_failure is None:
                break
            _say(f"{engine} did not start, attempt {attempt + 1}: {outcome.start_failure}")
        _say(
            f"repeat {repeat + 1}/{self._options.repeats}  {group:<11} {engine:<9}"
            f" {time.monotonic() - began:6.1f} s"
        )

    def _cases(self, engine: str, group: str, repeat: int) -> list[Case]:
        return [
            case
            for case in self._options.cases
            if case.group == group
            and case.needs <= ENGINES[engine].features
            and (engine, case.name) not in self._given_up
            and (case.max_repeats is None or repeat < case.max_repeats)
        ]

    def _job(self, engine: str, cases: Sequence[Case]) -> Job:
        started, own_store = cases[0].started, cases[0].store_bytes
        store = self._store_bytes
        if own_store is not None:
            store = round(own_store * self._options.scale)
        return Job(
            engine=engine,
            cases=tuple(case.name for case in cases),
            cpus=self._options.cpus,
            # The start is measured with the settings that a user gets.
            store_bytes=store if started else None,
            worker_bytes=store if own_store is not None else None,
            lean=started,
            scale=self._options.scale,
        )

    def _keep(self, engine: str, group: str, repeat: int, outcome: Outcome) -> None:
        record = self._record
        if outcome.version:
            record.versions[engine] = outcome.version
        if outcome.unavailable:
            record.unavailable[engine] = outcome.unavailable
            _say(f"{engine} is not available: {outcome.unavailable}")
        record.samples += [Measured(engine, repeat, sample) for sample in outcome.samples]
        self._given_up |= {(engine, case) for case in outcome.timeouts}
        failures = dict(outcome.failures)
        if outcome.start_failure:
            failures[f"start ({group})"] = outcome.start_failure
        if outcome.left_behind:
            names = ", ".join(sorted(set(outcome.left_behind)))
            failures[f"end ({group})"] = f"left {len(outcome.left_behind)} processes: {names}"
        for case, reason in failures.items():
            record.failures.append(Failure(engine, repeat, case, reason))
            _say(f"{engine}: {case}: {reason}")
        if outcome.output:
            _say(outcome.output)


def _rotated(engines: Sequence[str], repeat: int) -> list[str]:
    start = repeat % len(engines)
    return [*engines[start:], *engines[:start]]


def _use_memory(size: int) -> None:
    """Use `size` bytes of memory once, and give them back.

    The host of a virtual machine provides memory at its first use, ten times slower than later:
    without this, the engine that runs first would pay for all.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, size, flags=flags).close()


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
