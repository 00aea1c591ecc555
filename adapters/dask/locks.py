"""Locks in graphs: a lock of the driver's threads becomes one of all processes.

A thread lock cannot leave its process, and Dask's ``SerializableLock`` becomes another lock in
each. But who puts a lock into a graph (``da.store(lock=True)``, a delayed function around a file)
wants one task at a time. So in a worker it is a `ProcessLock`: a range of one byte of a file that
exists in memory only, locked with the kernel. The lock of a process that dies is free.

xarray's locks of the HDF5 and netCDF libraries stay one per process: they protect the library's
memory, not a file, and reading in several processes at once is safe.

The driver's own threads keep using the lock itself: what they hold does not stop the workers.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import os
import struct
import sys
import threading
import time
import weakref
from types import CellType, FunctionType
from typing import Any, Self

from dask._task_spec import DataNode, Task
from dask.utils import SerializableLock

__all__ = [
    "THREAD_LOCKS",
    "ProcessLock",
    "is_serializable_lock",
    "process_lock_for",
    "thread_locks_in",
]

#: the types of the locks of `threading`
THREAD_LOCKS = frozenset({type(threading.Lock()), type(threading.RLock())})

#: seconds between two tries of somebody who waits with a timeout
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05

_making = threading.Lock()
#: descriptor of this process's lock file, and the process (forks have the parent's)
_file: tuple[int, int] | None = None
_offsets: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_next_offset = itertools.count()


class ProcessLock:
    """Excludes threads and processes alike; has the methods of `threading.Lock`.

    Args:
        path: of the lock file.
        offset: of its byte in there.
        reentrant: the thread that holds it may acquire it again.
    """

    def __init__(self, path: str, offset: int, *, reentrant: bool) -> None:
        self._path = path
        self._offset = offset
        self._reentrant = reentrant
        #: descriptor through which this object holds the byte, by whom, and how often
        self._held: int | None = None
        self._owner: int | None = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire the lock; return whether that succeeded.

        Args:
            blocking: wait for it.
            timeout: seconds to wait at most; -1 for ever.
        """
        me = threading.get_ident()
        if self._reentrant and self._owner == me:
            self._depth += 1
            return True
        # A description of its own for each acquisition: so threads exclude each other too.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            acquired = self._lock(descriptor, blocking, timeout)
        except BaseException:
            os.close(descriptor)
            raise
        if not acquired:
            os.close(descriptor)
            return False
        self._held, self._owner, self._depth = descriptor, me, 1
        return True

    def _lock(self, descriptor: int, blocking: bool, timeout: float) -> bool:
        if blocking and timeout < 0:
            self._command(descriptor, fcntl.F_OFD_SETLKW, fcntl.F_WRLCK)
            return True
        deadline = time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                self._command(descriptor, fcntl.F_OFD_SETLK, fcntl.F_WRLCK)
            except (BlockingIOError, PermissionError):
                if not blocking or time.monotonic() >= deadline:
                    return False
            else:
                return True
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _command(self, descriptor: int, command: int, kind: int) -> None:
        # struct flock: type, whence, start, length, pid
        fcntl.fcntl(descriptor, command, struct.pack("hhqqi4x", kind, 0, self._offset, 1, 0))

    def release(self) -> None:
        """Release the lock.

        Raises:
            RuntimeError: it is not held through this object.
        """
        if self._held is None:
            raise RuntimeError("release unlocked lock")
        if self._reentrant and self._owner != threading.get_ident():
            raise RuntimeError("cannot release un-acquired lock")
        self._depth -= 1
        if self._depth == 0:
            descriptor, self._held, self._owner = self._held, None, None
            os.close(descriptor)  # lets go of the byte

    def locked(self) -> bool:
        """Whether somebody holds the lock."""
        if self._held is not None:
            return True
        if not self.acquire(blocking=False):
            return True
        self.release()
        return False

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"ProcessLock({self._path!r}, {self._offset})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _process_lock, (self._path, self._offset, self._reentrant)


#: the locks that came to this process; one object each, so that threads share its state
_known: weakref.WeakValueDictionary[tuple[str, int], ProcessLock] = weakref.WeakValueDictionary()


def _process_lock(path: str, offset: int, reentrant: bool) -> ProcessLock:
    with _making:
        lock = _known.get((path, offset))
        if lock is None:
            lock = _known[path, offset] = ProcessLock(path, offset, reentrant=reentrant)
    return lock


def process_lock_for(lock: Any) -> ProcessLock | None:
    """Return what stands for a lock of this process in others; None if it is to stay as it is.

    Args:
        lock: of `threading`, or a ``SerializableLock`` of Dask or xarray. Equal ones (the same
            token) give the same lock.
    """
    if _is_of_library(lock):
        return None
    inner = lock if type(lock) in THREAD_LOCKS else lock.lock
    if isinstance(inner, ProcessLock):
        return inner
    with _making:
        offset = _offsets.get(inner)
        if offset is None:
            offset = _offsets[inner] = next(_next_offset)
        path = _lock_file()
    return _process_lock(path, offset, reentrant=type(inner) is not type(threading.Lock()))


def _is_of_library(lock: Any) -> bool:
    locks = sys.modules.get("xarray.backends.locks")
    return locks is not None and any(
        lock is getattr(locks, name, None) for name in ("HDF5_LOCK", "NETCDFC_LOCK")
    )


@functools.lru_cache(maxsize=4096)
def is_serializable_lock(kind: type) -> bool:
    """Whether instances are ``SerializableLock``s of Dask or xarray."""
    if issubclass(kind, SerializableLock):
        return True
    locks = sys.modules.get("xarray.backends.locks")
    return locks is not None and issubclass(kind, getattr(locks, "SerializableLock", ()))


def _lock_file() -> str:
    """Return the path of this process's lock file, by which its other processes open it."""
    global _file
    if _file is None or _file[1] != os.getpid():
        _file = os.memfd_create("dask-locks", os.MFD_CLOEXEC), os.getpid()
    return f"/proc/{_file[1]}/fd/{_file[0]}"


def thread_locks_in(value: Any, depth: int = 4) -> set[int]:
    """Return the ids of the thread locks that tasks name: arguments, variables of functions.

    Not those inside of other objects: what they guard is the memory of such an object, of which a
    worker would have a copy.
    """
    if type(value) in THREAD_LOCKS:
        return {id(value)}
    found: set[int] = set()
    if depth:
        for part in _parts(value):
            found |= thread_locks_in(part, depth - 1)
    return found


def _parts(value: Any) -> list[Any]:
    match value:
        case list() | tuple() | set():
            return list(value)
        case dict():
            return list(value.values())
        case Task() | functools.partial():
            keywords = value.kwargs if isinstance(value, Task) else value.keywords
            return [value.func, *value.args, *keywords.values()]
        case DataNode():
            return [value.value]
        case FunctionType():
            names = {*value.__code__.co_names, *value.__code__.co_freevars}
            cells = [cell.cell_contents for cell in value.__closure__ or () if not _is_empty(cell)]
            used = [item for name, item in value.__globals__.items() if name in names]
            return [*cells, *used, *(value.__defaults__ or ())]
        case _:
            return []


def _is_empty(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading it is the test
    except ValueError:
        return True
    return False
