"""The node's work on spill files: which thread does what, and what is written together.

Restores have threads of their own, for somebody waits for them. Spills that are due at the same
time are written together, in batches small enough that room appears soon. Outcomes are reported on
the event loop. What is spilled and restored is decided elsewhere (`objectstore.core`), and how
bytes are kept too (`objectstore.spill`).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from millpond.objectstore.arena import Arena
from millpond.objectstore.commands import Restore, Spill
from millpond.objectstore.fileio import is_full
from millpond.objectstore.mapping import ArenaMapping
from millpond.objectstore.spill.storage import FileExtent, Storage

__all__ = ["FileEvents", "FileWork"]

_log = logging.getLogger("millpond.store")

#: threads that restore, which are waited for
_RESTORE_THREADS = 4
#: threads that spill
_SPILL_THREADS = 2
#: bytes that are written together, if there are so many
_BATCH = 32 << 20


class FileEvents(Protocol):
    """Who is told, on the event loop, how file work went."""

    def objects_spilled(self, object_ids: list[bytes]) -> None:
        """The files of objects are complete."""

    def spills_failed(self, object_ids: list[bytes], error: Exception) -> None:
        """Objects could not be written, and nothing of them is kept."""

    def object_restored(self, object_id: bytes) -> None:
        """An object's block holds its bytes."""

    def restore_failed(self, object_id: bytes, error: Exception) -> None:
        """An object could not be read."""


class FileWork:
    """Runs spills and restores of one node.

    Args:
        storage: where values are spilled.
        arena: the memory they come from and go to.
        mapping: this process's access to it.
        loop: the node's event loop, on which `events` are called.
        events: who is told.
    """

    def __init__(
        self,
        storage: Storage,
        arena: Arena,
        mapping: ArenaMapping,
        loop: asyncio.AbstractEventLoop,
        events: FileEvents,
    ) -> None:
        self.storage = storage
        self._arena = arena
        self._mapping = mapping
        self._loop = loop
        self._events = events
        self._restorers = ThreadPoolExecutor(_RESTORE_THREADS, "millpond-restore")
        self._spillers = ThreadPoolExecutor(_SPILL_THREADS, "millpond-spill")
        self._lock = threading.Lock()
        self._spills: deque[Spill] = deque()

    def spill(self, commands: list[Spill]) -> None:
        """Write objects to files."""
        with self._lock:
            self._spills.extend(commands)
        for _ in range(min(_SPILL_THREADS, len(commands))):
            self._spillers.submit(self._spill_all)

    def restore(self, command: Restore) -> None:
        """Read an object into its block."""
        self._restorers.submit(self._restore, command)

    def locate(self, object_id: bytes, answer: Callable[[FileExtent | Exception], None]) -> None:
        """Find a file that holds an object; ``answer`` is called on the event loop."""
        self._restorers.submit(self._locate, object_id, answer)

    def close(self) -> None:
        """End the work and remove every spill file."""
        with self._lock:
            self._spills.clear()
        self.storage.interrupt()
        for threads in (self._spillers, self._restorers):
            threads.shutdown(wait=True, cancel_futures=True)
        self.storage.close()

    def _spill_all(self) -> None:
        while batch := self._next_batch():
            self._write(batch)

    def _next_batch(self) -> list[Spill]:
        with self._lock:
            batch: list[Spill] = []
            size = 0
            while self._spills and (not batch or size + self._spills[0].size <= _BATCH):
                batch.append(self._spills.popleft())
                size += batch[-1].size
            return batch

    def _write(self, batch: list[Spill]) -> None:
        object_ids = [command.oid for command in batch]
        try:
            self.storage.write(
                [(each.oid, self._mapping.view(each.offset, each.size)) for each in batch]
            )
        except Exception as error:  # noqa: BLE001 - the values stay in memory, whatever it was
            if len(batch) > 1 and isinstance(error, OSError) and is_full(error):
                for command in batch:  # there may be room for some of them
                    self._write([command])
            else:
                self._report(self._events.spills_failed, object_ids, error)
        else:
            self._report(self._events.objects_spilled, object_ids)

    def _restore(self, command: Restore) -> None:
        try:
            self._arena.ensure(command.offset + command.size)
            view = self._mapping.view(command.offset, command.size)
            self.storage.read_into(command.oid, view)
        except Exception as error:  # noqa: BLE001 - the readers are told that it is lost
            self._report(self._events.restore_failed, command.oid, error)
        else:
            self._report(self._events.object_restored, command.oid)

    def _locate(self, object_id: bytes, answer: Callable[[FileExtent | Exception], None]) -> None:
        try:
            extent = self.storage.locate(object_id)
        except Exception as error:  # noqa: BLE001 - the reader is told that it is lost
            self._report(answer, error)
        else:
            self._report(answer, extent)

    def _report(self, event: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(event, *args)
        except RuntimeError:  # the loop is closed: the node is going down
            return
