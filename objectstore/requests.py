"""The requests that the store has not answered yet.

`Requests` remembers who waits for what, in which order; when and how they are answered is
`millpond.objectstore.core`.
"""

from __future__ import annotations

from collections import OrderedDict

from .commands import Token
from .states import ObjectState
from .table import ObjectRecord


class Requests:
    """Creates that wait for room, and pins that wait for a seal or a restore."""

    def __init__(self) -> None:
        #: What waits for room, oldest first: CREATED objects to be granted, SPILLED ones to be
        #: restored. An object is in it once, however many pins wait for it.
        self.queue: OrderedDict[bytes, ObjectRecord] = OrderedDict()
        #: Token -> the object it waits for, of every request that is not answered.
        self.waiting: dict[Token, ObjectRecord] = {}

    def check_token(self, token: Token) -> None:
        """Check that a new request can be told from those that wait.

        Raises:
            ValueError: one with this token waits already.
        """
        if token in self.waiting:
            raise ValueError(f"a request with the token {token!r} waits already")

    def creates_wait(self) -> bool:
        """Whether a create waits for room."""
        return any(record.state is ObjectState.CREATED for record in self.queue.values())

    def first(self) -> ObjectRecord | None:
        """The object whose request for room is the oldest."""
        return next(iter(self.queue.values()), None)

    def queue_create(self, record: ObjectRecord) -> None:
        """Let a create wait for room."""
        self.queue[record.oid] = record
        self.waiting[record.token] = record

    def queue_restore(self, record: ObjectRecord) -> None:
        """Let a SPILLED object, for which pins wait, wait for room; once is enough."""
        self.queue.setdefault(record.oid, record)

    def leave_queue(self, record: ObjectRecord) -> None:
        """The object does not wait for room any more; pins may still wait for the object."""
        del self.queue[record.oid]
        if record.state is ObjectState.CREATED:
            del self.waiting[record.token]

    def add_waiter(self, record: ObjectRecord, client: bytes, token: Token) -> None:
        """Let a pin wait for the object."""
        record.waiters[token] = client
        self.waiting[token] = record

    def take_waiters(self, record: ObjectRecord) -> dict[Token, bytes]:
        """Token -> client of the pins that wait for the object, to be answered by the caller."""
        waiters = record.waiters
        if waiters:
            record.waiters = {}
            for token in waiters:
                del self.waiting[token]
            if record.state is ObjectState.SPILLED:
                self.queue.pop(record.oid, None)
        return waiters

    def forget_waiter(self, record: ObjectRecord, token: Token) -> None:
        """A pin does not wait any more and is not answered."""
        del record.waiters[token]
        del self.waiting[token]
        if record.state is ObjectState.SPILLED and not record.waiters:
            del self.queue[record.oid]

    def forget_client(self, client: bytes) -> list[ObjectRecord]:
        """No pin of the client waits any more; return the objects it waited for."""
        forgotten = []
        for token, record in list(self.waiting.items()):
            if record.waiters.get(token) == client:
                self.forget_waiter(record, token)
                forgotten.append(record)
        return forgotten
