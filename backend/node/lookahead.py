"""What the object store is told of the tasks to come: when objects are needed, what to bring back.

The lease queue knows the tasks whose arguments are all there; under memory pressure their owners
are asked now and then what their other tasks will need. While tasks run, the spilled arguments of
those that wait for a slot or for memory are restored ahead, as far as there is room for them beside
what admitted tasks were promised. They are not pinned: admission alone decides what runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from millpond.objectstore.states import ObjectState
from millpond.scheduler.prefetch import worth_restoring
from millpond.scheduler.queue import LeaseQueue

from ..wire import messages as m

if TYPE_CHECKING:
    from .far_peers import AnyPeer
    from .object_service import ObjectService

__all__ = ["Lookahead"]

#: seconds between two questions to the owners, at least
_ASK_EVERY = 0.05
#: objects that an owner tells of at most
_TOLD = 4096
#: objects restored ahead at the same time: few, since they delay those that somebody waits for
_AT_ONCE = 2


class Lookahead:
    """Tells the store what the scheduler knows.

    Args:
        queue: the tasks that wait.
        objects: the store.
        peer: finds the connection of a process.
        loop: the node's event loop.
    """

    def __init__(
        self,
        queue: LeaseQueue,
        objects: ObjectService,
        peer: Callable[[bytes], AnyPeer | None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._queue = queue
        self._objects = objects
        self._peer = peer
        self._loop = loop
        self._next_question = 0.0
        self._asked_bytes = 0
        self._scheduled = False
        #: objects whose restore was begun here
        self._restoring: set[bytes] = set()
        queue.needs.changed = objects.core.expect
        objects.changed = self.store_changed

    def store_changed(self) -> None:
        """Something happened in the store or in the queue."""
        core = self._objects.core
        if not core.knows_enough(self._asked_bytes) and self._loop.time() >= self._next_question:
            self._ask()
        if core.table.file_objects and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._prefetch)

    def told(self, owner: bytes, message: m.Upcoming) -> None:
        """An owner answers what its waiting tasks will need."""
        self._queue.needs.waiting(owner, {key: (order, ids) for key, order, ids in message.tasks})

    def _ask(self) -> None:
        self._next_question = self._loop.time() + _ASK_EVERY
        self._asked_bytes = self._objects.core.table.asked_bytes
        for owner_id in self._queue.owners():
            owner = self._peer(owner_id)
            if owner is not None:
                owner.send(m.AskUpcoming(_TOLD))

    def _prefetch(self) -> None:
        self._scheduled = False
        self._restoring = {
            oid for oid in self._restoring if self._is_in(oid, ObjectState.RESTORING)
        }
        free = _AT_ONCE - len(self._restoring)
        if free <= 0:
            return
        for object_id in worth_restoring(
            self._queue, lambda oid: self._is_in(oid, ObjectState.SPILLED)
        ):
            if not self._objects.prefetch(object_id):
                return
            self._restoring.add(object_id)
            free -= 1
            if free == 0:
                return

    def _is_in(self, object_id: bytes, state: ObjectState) -> bool:
        record = self._objects.core.table.records.get(object_id)
        return record is not None and record.state is state
