"""An owner with a simulated node, store and worker, whose objects can be lost."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from millpond.owner.alone import Alone
from millpond.owner.inline_budget import InlineBudget
from millpond.owner.objects import Entry, Freed, ObjectTable
from millpond.owner.rebuilding import Rebuilding
from millpond.owner.refs import ObjectRef
from millpond.owner.state_lock import StateLock
from millpond.owner.submission import Submission
from millpond.owner.tasks import PendingTask
from millpond.serialization.exceptions import deserialize_exception
from millpond.wire import messages as m
from millpond.wire.ids import ObjectIds, ProcessId, following, node_of

ME = ProcessId(b"driver-1")
Ref = ObjectRef[Any]

#: what has damaged bytes in the store
DAMAGED = b"damaged"


class NoActors:
    """In the place of ``ActorCalls``."""

    def dispatch(self) -> None: ...

    def forget(self, actor_id: bytes) -> None: ...


class Owner:
    """A runtime's state with a simulated node, store, and worker.

    The function id of a task says of each of its results whether it is stored (``s``) or inline
    (``i``). A result is a digest of the task's id, its position, and the arguments' bytes.
    """

    def __init__(self) -> None:
        self.process_id = ME
        self.node_id = node_of(ME)
        self.failure = None
        self.task_memory = 0
        self.lock = StateLock()
        self.dead: list[Entry] = []
        self.ids = ObjectIds(ME)
        self.objects = ObjectTable(ME, self.dead.append, InlineBudget(1 << 30))
        self.actor_calls = NoActors()
        self.alone = Alone(self)  # type: ignore[arg-type]
        self.submission = Submission(self)  # type: ignore[arg-type]
        self.rebuilding = Rebuilding(self)  # type: ignore[arg-type]
        self.node = self
        self.store: dict[bytes, bytes] = {}
        self.queue: list[m.Task] = []
        self.runs: Counter[bytes] = Counter()
        self._leases = 0

    # --- what the engine calls ---

    def send(self, message: Any) -> bool:
        if isinstance(message, m.SubmitTask):
            self.queue.append(message.task)
        elif isinstance(message, m.RunTasks):
            self.queue += message.tasks
        elif isinstance(message, m.DeleteObjects):
            for object_id in message.object_ids:
                self.store.pop(object_id, None)
        return True

    def peer(self, process_id: bytes) -> Owner:
        return self

    def tell_node(self, any_id: bytes, message: Any) -> None:
        assert node_of(any_id) == self.node_id
        self.send(message)

    def delete_elsewhere(self, copies: dict[bytes, list[bytes]]) -> None:
        assert not copies, "there is one node"

    def start_resolving(self, entry: Entry) -> None:
        assert entry.owned

    def forget(self, freed: Freed) -> None:
        for recipe in freed.recipes:
            self.rebuilding.lineage.release(recipe)
        if freed.stored:
            self.send(m.DeleteObjects(freed.stored))

    def report_lost(self, entry: Entry, reason: str, tried: list[bytes]) -> bool:
        raise AssertionError("everything here is owned")

    # --- the user ---

    def put(self, data: bytes) -> Ref:
        entry, ref = self.objects.own(self.ids.reserve(1))
        self.store[entry.id] = data
        self.objects.finish(entry, m.Value(m.STORED, b"", len(data)))
        return ref

    def submit(
        self,
        kinds: str,
        arguments: Sequence[Ref] = (),
        held: Sequence[Ref] = (),
        *,
        max_retries: int = 3,
        kind: int = m.FUNCTION,
        payload: bytes = b"",
    ) -> list[Ref]:
        task = PendingTask(
            self.ids.reserve(len(kinds)), kinds.encode(), "f", b"", kind=kind, retries_left=-1
        )
        task.max_retries = max_retries
        task.arguments, task.held, task.payload = list(arguments), list(held), payload
        return self.submission.submit(task, len(kinds))

    def read(self, ref: Ref) -> bytes | None:
        """Return a finished object's bytes; None when it has to be rebuilt."""
        entry = ref._entry
        if entry.state == m.FAILED:
            raise deserialize_exception(entry.data)
        if entry.state == m.INLINE:
            return entry.data
        found = self.store.get(entry.id, DAMAGED)
        if found is not DAMAGED:
            return found
        with self.lock:
            self.rebuilding.lost(entry, entry.rebuilds, "it is damaged", [])
        return None

    def get(self, ref: Ref) -> bytes:
        self.run()
        while (found := self.read(ref)) is None:
            self.run()
        return found

    def damage(self, *refs: Ref) -> None:
        for ref in refs:
            assert ref.id in self.store
            self.store[ref.id] = DAMAGED

    # --- the node and the worker ---

    def run(self) -> None:
        while self.step():
            pass

    def step(self, index: int = 0, *, die: bool = False) -> bool:
        """Do what is due; then run or lose one task. False when there is nothing to do."""
        self.drain()
        if not self.queue:
            self._leases += 1
            grant = m.LeaseGranted(self._leases, b"", b"drivwork")
            if b"" in self.submission._pools:
                self.submission._on_lease_granted(None, grant)  # type: ignore[arg-type]
        if not self.queue:
            return False
        task = self.queue.pop(index % len(self.queue))
        lost = [a for a in task.arguments if a.value.kind == m.STORED and self.is_lost(a.object_id)]
        if lost:
            self.submission._on_task_lost(
                None,  # type: ignore[arg-type]
                m.TaskLost(task.task_id, task.attempt, "it is damaged", lost=lost),
            )
        elif die and (task.wanted or any(a.value.kind == m.STORED for a in task.arguments)):
            message = m.TaskLost(task.task_id, task.attempt, "it died")
            self.submission._on_task_lost(None, message)  # type: ignore[arg-type]
        else:
            self.runs[task.task_id] += 1
            result = m.TaskResult(task.task_id, task.attempt, self._values(task))
            self.submission._on_tasks_done(None, m.TasksDone([result]))  # type: ignore[arg-type]
        return True

    def is_lost(self, object_id: bytes) -> bool:
        return self.store.get(object_id, DAMAGED) is DAMAGED

    def _values(self, task: m.Task) -> list[m.Value]:
        arguments = [
            a.value.data if a.value.kind == m.INLINE else self.store[a.object_id]
            for a in task.arguments
        ]
        values = []
        for index in task.wanted or range(task.num_returns):
            object_id, data = following(task.task_id, index), result(task.task_id, index, arguments)
            if task.function_id[index : index + 1] == b"i":
                values.append(m.Value(m.INLINE, data, len(data)))
                continue
            write = not task.wanted or self.is_lost(object_id)
            if write:
                self.store[object_id] = data
            rebuilds = int(write and bool(task.wanted))
            values.append(m.Value(m.STORED, b"", len(data), [], rebuilds))
        return values

    def drain(self) -> None:
        freed = Freed()
        while self.dead:
            self.objects.free_if_unused(self.dead.pop(), freed)
        self.forget(freed)

    def validate(self) -> None:
        self.drain()
        self.objects.validate()
        self.submission.validate()
        self.rebuilding.validate()

    def assert_empty(self) -> None:
        """Nothing is left of anything."""
        self.run()
        self.validate()
        assert self.objects.entries == {}
        assert self.store == {}
        assert len(self.rebuilding.lineage) == self.rebuilding.lineage.size == 0
        assert not self.rebuilding._running
        assert not self.rebuilding._later


def result(task_id: bytes, index: int, arguments: Sequence[bytes]) -> bytes:
    digest = hashlib.blake2b(task_id + bytes([index]), digest_size=16)
    for argument in arguments:
        digest.update(argument)
    return digest.digest()
