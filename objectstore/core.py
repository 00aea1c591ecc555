"""The store's state machine: events in, commands out; no clock, no I/O, no threads.

It covers who may write and read which bytes when, what leaves memory for a file and what comes
back, and which request has to wait. It does *not* touch a byte itself: the shell around it carries
the commands out and reports how the file work went. The books are kept by `table`, the order of
eviction by `eviction`.

How a request for room proceeds:

1. A free block that fits is taken at once, unless others have been waiting longer.
2. Blocks of objects that have a file copy as well, or that another node keeps, and that nobody
   reads are freed, which costs nothing, unless a task will need them sooner than something that is
   nowhere else.
3. Objects that nobody reads are spilled; the request waits, first in first out, until the shell is
   done and their blocks can be freed like those.
4. When no amount of that can make enough room, the object is served from a file, past the arena. So
   a request waits only for work that the shell has in hand, and nobody can deadlock.

When a spill fails (a full disk, mostly) the value stays in memory and no other spill is started
until the shell says `retry_spill()`. Meanwhile creates that do not fit wait and restores are served
from their files; `out_of_disk()` ends the wait of the creates. Without spilling there is no step 3
and 4: a create waits while other clients hold something or may free something, or is refused.

The scheduler tells by `expect()` when objects are needed next, and by `prefetch()` which spilled
ones to bring back while there is room. Neither answers a request or makes one wait.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from .allocator import ALIGNMENT
from .commands import Command, CreateRefused, Dropped, Lost, Missing, Refusal, Restore, Token
from .invariants import check_core
from .reactions import Reactions
from .requests import Requests
from .room import RoomMaker
from .states import InvalidTransition, ObjectState
from .statistics import ObjectRow, StoreStatistics
from .table import ObjectRecord, ObjectTable

_CREATED = ObjectState.CREATED
_SEALED = ObjectState.SEALED
_SPILLING = ObjectState.SPILLING
_SPILLED = ObjectState.SPILLED
_RESTORING = ObjectState.RESTORING


def others_hold(holding: AbstractSet[bytes], waiting: AbstractSet[bytes]) -> bool:
    """Whether a client holds something that does not wait for room itself."""
    return not holding <= waiting


class StoreCore:
    """The objects of one node.

    An event either returns the commands that follow from it, which may answer earlier requests as
    well, or raises `InvalidTransition` and changes nothing. Events about unknown objects that a
    process may well send late (`seal`, `abort`, `unpin`, `delete`, `cancel`) are ignored.

    Args:
        capacity: bytes that blocks in memory may take together; rounded down to whole units.
        alignment: of blocks, in bytes; a power of two.
        can_spill: False when values may never be written to files.
        low_water: spilling ahead stops at this part of the capacity.
        high_water: spilling ahead starts above this part of the capacity.
        validate: check every invariant after every event, or, with many objects, now and then
            (slow; for tests).
        may_free: asked with the clients that hold something and those that wait for room, which
            may be the same, whether anybody may free some one day; only without spilling.

    Raises:
        ValueError: the capacity is negative, or not 0 <= low_water <= high_water <= 1.
    """

    def __init__(
        self,
        capacity: int,
        *,
        alignment: int = ALIGNMENT,
        can_spill: bool = True,
        low_water: float = 0.6,
        high_water: float = 0.8,
        validate: bool = False,
        may_free: Callable[[AbstractSet[bytes], AbstractSet[bytes]], bool] = others_hold,
    ) -> None:
        self.table = ObjectTable(capacity, alignment)
        self.requests = Requests()
        self.room = RoomMaker(
            self.table, can_spill=can_spill, low_water=low_water, high_water=high_water
        )
        self.reactions = Reactions(self.table, self.requests, self.room, may_free)
        self._validate = validate
        self._events = 0
        self._file_backed_bytes = 0
        self._restores = 0
        self._restored_bytes = 0
        self._prefetches = 0
        self._prefetched_bytes = 0

    # -- events from clients --

    def create(self, oid: bytes, size: int, client: bytes, token: Token) -> list[Command]:
        """A client asks for room for a new object of `size` bytes.

        Answered, now or by a later event, with `CreateGranted` or `CreateRefused`.

        Raises:
            ValueError: the size is negative, or a request with this token waits already.
        """
        if size < 0:
            raise ValueError(f"the size must not be negative, it is {size}")
        self.requests.check_token(token)
        table = self.table
        table.note(oid, "create")
        commands: list[Command] = []
        known = table.records.get(oid)
        waiters: dict[Token, bytes] = {}
        if known is not None:
            if not known.damaged or known.state is not _SPILLED or known.pins:
                commands.append(CreateRefused(token, oid, Refusal.EXISTS))
                return self._settle(commands)
            # Its file cannot be read, and here comes the value again: who waits gets this one.
            waiters = self.requests.take_waiters(known)
            self.reactions.remove(known, commands)
        record = table.add(oid, size, client, token)
        for waiting, reader in waiters.items():
            self.requests.add_waiter(record, reader, waiting)
        if record.block > table.allocator.capacity:
            self.reactions.answer_create(record, commands, Refusal.TOO_LARGE)
        elif not self.requests.queue and table.take_block(record):
            self.reactions.answer_create(record, commands)
        else:
            self.requests.queue_create(record)
        return self._settle(commands)

    def seal(self, oid: bytes, *, secondary: bool = False) -> list[Command]:
        """The writer is done: the object can be read from now on, and never changes again.

        Args:
            oid: the object.
            secondary: another node keeps it, so this copy need not be spilled, but can be dropped.

        Raises:
            InvalidTransition: the object is sealed already, or its writer was not granted room yet.
        """
        table = self.table
        table.note(oid, "seal")
        commands: list[Command] = []
        record = table.records.get(oid)
        if record is None:
            return commands
        if record.state is not _CREATED or not record.granted:
            raise InvalidTransition(oid, record.state, _SEALED, table.story(oid))
        if record.doomed:
            self.reactions.remove(record, commands)
        elif record.direct:
            self._file_backed_bytes += record.size
            table.add_file(record)
            table.move(record, _SPILLED)
            if record.waiters:
                self.reactions.read_back(record, commands)
        else:
            table.move(record, _SEALED)
            self._mark(record, secondary=secondary)
            self.reactions.grant_waiters(record, commands)
        return self._settle(commands)

    def keep(self, oid: bytes) -> list[Command]:
        """No other node keeps the object any more: this copy is not secondary."""
        record = self.table.records.get(oid)
        if record is not None and record.secondary:
            self._mark(record, secondary=False)
        return self._settle([])

    def _mark(self, record: ObjectRecord, *, secondary: bool) -> None:
        record.secondary = secondary
        self.table.refresh(record)

    def abort(self, oid: bytes) -> list[Command]:
        """The writer gave up: the object never existed.

        Raises:
            InvalidTransition: the object is sealed.
        """
        table = self.table
        table.note(oid, "abort")
        commands: list[Command] = []
        record = table.records.get(oid)
        if record is None:
            return commands
        if record.state is not _CREATED:
            raise InvalidTransition(oid, record.state, ObjectState.DELETED, table.story(oid))
        self.reactions.abort(record, commands)
        return self._settle(commands)

    def pin(self, oid: bytes, client: bytes, token: Token) -> list[Command]:
        """A client wants to read an object.

        Answered with `PinGranted` when the object is readable, which may take its seal or its
        restore, or with `Missing` or `Lost`.

        Raises:
            ValueError: a request with this token waits already.
        """
        self.requests.check_token(token)
        table = self.table
        commands: list[Command] = []
        record = table.records.get(oid)
        if record is None or record.doomed:
            commands.append(Missing(token, oid))
            return commands
        state = record.state
        if state is _SEALED or state is _SPILLING:
            self.reactions.grant_pin(record, client, token, commands)
        else:
            self.requests.add_waiter(record, client, token)
            table.refresh(record)
            if state is _SPILLED:
                self.reactions.read_back(record, commands)
        return self._settle(commands)

    def unpin(self, oid: bytes, client: bytes, count: int = 1) -> list[Command]:
        """A client ends `count` of its pins of an object. Those it does not hold are ignored."""
        commands: list[Command] = []
        record = self.table.records.get(oid)
        if record is not None and self.table.drop_pins(record, client, count):
            self.reactions.unpinned(record, commands)
        return self._settle(commands)

    def delete(self, oid: bytes) -> list[Command]:
        """The owner freed the object: missing for new pins, gone when the last use ends."""
        self.table.note(oid, "delete")
        commands: list[Command] = []
        record = self.table.records.get(oid)
        if record is not None:
            self.reactions.delete(record, commands)
        return self._settle(commands)

    def revive(self, oid: bytes) -> list[Command]:
        """The owner wants an object back that it freed. One that is gone by now stays gone."""
        commands: list[Command] = []
        record = self.table.records.get(oid)
        if record is not None and record.doomed and record.state is not _CREATED:
            self.table.note(oid, "revive")
            record.doomed = False
            self.table.refresh(record)
        return self._settle(commands)

    def cancel(self, token: Token) -> list[Command]:
        """Forget a request that waits. One that was answered or never made is ignored."""
        commands: list[Command] = []
        record = self.requests.waiting.get(token)
        if record is not None:
            if token in record.waiters:
                self.requests.forget_waiter(record, token)
                self.table.refresh(record)
            else:
                self.reactions.abort(record, commands)
        return self._settle(commands)

    def drop_client(self, client: bytes) -> list[Command]:
        """A process died: drop its pins and its requests, abort what it was writing."""
        table = self.table
        commands: list[Command] = []
        for record in self.requests.forget_client(client):
            table.refresh(record)
        books = table.clients.get(client)
        if books is None:
            return self._settle(commands)
        for record in list(books.writing.values()):
            table.note(record.oid, "writer died")
            self.reactions.abort(record, commands)
        for record in list(books.pinned.values()):
            if table.drop_pins(record, client, record.pins[client]):
                self.reactions.unpinned(record, commands)
        del table.clients[client]
        return self._settle(commands)

    def drop_owner(self, prefix: bytes) -> list[Command]:
        """An owner died: every object whose id starts with its 8-byte id is deleted."""
        commands: list[Command] = []
        owned = [record for oid, record in self.table.records.items() if oid.startswith(prefix)]
        for record in owned:
            self.table.note(record.oid, "owner died")
            self.reactions.delete(record, commands)
        return self._settle(commands)

    # -- events from the scheduler --

    def expect(self, oid: bytes, position: int | None) -> None:
        """A task that waits will need an object, which need not be known yet.

        Args:
            oid: the object.
            position: of its next use: smaller is sooner; None: no use is known any more.
        """
        self.table.expect(oid, position)

    def prefetch(self, oid: bytes) -> list[Command]:
        """Restore an object that is expected to be needed, if that is in nobody's way.

        It takes only room that is free, or held by file copies of what is needed later. Whether or
        not it does, the object can leave memory again like any other.
        """
        commands: list[Command] = []
        record = self.table.records.get(oid)
        position = self.table.next_use.get(oid)
        if record is None or position is None or self.requests.queue:
            return commands
        idle = record.state is _SPILLED and not (record.pins or record.doomed or record.damaged)
        if idle and self.room.take_spare(record, position):
            assert record.offset is not None
            self._prefetches += 1
            self._prefetched_bytes += record.size
            self.table.move(record, _RESTORING)
            commands.append(Restore(oid, record.offset, record.size))
        return self._settle(commands)

    def recheck(self) -> list[Command]:
        """A task ended or waits for others: what `may_free` tells may be different now."""
        return self._settle([])

    def knows_enough(self, asked_bytes: int) -> bool:
        """Whether the order in which objects should leave memory is known well enough.

        Args:
            asked_bytes: `table.asked_bytes` when the owners were asked last what they need; what
                was created since then counts as not needed.
        """
        return not self.room.pressed or self.table.asked_bytes - asked_bytes < self.room.stride

    # -- events from the shell's file work --

    def spilled(self, oid: bytes) -> list[Command]:
        """The file of a `Spill` is complete.

        Raises:
            InvalidTransition: the object is not being spilled.
        """
        record = self._expect(oid, _SPILLING, _SEALED)
        commands: list[Command] = []
        self.room.succeeded(record)
        self.table.add_file(record)
        if record.doomed and not record.pins:
            self.reactions.remove(record, commands)
        else:  # its block is freed when the room is asked for
            self.table.move(record, _SEALED)
        return self._settle(commands)

    def spill_failed(self, oid: bytes, no_space: bool) -> list[Command]:
        """A `Spill` failed and left no file; `no_space`: because the disk is full.

        The value stays in memory. No other spill is started until `retry_spill()`.

        Raises:
            InvalidTransition: the object is not being spilled.
        """
        record = self._expect(oid, _SPILLING, _SEALED)
        commands: list[Command] = []
        self.room.failed(no_space=no_space)
        if record.doomed and not record.pins:
            self.reactions.remove(record, commands)
        else:
            self.table.move(record, _SEALED)
        return self._settle(commands)

    def retry_spill(self) -> list[Command]:
        """Spilling may be tried again after a failure."""
        self.room.paused = False
        return self._settle([])

    def out_of_disk(self) -> list[Command]:
        """Spilling has been impossible for long: refuse the creates that wait for it.

        Nothing is refused unless a spill failed and none succeeded since. Later creates wait, if
        they do not fit, until this is said again or room comes.
        """
        commands: list[Command] = []
        if self.room.failing:
            self.reactions.refuse_for_want_of_disk(commands)
        return self._settle(commands)

    def restored(self, oid: bytes) -> list[Command]:
        """The block of a `Restore` holds the object's bytes.

        Raises:
            InvalidTransition: the object is not being restored.
        """
        record = self._expect(oid, _RESTORING, _SEALED)
        commands: list[Command] = []
        self._restores += 1
        self._restored_bytes += record.size
        if record.doomed:
            self.reactions.remove(record, commands)
        else:
            record.damaged = False
            self.table.move(record, _SEALED)
            self.reactions.grant_waiters(record, commands)
        return self._settle(commands)

    def restore_failed(self, oid: bytes) -> list[Command]:
        """The file of a `Restore` is gone or cannot be read.

        Those who wait are told `Lost`. The object stays: a later pin tries again, a create replaces
        it.

        Raises:
            InvalidTransition: the object is not being restored.
        """
        record = self._expect(oid, _RESTORING, _SPILLED)
        commands: list[Command] = []
        if record.doomed:
            self.reactions.remove(record, commands)
        else:
            record.damaged = True
            self.table.move(record, _SPILLED)
            self.table.free_block(record)
            commands.extend(Lost(token, oid) for token in self.requests.take_waiters(record))
        return self._settle(commands)

    def unreadable(self, oid: bytes, client: bytes) -> list[Command]:
        """The file that a client was to read an object from is gone, or cannot be read.

        Its pin ends. The object stays: a later pin tries again, a create replaces it when nobody
        reads it any more.
        """
        record = self.table.records.get(oid)
        if record is not None and record.state is _SPILLED:
            record.damaged = True
        return self.unpin(oid, client)

    # -- looking at it --

    def is_damaged(self, oid: bytes) -> bool:
        """Whether the last attempt to read an object's file failed."""
        record = self.table.records.get(oid)
        return record is not None and record.damaged

    def statistics(self) -> StoreStatistics:
        """A snapshot of the sums."""
        table = self.table
        return StoreStatistics(
            capacity=table.allocator.capacity,
            used=table.allocator.used,
            peak=table.allocator.peak,
            num_objects=len(table.records),
            num_pinned=table.num_pinned,
            num_waiting=len(self.requests.waiting),
            evictable_bytes=table.clean.total + table.dirty.total,
            spilling_bytes=table.leaving.total,
            spilled_bytes=table.file_bytes,
            spilled_objects=table.file_objects,
            file_backed_bytes=table.direct_bytes,
            file_backed_bytes_total=self._file_backed_bytes,
            spilled_bytes_total=self.room.spilled_bytes,
            restored_bytes_total=self._restored_bytes,
            spills_total=self.room.spills,
            spill_failures_total=self.room.spill_failures,
            restores_total=self._restores,
            prefetches_total=self._prefetches,
            prefetched_bytes_total=self._prefetched_bytes,
            evictions_total=self.room.evictions,
            spill_paused=self.room.paused,
            disk_full=self.room.disk_full,
        )

    def contents(self) -> list[ObjectRow]:
        """Every object, oldest first."""
        return [
            ObjectRow(
                oid=record.oid,
                size=record.size,
                state=record.state,
                doomed=record.doomed,
                in_memory=record.offset is not None,
                in_file=record.has_file,
                pins=dict(record.pins),
            )
            for record in self.table.records.values()
        ]

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            AssertionError: one is broken.
        """
        check_core(self)

    # -- the parts that events share --

    def _expect(self, oid: bytes, state: ObjectState, next_state: ObjectState) -> ObjectRecord:
        record = self.table.records.get(oid)
        if record is None or record.state is not state:
            start = ObjectState.DELETED if record is None else record.state
            raise InvalidTransition(oid, start, next_state, self.table.story(oid))
        return record

    def _settle(self, commands: list[Command]) -> list[Command]:
        """Do what an event has made possible or necessary; the end of every event."""
        if self.requests.queue:
            self.reactions.serve_queue(commands)
        self.room.spill_ahead(commands)
        if self.room.dropped:
            commands += [Dropped(oid) for oid in self.room.dropped]
            self.room.dropped.clear()
        self._events += 1
        # The check looks at everything: the more there is, the rarer it is made.
        if self._validate and self._events % (1 + len(self.table.records) // 8) == 0:
            check_core(self)
        return commands
