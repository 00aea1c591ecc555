"""What can be measured: metrics with their units, cases, and the groups that cases run in."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .bench import Bench
    from .engines import Feature


class Unit(enum.Enum):
    """Units of results; the value is what the report prints."""

    PER_SECOND = "1/s"
    GIGABYTES_PER_SECOND = "GB/s"
    SECONDS = "s"
    MILLISECONDS = "ms"
    MEGABYTES = "MB"
    COUNT = "n"
    CORES = "cores"
    RATIO = "times"

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is the better one."""
        return self in (Unit.PER_SECOND, Unit.GIGABYTES_PER_SECOND)


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the report."""

    name: str
    unit: Unit


@dataclass(frozen=True, slots=True)
class Case:
    """A measurement: one function over the engine interface."""

    name: str
    group: str
    metrics: tuple[Metric, ...]
    needs: frozenset[Feature]
    run: Callable[[Bench], None]
    #: Whether the engine is started, and its workers warm, before the case runs.
    started: bool
    #: How many of the repeats run this case; None for all of them.
    max_repeats: int | None
    #: Bytes of object store at scale 1; None for that of the session.
    store_bytes: int | None
    #: Seconds after which it is given up, where that is more than the limit of the run.
    timeout: float


#: Every case by name, in the order of definition, which is the order of the report.
CASES: dict[str, Case] = {}


def case(
    group: str,
    *metrics: tuple[str, Unit],
    needs: Iterable[Feature],
    started: bool = True,
    max_repeats: int | None = None,
    store_bytes: int | None = None,
    timeout: float = 0.0,
) -> Callable[[Callable[[Bench], None]], Callable[[Bench], None]]:
    """Register the decorated function as a case.

    Cases of a group share one started engine, and run in the order of definition.
    """

    def register(run: Callable[[Bench], None]) -> Callable[[Bench], None]:
        CASES[run.__name__] = Case(
            name=run.__name__,
            group=group,
            metrics=tuple(Metric(name, unit) for name, unit in metrics),
            needs=frozenset(needs),
            run=run,
            started=started,
            max_repeats=max_repeats,
            store_bytes=store_bytes,
            timeout=timeout,
        )
        return run

    return register


def select(patterns: Iterable[str]) -> list[Case]:
    """Return the cases whose name, group or metrics match one of the shell-style patterns.

    Raises:
        ValueError: a pattern matches nothing.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        matches = {
            case.name
            for case in CASES.values()
            if any(fnmatchcase(name, pattern) for name in _names(case))
        }
        if not matches:
            known = sorted({name for case in CASES.values() for name in _names(case)})
            raise ValueError(f"no case is called {pattern!r}; there are {', '.join(known)}")
        chosen |= matches
    return [case for case in CASES.values() if case.name in chosen]


def unit_of(metric: str) -> Unit:
    """Return the unit of a metric.

    Raises:
        KeyError: no case has such a metric.
    """
    for known in CASES.values():
        for candidate in known.metrics:
            if candidate.name == metric:
                return candidate.unit
    raise KeyError(metric)


def _names(case: Case) -> list[str]:
    return [case.name, case.group, *(metric.name for metric in case.metrics)]
