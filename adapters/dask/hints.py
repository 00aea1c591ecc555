"""What `dask.annotate` and the keywords of ``compute`` say about how tasks are to run.

``priority`` orders the tasks of one computation, ``retries`` repeats what fails, ``resources``
and ``memory`` are what the engine admits tasks by, ``workers`` is accepted: there is one machine.
Other annotations are the user's own, and ignored. Not covered: where the annotations of a graph
are (``annotations``).
"""

from __future__ import annotations

import socket
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from dask.utils import parse_bytes

__all__ = ["HINT_NAMES", "NO_HINTS", "Hints", "make_hints"]

#: the annotations that mean something here
HINT_NAMES = frozenset(
    {"allow_other_workers", "memory", "priority", "resources", "retries", "workers"}
)

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Hints:
    """How a task is to run."""

    #: higher runs earlier, as far as dependencies allow
    priority: float = 0
    #: how often it is tried again when it raises
    retries: int = 0
    #: CPUs it keeps busy; None for the engine's default
    cpus: float | None = None
    #: bytes of heap it needs; None when nothing was said
    memory: int | None = None
    #: custom resources, as sorted pairs of name and amount
    resources: tuple[tuple[str, float], ...] = ()

    def options(self) -> dict[str, Any]:
        """Return what to tell the engine."""
        options: dict[str, Any] = {}
        if self.cpus is not None:
            options["num_cpus"] = self.cpus
        if self.memory is not None:
            options["memory"] = self.memory
        if self.resources:
            options["resources"] = dict(self.resources)
        return options


NO_HINTS = Hints()


def make_hints(annotations: Mapping[str, Any]) -> Hints:
    """Return the hints in some annotations.

    Raises:
        TypeError: one of them is of a wrong type.
        ValueError: one of them is a number that makes no sense.
    """
    priority = annotations.get("priority") or 0
    if isinstance(priority, bool) or not isinstance(priority, Real) or priority != priority:  # noqa: PLR0124 - NaN
        raise TypeError(f"priority must be a number, it is {priority!r}")
    retries = annotations.get("retries") or 0
    if isinstance(retries, bool) or not isinstance(retries, int | float) or retries % 1:
        raise TypeError(f"retries must be a whole number, it is {retries!r}")
    if retries < 0:
        raise ValueError(f"retries must be >= 0, it is {retries!r}")
    _check_workers(annotations)
    cpus, memory, resources = _resources(annotations.get("resources"))
    if annotations.get("memory") is not None:
        memory = _bytes(annotations["memory"])
    return Hints(float(priority), int(retries), cpus, memory, resources)


def _resources(
    given: object,
) -> tuple[float | None, int | None, tuple[tuple[str, float], ...]]:
    """Split Dask's resources into CPUs, bytes of memory, and custom ones."""
    if given is None:
        return None, None, ()
    if not isinstance(given, Mapping):
        raise TypeError(f"resources must be a mapping of names to amounts, it is {given!r}")
    custom = dict(given)
    cpus = custom.pop("CPU", None)
    memory = None
    for name in ("memory", "MEMORY"):  # the second is how Dask's own documentation writes it
        if name in custom:
            memory = _bytes(custom.pop(name))
    return cpus, memory, tuple(sorted(custom.items()))


def _bytes(given: object) -> int:
    try:
        return int(parse_bytes(given))
    except (AttributeError, TypeError, ValueError):
        raise TypeError(
            f'memory must be bytes, as a number or like "2 GiB", it is {given!r}'
        ) from None


_warned_of_workers = False


def _check_workers(annotations: Mapping[str, Any]) -> None:
    """Warn once of workers on other machines."""
    global _warned_of_workers
    workers = annotations.get("workers")
    if workers is None or annotations.get("allow_other_workers") or _warned_of_workers:
        return
    others = [name for name in [workers] if not isinstance(name, list | tuple | set)]
    others = [name for name in others or workers if not _is_here(name)]
    if others:
        _warned_of_workers = True
        warnings.warn(
            f"workers={others!r} is ignored: millpond runs all tasks on this machine "
            f"({socket.gethostname()!r})",
            UserWarning,
            stacklevel=2,
        )


def _is_here(worker: object) -> bool:
    if not isinstance(worker, str):
        return False
    host = worker.rpartition("://")[2]
    if host.count(":") == 1:
        host = host.partition(":")[0]
    return host in _LOCAL_NAMES or host == socket.gethostname()
