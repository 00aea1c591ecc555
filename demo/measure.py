"""How much memory a job takes, over all of its processes, and what its store did.

Memory is read from the kernel by a thread of the job: the proportional set size (PSS) of every
process, where a page shared by n processes counts 1/n in each, so that the sum counts it once. The
object store's pages are left out of that sum and taken from its memory file instead, which also has
the pages that no process has mapped at the moment.
"""

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import millpond

_INTERVAL_SECONDS = 0.2
_BLOCK = 512  # the unit of st_blocks, whatever the file system's own block size is


@dataclass(frozen=True)
class Measurement:
    """What one job took. Sizes in bytes."""

    #: Wall time from before the engine's start to the answer, in seconds.
    seconds: float
    #: The store's limit.
    store_limit: int
    #: The most that live objects took in the store at any time.
    store_peak: int
    #: The most memory of all processes together, the store's included.
    memory_peak: int
    #: Bytes written to and read back from disk by the store.
    spilled: int
    restored: int


class Meter:
    """Context manager that measures the engine while a job runs in it.

    Enter it before the engine starts and leave it while the engine is still there.
    """

    def __init__(self) -> None:
        """Prepare; nothing runs yet."""
        self._memory_peak = 0
        self._started = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-meter", daemon=True)
        #: Set when the context is left without an exception.
        self.measurement: Measurement | None = None

    def __enter__(self) -> Self:
        """Start the clock and the thread."""
        self._started = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop both and note what the store did."""
        elapsed = time.perf_counter() - self._started
        self._stop.set()
        self._thread.join()
        if error is not None:
            return
        store = millpond.statistics().store
        self.measurement = Measurement(
            seconds=elapsed,
            store_limit=store.capacity,
            store_peak=store.peak,
            memory_peak=self._memory_peak,
            spilled=store.spilled_bytes_total + store.file_backed_bytes_total,
            restored=store.restored_bytes_total,
        )

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_SECONDS):
            if millpond.is_initialized():
                pids = {os.getpid(), *millpond.statistics().processes}
                self._memory_peak = max(self._memory_peak, memory_of(pids))


def memory_of(pids: Iterable[int]) -> int:
    """Return the bytes of memory that these processes take together, memory files included."""
    pids = list(pids)
    return sum(map(_private_and_file_pages, pids)) + _memory_files(pids)


def _private_and_file_pages(pid: int) -> int:
    fields = ("Pss_Anon:", "Pss_File:")
    try:
        rollup = Path("/proc", str(pid), "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # ended since it was listed
    lines = (line.split() for line in rollup.splitlines())
    return sum(int(line[1]) * 1024 for line in lines if line[0] in fields)


def _memory_files(pids: Iterable[int]) -> int:
    """Return the allocated bytes of the memfds that these processes have open, each once."""
    allocated: dict[int, int] = {}
    for pid in pids:
        try:
            for descriptor in Path("/proc", str(pid), "fd").iterdir():
                if str(descriptor.readlink()).startswith("/memfd:"):
                    status = descriptor.stat()
                    allocated[status.st_ino] = status.st_blocks * _BLOCK
        except (FileNotFoundError, ProcessLookupError):
            continue  # the process or the descriptor ended since it was listed
    return sum(allocated.values())
