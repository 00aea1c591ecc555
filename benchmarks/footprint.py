"""The most memory that the processes of a run take together, and the bytes they move to the disk.

Memory is sampled by a process of its own, ``python -m benchmarks.footprint MARK``, which costs the
measured ones nothing and is not counted among them. It prints the peak when its stdin closes.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import processes

#: Seconds between two samples.
_PERIOD = 0.2
#: The largest part of a core that may go into proportional sizes, for which the kernel walks
#: through all pages.
_PROPORTIONAL_SHARE = 0.05
#: Memory of a process that is not shared memory: every page in full, or divided among its users.
_RESIDENT = ("RssAnon:", "RssFile:", "VmSwap:")
_PROPORTIONAL = ("Pss_Anon:", "Pss_File:", "SwapPss:")
#: Where shared memory comes from, for the engines that are measured here.
_SHARED = ("/memfd:", "/dev/shm/")  # noqa: S108 - looked at, not written to


@dataclass(slots=True)
class Peak:
    """What `watched` fills in at the end."""

    #: Bytes: private memory (pages of shared libraries divided) and shared memory, mapped or not.
    size: int = 0


@dataclass(frozen=True, slots=True)
class DiskBytes:
    """What processes made the kernel write to block devices and read from them, in bytes.

    The page cache is free: what was deleted before it was written does not count, nor does what
    was read from the cache.
    """

    written: int
    read: int

    def __sub__(self, earlier: DiskBytes) -> DiskBytes:
        return DiskBytes(self.written - earlier.written, self.read - earlier.read)


@contextmanager
def watched(mark: str) -> Iterator[Peak]:
    """Sample the memory of the marked processes during a block."""
    # Without the mark, or it would measure itself.
    env = {name: value for name, value in os.environ.items() if name != processes.MARK_VARIABLE}
    peak = Peak()
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.footprint", mark],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as sampler:
        if sampler.stdout is None or sampler.stdin is None:
            raise RuntimeError("the sampler has no pipes")
        sampler.stdout.readline()  # it has begun
        yield peak
        output, _ = sampler.communicate()
    peak.size = int(output)


def disk_bytes(mark: str) -> DiskBytes:
    """Return what the marked processes moved so far, and the dead ones that they waited for."""
    written = read = 0
    for process in processes.marked(mark):
        fields = _fields(Path(f"/proc/{process.pid}/io"))
        written += fields.get("write_bytes:", 0) - fields.get("cancelled_write_bytes:", 0)
        read += fields.get("read_bytes:", 0)
    return DiskBytes(written, read)


class Sampler:
    """Tells how many bytes a set of processes takes together, every page of them counted once.

    Pages that were shared by a fork, and those of libraries, count once: how many there are is
    looked up now and then, as it costs much and changes little. Shared memory counts whether or
    not somebody maps it.
    """

    def __init__(self) -> None:
        self._counted_again = 0
        self._shared_mapped = 0
        self._look_up_at = 0.0

    def sample(self, marked: list[psutil.Process]) -> int:
        """Return the bytes that the processes take now."""
        resident = _kibibytes(marked, "status", _RESIDENT)
        if time.monotonic() >= self._look_up_at:
            began = time.thread_time()
            self._counted_again = resident - _kibibytes(marked, "smaps_rollup", _PROPORTIONAL)
            self._shared_mapped = _kibibytes(marked, "smaps_rollup", ("Pss_Shmem:",))
            cost = time.thread_time() - began
            self._look_up_at = time.monotonic() + cost / _PROPORTIONAL_SHARE
        shared: dict[tuple[int, int], int] = {}
        for process in marked:
            shared |= _shared_files(process.pid)
        # Some close the descriptors of what they mapped, others write to what they never map.
        return resident - self._counted_again + max(self._shared_mapped, sum(shared.values()))


def _kibibytes(marked: list[psutil.Process], file: str, names: tuple[str, ...]) -> int:
    """Return the sum of some fields of a file of `/proc` over processes, in bytes."""
    total = 0
    for process in marked:
        fields = _fields(Path(f"/proc/{process.pid}/{file}"))
        total += 1024 * sum(fields.get(name, 0) for name in names)
    return total


def _fields(path: Path) -> dict[str, int]:
    """Return the numbers of a file of `/proc`; none if its process is gone."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split()[:2] for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if pair[-1].isdigit()}


def _shared_files(pid: int) -> dict[tuple[int, int], int]:
    """Return the files of shared memory that a process has open: device and inode -> bytes."""
    found = {}
    try:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            if str(fd.readlink()).startswith(_SHARED):
                status = fd.stat()
                found[status.st_dev, status.st_ino] = status.st_blocks * 512
    except OSError:
        pass  # the process ended, or closed a descriptor meanwhile: the next sample is near
    return found


def _sample(mark: str) -> None:
    """Sample until stdin closes; print the peak."""
    peak, sampler = 0, Sampler()
    print("begun", flush=True)
    while not select.select([sys.stdin], [], [], _PERIOD)[0]:
        peak = max(peak, sampler.sample(processes.marked(mark)))
    print(peak)


if __name__ == "__main__":
    _sample(sys.argv[1])
