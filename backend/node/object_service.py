"""The node's object store: carries out what `StoreCore` decides.

Requests of processes become events; commands become answers, or file work on threads whose
outcome is the next event. Everything but the file work happens on the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor

from millpond.objectstore.arena import Arena
from millpond.objectstore.commands import (
    Command,
    CreateGranted,
    CreateRefused,
    DeleteFile,
    InArena,
    Lost,
    Missing,
    PinGranted,
    Refusal,
    Restore,
    Spill,
)
from millpond.objectstore.core import StoreCore
from millpond.objectstore.fileio import is_full
from millpond.objectstore.files import Storage
from millpond.objectstore.mapping import ArenaMapping
from millpond.objectstore.statistics import StoreStatistics

from ..wire.messages import IN_ARENA, IN_FILE, LOST, MISSING, REFUSED, Location

__all__ = ["ObjectService"]

_log = logging.getLogger("millpond.store")

#: threads that write and read spill files; the work on one object stays on one of them
_IO_THREADS = 2
#: seconds after which a failed spill is tried again
_RETRY_SPILL = 1.0


class _Batch:
    """Several creates or pins that are answered together, in order."""

    def __init__(self, count: int, answer: Callable[[list[Location]], None]) -> None:
        self._locations: list[Location | None] = [None] * count
        self._missing = count
        self._answer = answer

    def set(self, index: int, location: Location) -> None:
        if self._locations[index] is None:
            self._missing -= 1
        self._locations[index] = location
        if self._missing == 0:
            self._answer([at for at in self._locations if at is not None])


class ObjectService:
    """The store of one node.

    Args:
        arena: its memory.
        storage: where values are spilled; None when they never are.
        loop: the node's event loop.
        validate: check all invariants after every event (for tests).
        disk_full_timeout: seconds that a create waits while nothing can be spilled.
    """

    def __init__(
        self,
        arena: Arena,
        storage: Storage | None,
        loop: asyncio.AbstractEventLoop,
        *,
        validate: bool,
        disk_full_timeout: float = 30.0,
    ) -> None:
        self.core = StoreCore(
            arena.capacity,
            can_spill=storage is not None,
            validate=validate,
            may_free=self._may_free,
        )
        #: whether one of those who hold something, or a task, may free some while others wait
        self.may_free: Callable[[AbstractSet[bytes], AbstractSet[bytes]], bool] = (
            lambda holding, waiting: bool(holding - waiting)
        )
        #: called after every event
        self.changed: Callable[[], None] = lambda: None
        self._disk_full_timeout = disk_full_timeout
        self._out_of_disk_timer: asyncio.TimerHandle | None = None
        self._arena = arena
        self._mapping = ArenaMapping(arena.fd, arena.capacity)
        self._storage = storage
        self._loop = loop
        self._tokens = itertools.count()
        self._waiting: dict[int, tuple[_Batch, int]] = {}
        self._threads = [
            ThreadPoolExecutor(1, thread_name_prefix=f"millpond-spill-{index}")
            for index in range(_IO_THREADS)
        ]
        self._retry: asyncio.TimerHandle | None = None

    # --- requests ---

    def create(
        self,
        object_ids: Sequence[bytes],
        sizes: Sequence[int],
        client: bytes,
        answer: Callable[[list[Location]], None],
    ) -> None:
        """Make room for new objects; ``answer`` gets where to write each."""
        batch = _Batch(len(object_ids), answer)
        for index, (object_id, size) in enumerate(zip(object_ids, sizes, strict=True)):
            if object_id in self.core.table.records:
                # A stale attempt of the same task left it; nobody was told of that one.
                self._execute(self.core.delete(object_id))
            token = self._token(batch, index)
            self._execute(self.core.create(object_id, size, client, token))

    def pin(
        self, object_ids: Sequence[bytes], client: bytes, answer: Callable[[list[Location]], None]
    ) -> list[int]:
        """Pin objects for a process; ``answer`` gets where each can be read.

        Returns:
            The tokens of the requests, for `cancel`.
        """
        batch = _Batch(len(object_ids), answer)
        tokens = []
        for index, object_id in enumerate(object_ids):
            token = self._token(batch, index)
            tokens.append(token)
            self._execute(self.core.pin(object_id, client, token))
        return tokens

    def seal(self, object_ids: Sequence[bytes]) -> None:
        """Objects are written."""
        for object_id in object_ids:
            self._execute(self.core.seal(object_id))

    def abort(self, object_ids: Sequence[bytes]) -> None:
        """The writer of objects gave up."""
        for object_id in object_ids:
            self._execute(self.core.abort(object_id))

    def unpin(self, object_ids: Sequence[bytes], client: bytes) -> None:
        """A process reads objects no more."""
        for object_id in object_ids:
            self._execute(self.core.unpin(object_id, client))

    def delete(self, object_ids: Sequence[bytes]) -> None:
        """The owner freed objects."""
        for object_id in object_ids:
            self._execute(self.core.delete(object_id))

    def drop_process(self, process_id: bytes) -> None:
        """A process died: what it used and what it owned goes."""
        self._execute(self.core.drop_client(process_id))
        self._execute(self.core.drop_owner(process_id))

    def prefetch(self, object_id: bytes) -> bool:
        """Restore an object ahead; False when there is no room for it now."""
        commands = self.core.prefetch(object_id)
        if commands:
            self._execute(commands)
        return bool(commands)

    def recheck(self) -> None:
        """What `may_free` answers may have changed."""
        if self.core.requests.queue and not self.core.room.can_spill:
            self._execute(self.core.recheck())

    def statistics(self) -> StoreStatistics:
        """Return a snapshot of the store."""
        return self.core.statistics()

    def close(self) -> None:
        """End the file work and remove every spill file."""
        for timer in (self._retry, self._out_of_disk_timer):
            if timer is not None:
                timer.cancel()
        for thread in self._threads:
            thread.shutdown(wait=True, cancel_futures=True)
        if self._storage is not None:
            self._storage.close()

    # --- commands ---

    def _token(self, batch: _Batch, index: int) -> int:
        token = next(self._tokens)
        self._waiting[token] = (batch, index)
        return token

    def _execute(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, (CreateGranted, PinGranted)):
                self._answer(command.token, self._location(command))
            elif isinstance(command, Missing):
                self._answer(command.token, Location(MISSING))
            elif isinstance(command, Lost):
                self._answer(command.token, Location(LOST, reason="its spill file is unreadable"))
            elif isinstance(command, CreateRefused):
                self._answer(command.token, Location(REFUSED, reason=self._why(command)))
            else:
                self._file_work(command)
        if self.core.room.failing or self._out_of_disk_timer is not None:
            self._watch_disk()
        self.changed()

    def _answer(self, token: int, location: Location) -> None:
        batch, index = self._waiting.pop(token)
        batch.set(index, location)

    def _location(self, command: CreateGranted | PinGranted) -> Location:
        place = command.location
        if isinstance(place, InArena):
            if isinstance(command, CreateGranted):
                self._arena.grow_ahead(place.offset + place.size)
            return Location(IN_ARENA, place.offset, place.size)
        assert self._storage is not None
        return Location(IN_FILE, 0, place.size, str(self._storage.path(place.oid)))

    def _why(self, command: CreateRefused) -> str:
        if command.reason is Refusal.EXISTS:
            return f"exists: object {command.oid.hex()} of an earlier attempt is still being read"
        store = self.core.statistics()
        no_room = f"{command.reason}: the object store has no room for object {command.oid.hex()}"
        if command.reason is Refusal.NO_DISK:
            return (
                f"{no_room}, and nothing could be spilled for "
                f"{self._disk_full_timeout:g} s: {store.used} of "
                f"{store.capacity} bytes are used by {store.num_objects} objects, of which "
                f"{store.num_pinned} are being read, and {store.spilled_bytes} bytes are in files. "
                "Free disk space, spill to another place, or free refs"
            )
        return (
            f"{no_room}: "
            f"{store.used} of {store.capacity} bytes are used by {store.num_objects} objects, of "
            f"which {store.num_pinned} are being read, and spilling is off. Free refs, give "
            "millpond.init a larger object_store_memory, or allow spilling"
        )

    def _file_work(self, command: Spill | Restore | DeleteFile) -> None:
        thread = self._threads[hash(command.oid) % _IO_THREADS]
        if isinstance(command, Spill):
            thread.submit(self._spill, command)
        elif isinstance(command, Restore):
            thread.submit(self._restore, command)
        else:
            thread.submit(self._delete_file, command.oid)

    def _spill(self, command: Spill) -> None:
        assert self._storage is not None
        try:
            self._storage.write(command.oid, self._mapping.view(command.offset, command.size))
        except Exception as error:  # noqa: BLE001 - the value stays in memory, whatever it was
            self._report(self._spill_failed, command.oid, error)
        else:
            self._report(lambda oid: self._execute(self.core.spilled(oid)), command.oid)

    def _restore(self, command: Restore) -> None:
        assert self._storage is not None
        try:
            self._arena.ensure(command.offset + command.size)
            view = self._mapping.view(command.offset, command.size)
            self._storage.read_into(command.oid, view)
        except Exception as error:  # noqa: BLE001 - the readers are told that it is lost
            _log.error("object %s could not be restored: %s", command.oid.hex(), error)
            self._report(lambda oid: self._execute(self.core.restore_failed(oid)), command.oid)
        else:
            self._report(lambda oid: self._execute(self.core.restored(oid)), command.oid)

    def _delete_file(self, object_id: bytes) -> None:
        assert self._storage is not None
        try:
            self._storage.delete(object_id)
        except OSError as error:
            _log.warning("a spill file could not be deleted: %s", error)

    def _report(self, event: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(event, *args)
        except RuntimeError:  # the loop is closed: the node is going down
            return

    def _spill_failed(self, object_id: bytes, error: Exception) -> None:
        full = isinstance(error, OSError) and is_full(error)
        if self._retry is None:
            _log.error("spilling failed, values stay in memory: %s", error)
        self._execute(self.core.spill_failed(object_id, full))
        if self._retry is None:
            self._retry = self._loop.call_later(_RETRY_SPILL, self._retry_spill)

    def _retry_spill(self) -> None:
        self._retry = None
        self._execute(self.core.retry_spill())

    def _may_free(self, holding: AbstractSet[bytes], waiting: AbstractSet[bytes]) -> bool:
        return self.may_free(holding, waiting)

    def _watch_disk(self) -> None:
        """Refuse the creates that wait for a disk which has been of no use for too long."""
        wait = self.core.room.failing and self.core.requests.creates_wait()
        timer = self._out_of_disk_timer
        if wait and timer is None:
            self._out_of_disk_timer = self._loop.call_later(
                self._disk_full_timeout, self._out_of_disk
            )
        elif not wait and timer is not None:
            timer.cancel()
            self._out_of_disk_timer = None

    def _out_of_disk(self) -> None:
        self._out_of_disk_timer = None
        self._execute(self.core.out_of_disk())
