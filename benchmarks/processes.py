"""The processes of a run, found by a mark in their environment: CPU time, memory, leftovers.

Parent links do not find them all: engines start daemons, and a daemon whose parent died belongs
to init. The mark is inherited by everything a run starts and by nothing else: killing by it is
safe.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

MARK_VARIABLE = "MILLPOND_BENCHMARK_MARK"


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a set of processes."""

    #: Proportional set size in bytes: shared pages are divided among those who map them.
    pss: int
    #: Resident set size in bytes: shared pages count once for each process.
    rss: int
    processes: int


def marked(mark: str) -> list[psutil.Process]:
    """Return the living processes that carry `mark`; zombies are not alive."""
    return list(_marked(mark))


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK_VARIABLE) == mark and (
                process.status() != psutil.STATUS_ZOMBIE
            ):
                yield process


def cpu_seconds(mark: str) -> float:
    """Return the CPU time of the marked processes, and of the dead ones that they waited for."""
    total = 0.0
    for process in _marked(mark):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def machine_busy_seconds() -> float:
    """Return the CPU time spent on anything, including what the machine's host took away."""
    times = psutil.cpu_times()
    busy = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
    return float(busy)


def memory(mark: str) -> Memory:
    """Return the memory of the marked processes, the driver included."""
    pss = rss = count = 0
    for process in _marked(mark):
        with contextlib.suppress(psutil.Error):
            info = process.memory_full_info()
            pss += info.pss
            rss += info.rss
            count += 1
    return Memory(pss, rss, count)


def shared_memory_bytes() -> int:
    """Return the bytes of shared memory in use on this machine, mapped by a process or not."""
    return int(psutil.virtual_memory().shared)


def wait_for_end(mark: str, patience: float) -> None:
    """Wait up to `patience` seconds until no marked process is alive."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and marked(mark):
        time.sleep(0.1)


def kill(mark: str, patience: float = 10.0) -> list[str]:
    """Kill the marked processes, wait up to `patience` seconds for them, return their names."""
    names: list[str] = []
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        victims = marked(mark)
        if not victims:
            break
        for process in victims:
            with contextlib.suppress(psutil.Error):
                names.append(process.name())
                process.kill()
        psutil.wait_procs(victims, timeout=1)
    return names
