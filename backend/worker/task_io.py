"""What goes into a task and what comes out of it: arguments, results, retries."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from ..owner.inline_budget import INLINE_LIMIT
from ..owner.store_client import BytesGone, Pin
from ..serialization.arguments import fill_slots
from ..serialization.layout import SerializedValue
from ..serialization.values import deserialize, serialize
from ..wire import messages as m
from ..wire.copies import copies_of_arguments, nodes_to_name
from ..wire.ids import following, owner_of

if TYPE_CHECKING:
    from ..owner.runtime import Runtime

__all__ = ["TaskIO"]

#: bytes of results that one answer may carry inline
_INLINE_BUDGET = 2 * INLINE_LIMIT


class TaskIO:
    """Turns messages into Python values and back."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def arguments(self, task: m.Task, brought: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return args and kwargs of a task; refs inside them are added to ``brought``.

        Raises:
            ObjectLostError: a stored argument is gone and cannot be rebuilt.
        """
        if not task.arguments and not task.payload:
            return (), {}
        buffers = self._buffers(task)
        payload: Any = buffers.pop() if task.payload_stored else task.payload
        values = []
        for buffer in buffers:
            value, refs = deserialize(buffer)
            values.append(value)
            brought += refs
        args, kwargs, refs = fill_slots(payload, values)
        brought += refs
        return args, kwargs

    def _buffers(self, task: m.Task) -> list[Any]:
        """Return the bytes of each argument, pinning what the node has not pinned for us."""
        store = self._runtime.store
        unpinned = [
            argument
            for argument in task.arguments
            if argument.value.kind == m.STORED and argument.location is None
        ]
        pinned, lost = self._pin(unpinned) if unpinned else ([], {})
        if lost:
            del pinned
            return self._rebuilt_buffers(task)
        pins = iter(pinned)
        buffers: list[Any] = []
        try:
            for argument in task.arguments:
                if argument.value.kind != m.STORED:
                    buffers.append(argument.value.data)
                elif argument.location is not None:
                    buffers.append(store.adopt(argument.object_id, argument.location).buffer())
                else:
                    buffers.append(next(pins).buffer())
        except BytesGone:  # asked for again, it is found lost, and its owner is told
            del buffers, pins, pinned
            return self._rebuilt_buffers(task)
        return buffers

    def _pin(self, arguments: list[m.Argument]) -> tuple[list[Pin], dict[bytes, str]]:
        here = self._runtime.node_id
        copies = copies_of_arguments(arguments, here)
        return self._runtime.store.pin([each.object_id for each in arguments], copies)

    def _rebuilt_buffers(self, task: m.Task) -> list[Any]:
        """Return the bytes of each argument once the owners have rebuilt what is lost."""
        runtime = self._runtime
        refs = [runtime.ref(argument.object_id) for argument in task.arguments]
        with runtime.lock:
            for ref, argument in zip(refs, task.arguments, strict=True):
                runtime.objects.finish(ref._entry, argument.value)
        return runtime.access.buffers([ref._entry for ref in refs], None)

    def results(self, task: m.Task, result: Any) -> list[m.Value]:
        """Serialize what a task returned; large values are in the store when this returns.

        Raises:
            SerializationError: a result cannot be pickled.
            ValueError: the task does not return as many values as declared.
        """
        returned = self._split(task, result)
        values: list[m.Value] = []
        stored: list[tuple[bytes, SerializedValue]] = []
        budget = _INLINE_BUDGET
        wanted = set(task.wanted)
        for index, item in enumerate(returned):
            if wanted and index not in wanted:
                continue
            what = f"the result of task {task.name}"
            serialized = serialize(item, f"{what} [{index}]" if len(returned) > 1 else what)
            contained = [ref.id for ref in serialized.contained]
            if contained:
                self._register_for(task.caller, contained)
            if serialized.size < task.inline_limit and serialized.size <= budget:
                budget -= serialized.size
                data = serialized.to_bytes()
                values.append(m.Value(m.INLINE, data, len(data), contained))
            else:
                nodes = nodes_to_name(task.caller, self._runtime.node_id)
                stored.append((following(task.task_id, index), serialized))
                values.append(m.Value(m.STORED, b"", serialized.size, contained, 0, nodes))
        if stored:
            present = self._runtime.store.write(stored, rebuild=bool(task.wanted))
            if task.wanted:
                rebuilt = [value for value in values if value.kind == m.STORED]
                for value, (object_id, _) in zip(rebuilt, stored, strict=True):
                    value.size = present.get(object_id, value.size)
                    value.rebuilds = int(object_id not in present)
        return values

    def _split(self, task: m.Task, result: Any) -> list[Any]:
        if task.num_returns == 1:
            return [result]
        if task.num_returns == 0:
            return []
        try:
            returned = list(result)
        except TypeError:
            raise ValueError(
                f"task {task.name} has num_returns={task.num_returns} but returned a "
                f"{type(result).__qualname__}, which is not iterable"
            ) from None
        if len(returned) != task.num_returns:
            raise ValueError(
                f"task {task.name} has num_returns={task.num_returns} but returned "
                f"{len(returned)} values"
            )
        return returned

    def _register_for(self, caller: bytes, contained: list[bytes]) -> None:
        """Count the caller as a holder of refs inside a result, before it even knows of them."""
        mine = [
            object_id for object_id in contained if owner_of(object_id) == self._runtime.process_id
        ]
        with self._runtime.lock:
            self._runtime.objects.add_borrows(mine, caller)
        by_owner: dict[bytes, list[bytes]] = {}
        for object_id in contained:
            owner = owner_of(object_id)
            if owner not in (self._runtime.process_id, caller):
                by_owner.setdefault(owner, []).append(object_id)
        self._runtime.borrow_for(by_owner, caller)

    def keep_brought(self, task: m.Task, brought: list[Any]) -> None:
        """Register this process for refs that came with the arguments and outlive the task."""
        if not brought:
            return
        ids = [ref.id for ref in brought]
        brought.clear()
        with self._runtime.lock:
            entries = [self._runtime.objects.entries.get(object_id) for object_id in ids]
            refs = [entry.handle() for entry in entries if entry is not None]
        self._runtime.register_borrowed([ref for ref in refs if ref is not None])

    def should_retry(self, task: m.Task, error: BaseException) -> bool:
        """Whether the task asked to be tried again after this exception."""
        if not task.retry_exceptions or not isinstance(error, Exception):
            return False
        if task.retry_exceptions == b"*":
            return True
        try:
            return isinstance(error, pickle.loads(task.retry_exceptions))
        except Exception:  # noqa: BLE001 - types that cannot even be imported here were not raised
            return False
