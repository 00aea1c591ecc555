"""Values behind refs: put, get, wait, future, for the threads of the user."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import GetTimeoutError
from ..serialization.exceptions import deserialize_exception
from ..serialization.layout import SerializedValue
from ..serialization.values import deserialize, serialize
from ..wire.copies import places
from ..wire.messages import FAILED, INLINE, STORED, Value
from .call_sites import call_site
from .current import ended_session
from .objects import PENDING, Entry, dead, tried_from
from .refs import ObjectRef
from .store_client import BytesGone
from .waiter import Waiter

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["FUTURES_THREAD", "Access"]

#: the name of the only thread of ours that waits for others on behalf of the user
FUTURES_THREAD = "millpond-futures"


class _Lost(NamedTuple):
    """A stored object that could not be read, and what was known of it then."""

    entry: Entry
    #: how often it had been rebuilt
    rebuilds: int
    #: what became of it
    reason: str
    #: the nodes that were taken to have it
    tried: list[bytes]


class Access:
    """Puts and gets of one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._objects = runtime.objects
        self._resolved: SimpleQueue[tuple[Future[Any], ObjectRef[Any]] | None] = SimpleQueue()
        self._resolver: threading.Thread | None = None

    def put(self, value: Any) -> ObjectRef[Any]:
        """Store a value; the ref can be used when this returns."""
        return self.put_serialized(serialize(value, "the value given to millpond.put"))

    def put_serialized(self, serialized: SerializedValue, made_by: str = "put") -> ObjectRef[Any]:
        """Store a serialized value; ``made_by`` names the call in memory reports."""
        object_id = self._runtime.ids.reserve(1)
        if serialized.size < self._objects.inline.limit:
            outcome = Value(INLINE, serialized.to_bytes(), serialized.size)
        else:
            self._runtime.store.write([(object_id, serialized)])
            outcome = Value(STORED, b"", serialized.size)
        # Registration first: whoever gave us the refs inside need not keep them alive after us.
        self._runtime.register_borrowed(serialized.contained)
        with self._runtime.lock:
            entry, ref = self._objects.own(object_id)
            entry.contains = list(serialized.contained) or None
            if outcome.kind == STORED:
                entry.origin = (made_by, call_site())
            self._objects.finish(entry, outcome)
        self._runtime.notices.show()
        return ref

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """Return the values of ``refs``, waiting for those that are not finished.

        Raises:
            GetTimeoutError: some are not finished after ``timeout`` seconds.
            Exception: what the task of one of them raised.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        entries = [self.entry_of(ref) for ref in refs]
        if PENDING in {entry.state for entry in entries}:
            with self._runtime.lock:
                pending = [entry for entry in entries if entry.state == PENDING]
                waiter = self._waiter(len(pending), stop_on_failure=True)
                for entry in pending:
                    self._watch(entry, waiter)
            if not self._wait(waiter, timeout):
                missing = [entry for entry in entries if entry.state == PENDING]
                raise GetTimeoutError(
                    f"{len(missing)} of {len(entries)} objects were not ready after {timeout} s; "
                    f"the first is {missing[0].id.hex()}"
                )
        states = {entry.state for entry in entries}
        if FAILED in states:
            failed = next(entry for entry in entries if entry.state == FAILED)
            raise deserialize_exception(failed.data)
        if states <= {INLINE}:
            values = self._read([entry.data for entry in entries])
        else:
            values = self._read(self.buffers(entries, deadline))
        self._runtime.notices.show()
        return values

    def wait(self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout: float | None) -> None:
        """Wait until ``num_returns`` of ``refs`` are finished, or for ``timeout`` seconds."""
        entries = [self.entry_of(ref) for ref in refs]
        with self._runtime.lock:
            pending = [entry for entry in entries if entry.state == PENDING]
            for entry in pending:
                self._runtime.start_resolving(entry)
            needed = num_returns - sum([entry.state != PENDING for entry in entries])
            if needed <= 0 or timeout == 0:
                return
            waiter = self._waiter(needed, stop_on_failure=False)
            pending = [entry for entry in pending if entry.state == PENDING]
            for entry in pending:
                self._objects.when_finished(entry, waiter.finished)
        self._wait(waiter, timeout)
        with self._runtime.lock:
            for entry in pending:
                if entry.waiters is not None and waiter.finished in entry.waiters:
                    entry.waiters.remove(waiter.finished)

    def future(self, ref: ObjectRef[Any]) -> Future[Any]:
        """Return a future of a ref's value. Its callbacks run on a thread of their own."""
        entry = self.entry_of(ref)
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        if self._resolver is None:
            self._resolver = threading.Thread(
                target=self._resolve_futures, name=FUTURES_THREAD, daemon=True
            )
            self._resolver.start()
        with self._runtime.lock:
            if entry.state == PENDING:
                self._objects.when_finished(entry, lambda _: self._resolved.put((future, ref)))
                self._runtime.start_resolving(entry)
                return future
        self._resolved.put((future, ref))
        return future

    def stop(self) -> None:
        """End the thread that resolves futures."""
        if self._resolver is not None:
            self._resolved.put(None)
            self._resolver.join()

    def entry_of(self, ref: ObjectRef[Any]) -> Entry:
        """Return the entry of a ref.

        Raises:
            NotInitializedError: the ref is from a session that was shut down.
        """
        entry = ref._entry
        if self._runtime.closed or self._objects.entries.get(entry.id) is not entry:
            raise ended_session(ref)
        return entry

    def buffers(self, entries: list[Entry], deadline: float | None) -> list[Any]:
        """Return the bytes of finished objects; what turns out to be lost is rebuilt.

        Raises:
            GetTimeoutError: they are not rebuilt by the deadline.
            Exception: of a task that failed; `ObjectLostError` where a rebuild is not possible.
        """
        while True:
            rebuilds = [entry.rebuilds for entry in entries]
            pins, lost = self._pin([entry for entry in entries if entry.state == STORED])
            if not lost:
                for entry in entries:
                    if entry.state == FAILED and entry.id not in pins:
                        raise deserialize_exception(entry.data)
                try:
                    return [pins[e.id].buffer() if e.id in pins else e.data for e in entries]
                except BytesGone as gone:
                    # It was lost after it had been pinned.
                    index = [entry.id for entry in entries].index(gone.object_id)
                    entries[index].pin = dead
                    here = [self._runtime.node_id]
                    lost = [_Lost(entries[index], rebuilds[index], gone.reason, here)]
            del pins  # the tasks that rebuild may need the room
            self._rebuild(lost, deadline)

    def _pin(self, entries: list[Entry]) -> tuple[dict[bytes, Any], list[_Lost]]:
        """Return the pins of stored objects, and what `_rebuild` must know of those lost."""
        pins = {entry.id: entry.pin() for entry in entries}
        wanted = {entry.id: entry for entry in entries if pins[entry.id] is None}
        if not wanted:
            return pins, []
        seen = {oid: (entry.rebuilds, places(oid, entry.nodes)) for oid, entry in wanted.items()}
        copies = self._objects.copies(wanted.values())
        found, lost = self._runtime.store.pin(list(wanted), copies)
        for object_id, pin in zip([oid for oid in wanted if oid not in lost], found, strict=True):
            pins[object_id] = pin
            wanted[object_id].pin = weakref.ref(pin)
        here = self._runtime.node_id
        return pins, [
            _Lost(wanted[oid], seen[oid][0], reason, tried_from(here, seen[oid][1]))
            for oid, reason in lost.items()
        ]

    def _rebuild(self, lost: list[_Lost], deadline: float | None) -> None:
        """Wait until lost objects are rebuilt, or one of them cannot be.

        Args:
            lost: the objects.
            deadline: when to give up.
        """
        waiter = self._waiter(len(lost), stop_on_failure=True)
        with self._runtime.lock:
            for entry, seen, why, tried in lost:
                if self._runtime.rebuilding.lost(entry, seen, why, tried):
                    self._objects.when_finished(entry, waiter.finished)
                else:
                    waiter.finished(entry)
            self._runtime.submission.dispatch()
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        if not self._wait(waiter, left):
            raise GetTimeoutError(
                f"{len(lost)} lost objects were not rebuilt in time; the first is "
                f"{lost[0].entry.id.hex()}"
            )

    def _read(self, buffers: list[Any]) -> list[Any]:
        values = []
        brought: list[ObjectRef[Any]] = []
        for buffer in buffers:
            value, refs = deserialize(buffer)
            values.append(value)
            brought += refs
        if brought:
            # The objects just read keep these refs alive until their owners know of us.
            self._runtime.register_borrowed(brought)
        return values

    def _waiter(self, needed: int, *, stop_on_failure: bool) -> Waiter:
        wait = self._runtime.reactor.leadership.wait()
        return Waiter(self._runtime.lock, wait, needed, stop_on_failure=stop_on_failure)

    def _watch(self, entry: Entry, waiter: Waiter) -> None:
        self._objects.when_finished(entry, waiter.finished)
        self._runtime.start_resolving(entry)

    def _wait(self, waiter: Waiter, timeout: float | None) -> bool:
        if waiter.done():
            return True
        if timeout == 0:
            return False
        lent = self._runtime.before_wait()
        self._runtime.releaser.drain()  # now, and not when the answer is there
        try:
            return waiter.wait(timeout)
        finally:
            if lent:
                self._runtime.after_wait()

    def _resolve_futures(self) -> None:
        while (item := self._resolved.get()) is not None:
            future, ref = item
            try:
                (value,) = self.get([ref], None)
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever reads the future
                future.set_exception(error)
            else:
                future.set_result(value)
                del value
            del future, ref, item
