"""What a benchmarked process tells the suite, one JSON document a line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Started:
    """The engine is loaded and started."""

    version: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The engine is not installed."""

    reason: str


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The engine is installed but did not start."""

    reason: str


@dataclass(frozen=True, slots=True)
class CaseBegun:
    """A case begins; the suite's clock for it runs from here."""

    case: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value."""

    case: str
    metric: str
    #: In the metric's unit.
    value: float
    #: How many operations were timed together.
    operations: int = 1
    #: Seconds of wall time; None for what is not a time.
    wall: float | None = None
    #: Seconds of CPU time of the whole process tree. The kernel counts in steps of 10 ms.
    cpu: float | None = None
    #: Cores that others kept busy meanwhile; None where the time was too short to tell.
    outside: float | None = None


@dataclass(frozen=True, slots=True)
class CaseFailed:
    """A case raised."""

    case: str
    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """All cases were run; what follows is the engine's shutdown."""


Event = Started | Unavailable | StartFailed | CaseBegun | Sample | CaseFailed | Finished

_TYPES: dict[str, type[Event]] = {
    cls.__name__: cls
    for cls in (Started, Unavailable, StartFailed, CaseBegun, Sample, CaseFailed, Finished)
}


def encode(event: Event) -> bytes:
    """Return the event as one line."""
    return json.dumps({"event": type(event).__name__, **asdict(event)}).encode() + b"\n"


def decode(line: bytes) -> Event:
    """Return the event of one line."""
    fields: dict[str, Any] = json.loads(line)
    return _TYPES[fields.pop("event")](**fields)
