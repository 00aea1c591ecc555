"""What an observer sees of a running session without asking it: memory, descriptors, files."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

#: Where shared memory comes from; spill directories on a disk are no shared memory.
_SHARED = ("/memfd:", "/dev/shm/")


@dataclass(frozen=True, slots=True)
class Footprint:
    """What processes hold together."""

    #: Bytes of memory that they share with nobody.
    private: int
    descriptors: int
    threads: int


def footprint(pids: Iterable[int]) -> Footprint:
    """Return what processes hold together; those that ended hold nothing."""
    private = descriptors = threads = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            private += _number(status, "RssAnon:") * 1024
            threads += _number(status, "Threads:")
            descriptors += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Footprint(private, descriptors, threads)


def _number(status: str, name: str) -> int:
    """Return a number of a process's status; 0 for memory that an ending process gave back."""
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(name))


def shared_memory(pids: Iterable[int]) -> dict[tuple[int, int], int]:
    """Return the files of shared memory that processes hold: device and inode -> bytes in use."""
    found = {}
    for pid in pids:
        for fd in _entries(Path(f"/proc/{pid}/fd")):
            with contextlib.suppress(OSError):  # closed meanwhile
                if str(fd.readlink()).startswith(_SHARED):
                    status = fd.stat()
                    found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return found


def files_below(directory: Path) -> dict[Path, int]:
    """Return all files with the bytes that they take on the disk."""
    found = {}
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):  # deleted meanwhile
            if path.is_file():
                found[path] = path.stat().st_blocks * 512
    return found


def _entries(directory: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from directory.iterdir()


class Watch(threading.Thread):
    """Keeps the largest value that something had while the `with` block ran."""

    def __init__(self, measure: Callable[[], int], period: float = 0.002) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.samples = 0
        self._measure = measure
        self._period = period
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(self._period):
            self.peak = max(self.peak, self._measure())
            self.samples += 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()
