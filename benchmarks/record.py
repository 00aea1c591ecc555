"""The record of a run: every sample with its engine and repeat, as it is kept in a JSON file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psutil

from .events import Sample

#: More cores than this, kept busy by others while something was timed, make the result doubtful.
DOUBTFUL_LOAD = 0.35


@dataclass(frozen=True, slots=True)
class Measured:
    """A sample, and where it came from."""

    engine: str
    repeat: int
    sample: Sample


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an engine has no result for a case in a repeat."""

    engine: str
    repeat: int
    #: A case, or "start" or "shutdown" with the group that was to be run.
    case: str
    reason: str


@dataclass(frozen=True, slots=True)
class Result:
    """The samples of one metric of one engine, summed up.

    Each number is a median over the repeats, of the medians within each repeat.
    """

    value: float
    low: float
    high: float
    repeats: int
    #: Seconds of CPU time of the whole process tree for each operation.
    cpu_per_operation: float | None
    #: Cores that others kept busy meanwhile.
    outside: float | None

    @property
    def doubtful(self) -> bool:
        """Whether others took so much CPU that the value may be off."""
        return self.outside is not None and self.outside > DOUBTFUL_LOAD


@dataclass(slots=True)
class Record:
    """Everything about a run that the report is made from."""

    engines: list[str]
    repeats: int
    scale: float
    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    samples: list[Measured] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def result(self, engine: str, metric: str) -> Result | None:
        """Sum up one metric of one engine; None if it was not measured."""
        by_repeat: dict[int, list[Sample]] = {}
        for measured in self.samples:
            if measured.engine == engine and measured.sample.metric == metric:
                by_repeat.setdefault(measured.repeat, []).append(measured.sample)
        if not by_repeat:
            return None
        repeats = list(by_repeat.values())
        values = [median(sample.value for sample in samples) for samples in repeats]
        return Result(
            value=median(values),
            low=min(values),
            high=max(values),
            repeats=len(values),
            cpu_per_operation=_median_of_medians(repeats, _cpu_per_operation),
            outside=_median_of_medians(repeats, lambda sample: sample.outside),
        )

    def save(self, path: Path) -> None:
        """Write the record as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read a record that `save` wrote."""
        fields = json.loads(path.read_text())
        fields["samples"] = [
            Measured(entry["engine"], entry["repeat"], Sample(**entry["sample"]))
            for entry in fields["samples"]
        ]
        fields["failures"] = [Failure(**entry) for entry in fields["failures"]]
        return cls(**fields)


def describe_machine() -> dict[str, str]:
    """Return what the results depend on, for a reader who has another machine."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "CPU": models[0] if models else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }


def _cpu_per_operation(sample: Sample) -> float | None:
    return None if sample.cpu is None else sample.cpu / sample.operations


def _median_of_medians(
    repeats: list[list[Sample]], read: Callable[[Sample], float | None]
) -> float | None:
    medians = []
    for samples in repeats:
        values = [value for sample in samples if (value := read(sample)) is not None]
        if values:
            medians.append(median(values))
    return median(medians) if medians else None
