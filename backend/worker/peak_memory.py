"""What heap memory the tasks of this worker use: their peaks, and what runs now, for the node.

A process's *own* memory is what it has allocated: resident pages that are not backed by a file
or by shared memory, from which the arena is left out. ``statm`` gives that in two microseconds;
``smaps_rollup``, which would also tell pages shared with the zygote, takes milliseconds. Those
are subtracted as the *baseline*: what the worker had when it began.

The kernel keeps the largest resident size that a process had, which can be reset; so a peak is
measured without sampling. That is done only for functions that take long: what takes less than
`LONG` cannot touch much memory, and must not be slowed down.

What a task imports stays in the worker for the next one, and is not counted as the task's.

What runs is written to a small file in the session's directory, where the node can read it
whatever the worker is busy with.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from ..wire.messages import ACTOR_CREATE, Task
from .heap import KEPT, return_freed_memory
from .import_memory import ImportFinder

__all__ = ["Running", "TaskMemory", "own_memory", "read_record", "record_path"]

#: seconds that a task takes at least for its memory to be measured
LONG = 0.02
#: bytes that the heap may keep for a task that declares its memory: it would use them unseen
_UNSEEN = 16 << 20
#: functions known to be short are forgotten all at once when they are so many
_MANY = 10_000
#: bytes of the length that precedes a record
_LENGTH = 4
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Running(msgspec.Struct, array_like=True):
    """What a worker tells the node of itself."""

    #: bytes of own memory when the worker began
    baseline: int
    #: the task that runs, or empty: none, or one of a function that takes no time
    task_id: bytes = b""
    name: str = ""
    #: bytes of heap that the task declared; 0 when it did not
    declared: int = 0
    retriable: bool = True
    #: bytes of own memory when the task, or the actor that this worker is, began, and what it has
    #: imported since; 0: neither
    before: int = 0
    #: it imports something, so nobody knows how much of its memory is its own
    importing: bool = False


_decode = msgspec.msgpack.Decoder(Running).decode


def own_memory(pid: int | str = "self") -> int:
    """Return the bytes of memory that a process has allocated and that are resident.

    Raises:
        OSError: there is no such process.
    """
    fd = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _, resident, shared, *_ = os.read(fd, 256).split()
    finally:
        os.close(fd)
    return (int(resident) - int(shared)) * _PAGE


def record_path(session_dir: str, worker_id: bytes) -> Path:
    """Return the file in which a worker says what it runs."""
    return Path(session_dir) / f"{worker_id.hex()}.running"


def read_record(path: Path) -> Running:
    """Return what a worker said last.

    Raises:
        OSError: it has not said anything.
        ValueError: it is just saying something else.
    """
    data = path.read_bytes()
    length = int.from_bytes(data[:_LENGTH], "little")
    running: Running = _decode(data[_LENGTH : _LENGTH + length])
    return running


class TaskMemory:
    """Measures the tasks of one worker, and tells the node which one runs."""

    def __init__(self) -> None:
        self._fd = self._statm = self._status = self._reset = -1
        #: functions whose last run took no time
        self._short: set[tuple[bytes, str]] = set()
        self._before = 0
        #: own memory when the actor began that this worker is
        self._actor_before = 0
        self._measuring = False
        self._baseline = 0
        #: own memory when the allocators last kept nothing
        self._bare = 0
        #: what was told last
        self._running = Running(0)
        #: own memory when the import that is under way began
        self._before_import = 0
        self._imports = ImportFinder(self._import_begun, self._import_ended)

    def start(self, record: Path) -> None:
        """Take what this process uses now for what it uses without any task.

        Args:
            record: the file for the node.
        """
        self._fd = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # without it, only what is left at the end is seen
            self._reset = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        self._baseline = self._bare = self._own()
        self._tell(Running(self._baseline))

    def watch_imports(self) -> None:
        """Leave out what this thread imports from now on."""
        self._imports.install()

    def begin(self, task: Task) -> None:
        """A task is about to run."""
        if task.retriable and not task.memory and (task.function_id, task.name) in self._short:
            return
        self._measuring = True
        self._imports.reset()
        if self._reset >= 0:
            os.pwrite(self._reset, b"5", 0)
        if task.memory:
            self._keep_at_most(_UNSEEN)
        self._before = self._own()
        if task.kind == ACTOR_CREATE:
            self._actor_before = self._before
        before = self._actor_before or self._before
        self._tell(
            Running(self._baseline, task.task_id, task.name, task.memory, task.retriable, before)
        )

    def end(self, task: Task, seconds: float) -> int:
        """A task has run for so long; return the bytes it needed at its peak, 0 if unknown."""
        if not self._measuring and seconds < LONG:
            return 0
        group = (task.function_id, task.name)
        if seconds < LONG:
            if self._measuring and task.kind != ACTOR_CREATE:
                if len(self._short) >= _MANY:
                    self._short.clear()
                self._short.add(group)
        else:
            self._short.discard(group)
        if not self._measuring:
            return 0
        self._measuring = False
        peak = self._peak() if seconds >= LONG else 0
        if seconds >= LONG:
            self._keep_at_most(KEPT)  # other tasks may need the rest now
        self._tell(Running(self._baseline, before=self._actor_before))
        return peak

    def _import_begun(self) -> None:
        self._before_import = self._own()
        if self._running.before:
            self._tell(msgspec.structs.replace(self._running, importing=True))

    def _import_ended(self) -> None:
        grown = max(self._own() - self._before_import, 0)
        self._before += grown
        self._bare += grown
        if self._actor_before:
            self._actor_before += grown
        if self._running.before:
            before = self._running.before + grown
            self._tell(msgspec.structs.replace(self._running, importing=False, before=before))

    def _keep_at_most(self, size: int) -> None:
        """Give back what the allocators keep, if they could keep more than so many bytes."""
        if self._own() - self._bare >= size:
            return_freed_memory()
            self._bare = self._own()

    def _own(self) -> int:
        _, resident, shared, *_ = os.pread(self._statm, 256, 0).split()
        return (int(resident) - int(shared)) * _PAGE

    def _peak(self) -> int:
        """Return the most that was allocated at once since the task began.

        The kernel's mark includes the shared memory that was mapped at that moment. More of it
        may be mapped now, so this may be too little, but never less than what is left.
        """
        sizes = dict.fromkeys((b"VmHWM:", b"RssAnon:", b"RssFile:", b"RssShmem:"), 0)
        for line in os.pread(self._status, 8192, 0).splitlines():
            name, _, rest = line.partition(b"\t")
            if name in sizes:
                sizes[name] = int(rest.split()[0]) << 10
        peak = sizes[b"VmHWM:"] - sizes[b"RssFile:"] - sizes[b"RssShmem:"]
        if self._reset < 0:
            peak = 0
        return max(peak, sizes[b"RssAnon:"]) - self._before

    def _tell(self, running: Running) -> None:
        self._running = running
        # A full disk must not fail the task.
        with contextlib.suppress(OSError):
            record = msgspec.msgpack.encode(running)
            # What a longer record has left behind is cut off by the length.
            os.pwrite(self._fd, len(record).to_bytes(_LENGTH, "little") + record, 0)
