"""The books of the store: every object, its block, its users, and the sums over them.

`ObjectTable` keeps its indexes consistent with the records and decides nothing; what to
evict, spill, restore and answer is `millpond.objectstore.core`.
"""

from __future__ import annotations

from collections import deque

from .allocator import ALIGNMENT, Allocator, block_size
from .commands import Token
from .eviction import Candidates
from .states import TRANSITIONS, InvalidTransition, ObjectState

_SEALED = ObjectState.SEALED
_SPILLING = ObjectState.SPILLING
_RESTORING = ObjectState.RESTORING

#: Events and transitions remembered for the story of an `InvalidTransition`, over all objects.
_STORY_LENGTH = 2048


class ObjectRecord:
    """One object. Changed through `ObjectTable` only, but for `waiters`, `doomed` and `damaged`."""

    __slots__ = (
        "block",
        "damaged",
        "direct",
        "doomed",
        "has_file",
        "offset",
        "oid",
        "pins",
        "pool",
        "secondary",
        "size",
        "state",
        "token",
        "waiters",
        "writer",
    )

    def __init__(self, oid: bytes, size: int, block: int, writer: bytes, token: Token) -> None:
        self.oid = oid
        self.size = size
        #: Bytes that it takes in memory when it is there.
        self.block = block
        self.state = ObjectState.CREATED
        #: Where its block starts, or None without one.
        self.offset: int | None = None
        #: It was given a file to be written to, instead of a block.
        self.direct = False
        #: There is a complete file of it.
        self.has_file = False
        #: Another node keeps it: it may go at any time.
        self.secondary = False
        #: The last attempt to read the file failed.
        self.damaged = False
        #: Its owner deleted it: it goes as soon as nobody uses it.
        self.doomed = False
        #: Client -> number of pins, always positive.
        self.pins: dict[bytes, int] = {}
        #: Token -> client of each pin request that waits.
        self.waiters: dict[Token, bytes] = {}
        #: Who creates it; only meaningful until it is sealed.
        self.writer = writer
        #: The token of the create; only meaningful until it is granted.
        self.token = token
        #: The pool whose bytes its block is counted in.
        self.pool: Candidates | None = None

    @property
    def granted(self) -> bool:
        """The writer was told where to write."""
        return self.offset is not None or self.direct

    @property
    def spare(self) -> bool:
        """Its bytes are safe elsewhere: its block can be freed at once."""
        return self.has_file or self.secondary


class ClientRecord:
    """What one process holds."""

    __slots__ = ("pinned", "writing")

    def __init__(self) -> None:
        #: Objects it has pins on.
        self.pinned: dict[bytes, ObjectRecord] = {}
        #: Objects it asked to create and has not sealed.
        self.writing: dict[bytes, ObjectRecord] = {}


class ObjectTable:
    """All objects of a store with `capacity` bytes of memory, in blocks of this alignment."""

    def __init__(self, capacity: int, alignment: int = ALIGNMENT) -> None:
        self.allocator = Allocator(capacity, alignment)
        self.records: dict[bytes, ObjectRecord] = {}
        self.clients: dict[bytes, ClientRecord] = {}
        #: The objects in memory, by where their blocks start, and by where they end.
        self.starting: dict[int, ObjectRecord] = {}
        self.ending: dict[int, ObjectRecord] = {}
        #: Sealed, nobody reads them, and safe elsewhere: their blocks can be freed at once.
        self.clean = Candidates()
        #: Sealed, nobody reads them, memory only: they can be spilled.
        self.dirty = Candidates()
        #: Their blocks can be freed when the file work under way ends.
        self.leaving = Candidates()
        #: Object -> position of its next use, of those that tasks are known to need.
        self.next_use: dict[bytes, int] = {}
        #: Bytes of all objects that were ever asked to be created.
        self.asked_bytes = 0
        self.num_pinned = 0
        self.file_bytes = 0
        self.file_objects = 0
        self.direct_bytes = 0
        self._story: deque[tuple[bytes, str]] = deque(maxlen=_STORY_LENGTH)

    # -- objects --

    def add(self, oid: bytes, size: int, writer: bytes, token: Token) -> ObjectRecord:
        """Enter a new object, without a block."""
        block = block_size(size, self.allocator.alignment)
        record = ObjectRecord(oid, size, block, writer, token)
        self.asked_bytes += record.block
        self.records[oid] = record
        self.client(writer).writing[oid] = record
        return record

    def remove(self, record: ObjectRecord) -> None:
        """Move an object that nobody uses to DELETED, and free its block; its file stays."""
        self.move(record, ObjectState.DELETED)
        if record.offset is not None:
            self.free_block(record)
        if record.has_file:
            self.file_bytes -= record.size
            self.file_objects -= 1
            if record.direct:
                self.direct_bytes -= record.size
        del self.records[record.oid]

    def move(self, record: ObjectRecord, state: ObjectState) -> None:
        """Change an object's state.

        Raises:
            InvalidTransition: the table of transitions does not allow it; nothing was changed.
        """
        if state not in TRANSITIONS[record.state]:
            raise InvalidTransition(record.oid, record.state, state, self.story(record.oid))
        self._story.append((record.oid, state))
        if record.state is ObjectState.CREATED:
            del self.clients[record.writer].writing[record.oid]
        record.state = state
        self.refresh(record)

    def refresh(self, record: ObjectRecord) -> None:
        """Count an object in the pool where it belongs, after any of its attributes changed."""
        pool: Candidates | None = None
        if not record.pins:
            state = record.state
            if state is _SEALED:
                pool = self.clean if record.spare else self.dirty
            elif state is _SPILLING or (
                state is _RESTORING and (record.doomed or not record.waiters)
            ):
                pool = self.leaving
        if pool is not record.pool:
            if record.pool is not None:
                record.pool.discard(record.oid)
            if pool is not None:
                pool.add(record.oid, record.block, self.next_use.get(record.oid))
            record.pool = pool

    def expect(self, oid: bytes, position: int | None) -> None:
        """Note when an object is needed next, known or not; None: no use is known."""
        if position is None:
            self.next_use.pop(oid, None)
        else:
            self.next_use[oid] = position
        record = self.records.get(oid)
        if record is not None and record.pool is not None:
            record.pool.expect(oid, position)

    def note(self, oid: bytes, event: str) -> None:
        """Remember an event for the object's story."""
        self._story.append((oid, event))

    def story(self, oid: bytes) -> tuple[str, ...]:
        """What happened to the object lately, oldest first."""
        return tuple(str(event) for subject, event in self._story if subject == oid)

    # -- memory and files --

    def take_block(self, record: ObjectRecord) -> bool:
        """Give the object a block; False when none is free that is large enough."""
        offset = record.offset = self.allocator.allocate(record.size)
        if offset is None:
            return False
        self.starting[offset] = self.ending[offset + record.block] = record
        return True

    def free_block(self, record: ObjectRecord) -> None:
        """Take the object's block away."""
        assert record.offset is not None
        self.allocator.free(record.offset)
        del self.starting[record.offset], self.ending[record.offset + record.block]
        record.offset = None

    def add_file(self, record: ObjectRecord) -> None:
        """The object has a complete file from now on."""
        record.has_file = True
        self.file_bytes += record.size
        self.file_objects += 1
        if record.direct:
            self.direct_bytes += record.size
        self.refresh(record)

    # -- users --

    def client(self, client: bytes) -> ClientRecord:
        """The books of one process, opened at its first request."""
        known = self.clients.get(client)
        if known is None:
            known = self.clients[client] = ClientRecord()
        return known

    def add_pin(self, record: ObjectRecord, client: bytes) -> None:
        """Count one more pin of the client."""
        pins = record.pins
        if pins:
            pins[client] = pins.get(client, 0) + 1
        else:
            pins[client] = 1
            self.num_pinned += 1
            self.refresh(record)
        self.client(client).pinned[record.oid] = record

    def drop_pins(self, record: ObjectRecord, client: bytes, count: int) -> bool:
        """Take up to `count` pins of the client away; True when no pin is left."""
        held = record.pins.get(client)
        if held is None:
            return False
        if held > count:
            record.pins[client] = held - count
            return False
        del record.pins[client]
        del self.clients[client].pinned[record.oid]
        if record.pins:
            return False
        self.num_pinned -= 1
        self.refresh(record)
        return True
