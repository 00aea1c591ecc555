"""What follows from a change in the store: answers to those who wait, and file work.

`Reactions` knows what to do about one object or about the queue; which event causes what is
`millpond.objectstore.core`, and what leaves memory to make room is `millpond.objectstore.room`.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from .commands import (
    Command,
    CreateGranted,
    CreateRefused,
    DeleteFile,
    InArena,
    InFile,
    Missing,
    PinGranted,
    Refusal,
    Restore,
    Token,
)
from .requests import Requests
from .room import RoomMaker
from .states import ObjectState
from .table import ObjectRecord, ObjectTable

_CREATED = ObjectState.CREATED
_SEALED = ObjectState.SEALED
_SPILLED = ObjectState.SPILLED
_RESTORING = ObjectState.RESTORING


class Reactions:
    """Answers requests and ends objects, and appends the commands to the list that it is given."""

    def __init__(
        self,
        table: ObjectTable,
        requests: Requests,
        room: RoomMaker,
        may_free: Callable[[AbstractSet[bytes], AbstractSet[bytes]], bool],
    ) -> None:
        self._table = table
        self._requests = requests
        self._room = room
        self._may_free = may_free

    # -- answers --

    def answer_create(
        self, record: ObjectRecord, commands: list[Command], refusal: Refusal = Refusal.FULL
    ) -> None:
        """Answer with the block, or without one with a file, or else refuse."""
        token, oid = record.token, record.oid
        if record.offset is not None:
            commands.append(CreateGranted(token, oid, InArena(record.offset, record.size)))
        elif self._room.can_spill:
            record.direct = True
            commands.append(CreateGranted(token, oid, InFile(oid, record.size)))
        else:
            self._refuse(record, commands, refusal)

    def _refuse(self, record: ObjectRecord, commands: list[Command], refusal: Refusal) -> None:
        commands.append(CreateRefused(record.token, record.oid, refusal))
        self.answer_missing(record, commands)
        self.remove(record, commands)

    def grant_pin(
        self, record: ObjectRecord, client: bytes, token: Token, commands: list[Command]
    ) -> None:
        """Let a client read the object, where it is now."""
        self._table.add_pin(record, client)
        offset, size = record.offset, record.size
        location = InFile(record.oid, size) if offset is None else InArena(offset, size)
        commands.append(PinGranted(token, record.oid, location))

    def grant_waiters(self, record: ObjectRecord, commands: list[Command]) -> None:
        """Let all who wait for the object read it, where it is now."""
        for token, client in self._requests.take_waiters(record).items():
            self.grant_pin(record, client, token, commands)

    def answer_missing(self, record: ObjectRecord, commands: list[Command]) -> None:
        """Tell all who wait for the object that it will not come."""
        if record.waiters:
            waiters = self._requests.take_waiters(record)
            commands.extend(Missing(token, record.oid) for token in waiters)

    # -- ends of objects and of uses --

    def delete(self, record: ObjectRecord, commands: list[Command]) -> None:
        """Remove the object now, or as soon as nobody uses it."""
        if record.doomed:
            return
        record.doomed = True
        self.answer_missing(record, commands)
        if record.state in (_SEALED, _SPILLED) and not record.pins:
            self.remove(record, commands)
        else:
            self._table.refresh(record)

    def abort(self, record: ObjectRecord, commands: list[Command]) -> None:
        """Remove an object that was not sealed, or forget that room was asked for it."""
        self.answer_missing(record, commands)
        if not record.granted:
            self._requests.leave_queue(record)
        self.remove(record, commands)

    def unpinned(self, record: ObjectRecord, commands: list[Command]) -> None:
        """Remove a deleted object after its last pin ended, unless file work is under way."""
        if record.doomed and record.state in (_SEALED, _SPILLED):
            self.remove(record, commands)

    def remove(self, record: ObjectRecord, commands: list[Command]) -> None:
        """Remove an object that nobody uses, and its file."""
        if record.has_file or record.direct:
            commands.append(DeleteFile(record.oid))
        self._table.remove(record)

    # -- room --

    def serve_queue(self, commands: list[Command]) -> None:
        """Answer the requests for room, in order, until one has to wait."""
        while (record := self._requests.first()) is not None:
            if not self._room.take_block(record) and self._must_wait(record, commands):
                if self._room.paused:
                    self._serve_from_files(commands)
                return
            self._serve(record, commands)

    def refuse_for_want_of_disk(self, commands: list[Command]) -> None:
        """Refuse the creates that wait out a pause, but for those that fit without the others."""
        for record in list(self._requests.queue.values()):
            if record.state is _CREATED:
                self._requests.leave_queue(record)
                if self._room.take_block(record):
                    self.answer_create(record, commands)
                else:
                    self._refuse(record, commands, Refusal.NO_DISK)

    def _must_wait(self, record: ObjectRecord, commands: list[Command]) -> bool:
        """Whether a request that found no room should wait for it."""
        if not self._room.can_spill:
            return self.others_may_free()
        if self._room.paused:
            return record.state is _CREATED
        return self._room.bring_room(record, commands)

    def _serve(self, record: ObjectRecord, commands: list[Command]) -> None:
        """Serve a request for room with the block that it was given, or without one."""
        self._requests.leave_queue(record)
        if record.state is _CREATED:
            self.answer_create(record, commands)
        elif record.offset is None:
            self.grant_waiters(record, commands)
        else:
            self._table.move(record, _RESTORING)
            commands.append(Restore(record.oid, record.offset, record.size))

    def _serve_from_files(self, commands: list[Command]) -> None:
        """Let readers pass the creates that wait out a pause: they can read the files in place."""
        for record in list(self._requests.queue.values()):
            if record.state is _SPILLED:
                self._serve(record, commands)

    def read_back(self, record: ObjectRecord, commands: list[Command]) -> None:
        """Serve the pins that wait for a SPILLED object: by a restore, or from the file."""
        # One that is being read from its file stays there: two copies in memory are worse.
        if record.pins or record.block > self._table.allocator.capacity:
            self.grant_waiters(record, commands)
        else:
            self._requests.queue_restore(record)

    def others_may_free(self) -> bool:
        """Whether anybody may free what those who wait for room need."""
        clients = self._table.clients.items()
        holding = {client for client, books in clients if books.pinned or books.writing}
        waiting = {record.writer for record in self._requests.queue.values()}
        return self._may_free(holding, waiting)
