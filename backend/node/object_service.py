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

from millpond.objectstore.arena import Arena
from millpond.objectstore.commands import (
    Command,
    CreateGranted,
    CreateRefused,
    DeleteFile,
    Dropped,
    InFile,
    Lost,
    Missing,
    PinGranted,
    Refusal,
    Restore,
    Spill,
)
from millpond.objectstore.core import StoreCore
from millpond.objectstore.fileio import is_full
from millpond.objectstore.mapping import LARGE, ArenaMapping
from millpond.objectstore.spill.direct import SECTOR
from millpond.objectstore.spill.storage import CorruptSpill, FileExtent, SpillStatistics, Storage
from millpond.objectstore.states import ObjectState
from millpond.objectstore.statistics import StoreStatistics

from ..wire.messages import (
    IN_ARENA,
    IN_FILE,
    LOST,
    MISSING,
    PRESENT,
    REFUSED,
    UNREACHABLE,
    Copies,
    Location,
)
from .file_work import FileWork
from .notices import Notices

__all__ = ["ObjectService"]

_log = logging.getLogger("millpond.store")

#: seconds after which a failed spill is tried again
_RETRY_SPILL = 1.0
#: seconds that the new bytes of a lost object wait for those who still read its damaged file
_READERS_LEAVE = 5.0
#: seconds between two looks at them
_LOOK_AGAIN = 0.02


class _Batch:
    """Several creates or pins that are answered together, in order."""

    def __init__(self, count: int, client: bytes, answer: Callable[[list[Location]], None]) -> None:
        self.client = client
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
            alignment=SECTOR,  # so that the disk reads and writes blocks without a copy
            can_spill=storage is not None,
            validate=validate,
            may_free=self._may_free,
        )
        #: whether one of those who hold something, or a task, may free some while others wait
        self.may_free: Callable[[AbstractSet[bytes], AbstractSet[bytes]], bool] = (
            lambda holding, waiting: bool(holding - waiting)
        )
        #: begins to fetch objects from other nodes, those that are not here
        self.fetch: Callable[[Sequence[Copies]], None] = lambda _: None
        #: called with a secondary copy that had to go
        self.dropped: Callable[[bytes], None] = lambda _: None
        #: called after every event
        self.changed: Callable[[], None] = lambda: None
        self._disk_full_timeout = disk_full_timeout
        self._out_of_disk_timer: asyncio.TimerHandle | None = None
        self.notices = Notices(self.core.statistics, arena.capacity)
        self._arena = arena
        self.mapping = ArenaMapping(arena.fds, arena.capacity)
        self._files = (
            None if storage is None else FileWork(storage, arena, self.mapping, loop, self)
        )
        self._loop = loop
        self._tokens = itertools.count()
        self._waiting: dict[int, tuple[_Batch, int]] = {}
        self._retry: asyncio.TimerHandle | None = None
        #: token -> who rebuilds an object that others read, and when that is looked at again
        self._retries: dict[int, tuple[bytes, asyncio.TimerHandle]] = {}

    # --- requests ---

    def create(
        self,
        object_ids: Sequence[bytes],
        sizes: Sequence[int],
        client: bytes,
        answer: Callable[[list[Location]], None],
        *,
        rebuild: bool = False,
    ) -> None:
        """Make room for new objects; ``answer`` gets where to write each.

        With ``rebuild``, those that can be read are left as they are, and are PRESENT.
        """
        batch = _Batch(len(object_ids), client, answer)
        for index, (object_id, size) in enumerate(zip(object_ids, sizes, strict=True)):
            if rebuild:
                token = self._token(batch, index)
                deadline = self._loop.time() + _READERS_LEAVE
                self._rebuild(object_id, size, client, token, deadline)
                continue
            if object_id in self.core.table.records:
                # A stale attempt of the same task left it; nobody was told of that one.
                self._execute(self.core.delete(object_id))
            token = self._token(batch, index)
            self._execute(self.core.create(object_id, size, client, token))

    def _rebuild(
        self, object_id: bytes, size: int, client: bytes, token: int, deadline: float
    ) -> None:
        """Make room for an object unless it can be read, which an attempt to read it tells."""
        self._retries.pop(token, None)

        def again() -> None:
            self._rebuild(object_id, size, client, token, deadline)

        def tried(found: list[Location]) -> None:
            (location,) = found
            record = self.core.table.records.get(object_id)
            if location.kind not in (MISSING, LOST):
                self._execute(self.core.keep(object_id))
                self._execute(self.core.unpin(object_id, client))
                self._answer(token, Location(PRESENT, size=location.size))
            elif record is not None and record.state is ObjectState.RESTORING:
                again()  # others try it: so do we
            elif record is not None and record.pins and self._loop.time() < deadline:
                timer = self._loop.call_later(_LOOK_AGAIN, again)
                self._retries[token] = client, timer
            else:
                self._execute(self.core.create(object_id, size, client, token))

        self._execute(self.core.revive(object_id))
        self.pin([object_id], client, tried)

    def pin(
        self,
        object_ids: Sequence[bytes],
        client: bytes,
        answer: Callable[[list[Location]], None],
        copies: Sequence[Copies] = (),
    ) -> list[int]:
        """Pin objects for a process; ``answer`` gets where each can be read.

        Args:
            object_ids: the objects.
            client: the process.
            answer: called once, when all can be read, or cannot.
            copies: where those are that may be on other nodes only.

        Returns:
            The tokens of the requests, for `cancel`.
        """
        if copies:
            self.fetch(copies)
        batch = _Batch(len(object_ids), client, answer)
        tokens = []
        for index, object_id in enumerate(object_ids):
            token = self._token(batch, index)
            tokens.append(token)
            self._execute(self.core.pin(object_id, client, token))
        return tokens

    def seal(self, object_ids: Sequence[bytes], *, secondary: bool = False) -> None:
        """Objects are written; ``secondary``: another node keeps them."""
        for object_id in object_ids:
            self._execute(self.core.seal(object_id, secondary=secondary))

    def keep(self, object_ids: Sequence[bytes]) -> None:
        """No other node keeps these objects any more."""
        for object_id in object_ids:
            self._execute(self.core.keep(object_id))

    def abort(self, object_ids: Sequence[bytes], reason: str = "") -> None:
        """The writer of objects gave up; ``reason`` is for those who wait for them."""
        for object_id in object_ids:
            self._execute(self.core.abort(object_id), missing=reason)

    def knows(self, object_id: bytes) -> bool:
        """Whether an object is here, or being written."""
        return object_id in self.core.table.records

    @property
    def free_memory(self) -> int:
        """Bytes that can be stored before something must be spilled."""
        return self.core.table.allocator.free_bytes

    def has_spare(self, size: int) -> bool:
        """Whether there is free memory for so many bytes, of which nobody waits for any."""
        return self.free_memory >= size and not self.core.requests.queue

    def block(self, offset: int, size: int) -> memoryview:
        """Return a block of the arena to write to, whose pages exist.

        Raises:
            OSError: the machine has no memory left for it.
        """
        self._arena.ensure(offset + size)
        return self.mapping.view(offset, size)

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
        for token, (client, timer) in list(self._retries.items()):
            if client == process_id:
                timer.cancel()
                del self._retries[token], self._waiting[token]
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

    def waits_for_room(self) -> bool:
        """Whether somebody waits for room."""
        return bool(self.core.requests.queue)

    def statistics(self) -> StoreStatistics:
        """Return a snapshot of the store."""
        return self.core.statistics()

    def spill_statistics(self) -> SpillStatistics | None:
        """Return what the spill storage keeps, if there is one."""
        return None if self._files is None else self._files.storage.statistics()

    def close(self) -> None:
        """End the file work and remove every spill file."""
        retries = [timer for _, timer in self._retries.values()]
        for timer in (self._retry, self._out_of_disk_timer, *retries):
            if timer is not None:
                timer.cancel()
        if self._files is not None:
            self._files.close()

    # --- commands ---

    def _token(self, batch: _Batch, index: int) -> int:
        token = next(self._tokens)
        self._waiting[token] = (batch, index)
        return token

    def _execute(
        self,
        commands: list[Command],
        lost: str = "its spill file is unreadable",
        missing: str = "",
    ) -> None:
        spills: list[Spill] = []
        for command in commands:
            if isinstance(command, (CreateGranted, PinGranted)):
                self._grant(command)
            elif isinstance(command, Missing):
                self._answer(command.token, Location(MISSING, reason=missing))
            elif isinstance(command, Lost):
                self._answer(command.token, Location(LOST, reason=lost))
            elif isinstance(command, CreateRefused):
                self._answer(command.token, Location(REFUSED, reason=self._why(command)))
            elif isinstance(command, Spill):
                spills.append(command)
            elif isinstance(command, Dropped):
                self.dropped(command.oid)
            else:
                self._file_work(command)
        if spills:
            assert self._files is not None
            self._files.spill(spills)
        if self.core.room.failing or self._out_of_disk_timer is not None:
            self._watch_disk()
        self.changed()

    def _answer(self, token: int, location: Location) -> None:
        batch, index = self._waiting.pop(token)
        batch.set(index, location)

    def _grant(self, command: CreateGranted | PinGranted) -> None:
        place = command.location
        if isinstance(place, InFile):
            if isinstance(command, CreateGranted):
                self.notices.large_object(place.size)
                self._give_file(command.token, place)
            else:
                self._find_file(command.token, place)
            return
        if isinstance(command, CreateGranted):
            self._arena.begin_use()
            if place.size < LARGE:
                self._arena.grow_ahead(place.offset + place.size)
        self._answer(command.token, Location(IN_ARENA, place.offset, place.size))

    def _give_file(self, token: int, place: InFile) -> None:
        """Let a process write an object straight to a file."""
        assert self._files is not None
        try:
            found = self._files.storage.direct_path(place.oid, place.size)
        except OSError as error:
            word = "no-disk" if is_full(error) else "full"
            reason = f"{word}: object {place.oid.hex()} of {place.size} bytes: {error}"
            self._answer(token, Location(REFUSED, reason=reason))
            self._execute(self.core.abort(place.oid))
        else:
            self._answer(token, Location(IN_FILE, found.offset, found.size, found.path))

    def _find_file(self, token: int, place: InFile) -> None:
        """Let a process read an object from a file; its pin is given back if it cannot."""
        assert self._files is not None

        def answer(found: FileExtent | Exception) -> None:
            if isinstance(found, FileExtent):
                self._answer(token, Location(IN_FILE, found.offset, found.size, found.path))
                return
            if not self.core.is_damaged(place.oid):  # whoever rebuilds it may look many times
                _log.error("object %s could not be read: %s", place.oid.hex(), found)
            client = self._waiting[token][0].client
            self._execute(self.core.unreadable(place.oid, client))
            self._answer(token, Location(LOST, reason=_what_became(found)))

        self._files.locate(place.oid, answer)

    def _why(self, command: CreateRefused) -> str:
        if command.reason is Refusal.EXISTS:
            return (
                f"exists: object {command.oid.hex()} of an earlier attempt is still being read, "
                "so its new bytes have no place"
            )
        store = self.core.statistics()
        no_room = f"{command.reason}: the object store has no room for object {command.oid.hex()}"
        used = (
            f"{store.used} of {store.capacity} bytes are used by {store.num_objects} objects, of "
            f"which {store.num_pinned} are being read"
        )
        if command.reason is Refusal.NO_DISK:
            return (
                f"{no_room}, and nothing could be spilled for {self._disk_full_timeout:g} s: "
                f"{used}, and {store.spilled_bytes} bytes are in files. "
                "Free disk space, spill to another place, or free refs"
            )
        return (
            f"{no_room}: {used}, and spilling is off. Free refs, give "
            "millpond.init a larger object_store_memory, or allow spilling"
        )

    def _file_work(self, command: Restore | DeleteFile) -> None:
        assert self._files is not None
        if isinstance(command, Restore):
            self._files.restore(command)
        else:
            self._files.storage.delete([command.oid])

    # --- how file work went ---

    def objects_spilled(self, object_ids: list[bytes]) -> None:
        """The files of objects are complete."""
        self.notices.spill_worked()
        for object_id in object_ids:
            self._execute(self.core.spilled(object_id))

    def object_restored(self, object_id: bytes) -> None:
        """An object's block holds its bytes."""
        self._execute(self.core.restored(object_id))

    def restore_failed(self, object_id: bytes, error: Exception) -> None:
        """An object could not be read; its readers are told that it is lost, or unreachable."""
        _log.error("object %s could not be restored: %s", object_id.hex(), error)
        self._execute(self.core.restore_failed(object_id), _what_became(error))

    def spills_failed(self, object_ids: list[bytes], error: Exception) -> None:
        """Objects could not be written; they stay in memory."""
        full = isinstance(error, OSError) and is_full(error)
        self.notices.spill_failed(error)
        for object_id in object_ids:
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


def _what_became(error: Exception) -> str:
    """Why an object could not be read: its bytes are gone, or just cannot be had now."""
    return f"({error})" if isinstance(error, CorruptSpill) else f"{UNREACHABLE}{error}"
