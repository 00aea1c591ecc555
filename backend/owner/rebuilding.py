"""Rebuilds lost objects: runs the tasks again that made them.

A *rerun* is a new attempt of a finished task, under the same ids. It goes through ``submission``
like any task, but always by way of the node, which has then dealt with everything that this
process said about the old objects. Arguments that were freed are made again first, and freed
again afterwards; those that turn out to be lost, too, are found by the node when it pins them.
So nothing here is recursive: plans are made over a worklist, the rest is one event after another.

While it is rebuilt an object stays STORED: it is finished, as before, and only who found its
bytes gone waits. The rerun offers all stored results of its task to the node, which takes those
that cannot be read any more. Methods are called under the runtime's lock.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..errors import SpillUnavailableError
from ..wire import messages as m
from ..wire.copies import places
from ..wire.ids import following
from .lineage import Lineage, Recipe, why_not
from .objects import PENDING, Entry, Freed, lost_value
from .tasks import PendingTask

if TYPE_CHECKING:
    from .refs import ObjectRef
    from .runtime import Runtime

__all__ = ["MAX_REBUILDS", "Rebuilding"]

_log = logging.getLogger("millpond.owner")

#: times that one object is rebuilt: who loses it again and again has a broken disk
MAX_REBUILDS = 3


class Rebuilding:
    """The lineage of one owner, and its reruns."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._objects = runtime.objects
        self.lineage = Lineage()
        #: task id -> its rerun
        self._running: dict[bytes, PendingTask] = {}
        #: task id -> results needed after its rerun began, and what became of them
        self._later: dict[bytes, dict[bytes, str]] = {}

    def lost(self, entry: Entry, seen: int, reason: str, tried: list[bytes]) -> bool:
        """Somebody found that the bytes of a stored object are gone.

        Args:
            entry: the object, which the caller holds.
            seen: how often it had been rebuilt when it was looked for.
            reason: what became of the bytes.
            tried: the nodes that do not have them; empty: that of the owner.

        Returns:
            True when the object is being rebuilt: its waiters are called when that has ended.
            False when it has a new outcome already: new bytes, other nodes to have them from, or
            an error.

        Raises:
            SpillUnavailableError: its bytes are not gone, but cannot be read now.
        """
        if entry.state != m.STORED or entry.rebuilds > seen:
            return False
        if reason.startswith(m.UNREACHABLE):
            why = reason.removeprefix(m.UNREACHABLE)
            raise SpillUnavailableError(
                f"object {entry.id.hex()} cannot be read now: {why}. It is not lost: once the "
                "storage answers again, its ref can be used again"
            )
        if not entry.owned:
            return self._runtime.report_lost(entry, reason, tried)
        if entry.task is None:
            if self._objects.drop_copies(entry, tried):
                self._settle_copies(entry, tried)
                return False
            self._rebuild(entry, reason)
        # Somebody may have asked for the outcome of a rerun that failed at once.
        return entry.task is not None

    def _rebuild(self, entry: Entry, reason: str) -> None:
        recipe = entry.lineage
        if not isinstance(recipe, Recipe):
            self._give_up(entry, reason, why_not(entry))
            return
        if entry.rebuilds >= MAX_REBUILDS:
            self._give_up(entry, reason, f"it was rebuilt {entry.rebuilds} times already")
            return
        plan = self.lineage.plan(recipe, self._objects.entries.__contains__)
        if plan.obstacle:
            self._give_up(entry, reason, plan.obstacle)
            return
        revived: list[ObjectRef[Any]] = []
        for source in plan.values:
            assert source.value is not None
            revived.append(self._objects.revive(source.object_id))
            value = m.Value(m.INLINE, source.value, len(source.value))
            self._objects.finish(revived[-1]._entry, value)
        wanted = {recipe.task_id: (recipe, {entry.id: reason})}
        for object_id, maker in plan.outputs.items():
            ref = self._objects.revive(object_id)
            ref._entry.lineage = maker
            self.lineage.hold(maker)
            revived.append(ref)
            wanted.setdefault(maker.task_id, (maker, {}))[1][object_id] = "it was freed"
        _log.warning(
            "object %s is lost (%s): running task %s again, and %d before it",
            entry.id.hex(),
            reason,
            recipe.name,
            len(wanted) - 1,
        )
        for maker, lost in wanted.values():
            running = self._running.get(maker.task_id)
            if running is None:
                self._rerun(maker, lost)
            else:
                self._later.setdefault(maker.task_id, {}).update(lost)
                for object_id in lost:
                    self._objects.entries[object_id].task = running

    def _rerun(self, recipe: Recipe, lost: dict[bytes, str]) -> None:
        task = PendingTask(
            recipe.task_id,
            recipe.function_id,
            recipe.name,
            recipe.shape,
            retries_left=recipe.max_retries,
            retry_exceptions=recipe.retry_exceptions,
            environment=recipe.environment,
        )
        task.rerun_of = recipe
        task.lost = frozenset(lost)
        task.attempt = recipe.attempt + 1
        task.payload = recipe.payload
        task.num_returns = recipe.num_returns
        task.arguments = [self._objects.ref(source.object_id) for source in recipe.arguments]
        task.held = [self._objects.ref(source.object_id) for source in recipe.held]
        for index in range(recipe.num_returns):
            entry = self._objects.entries.get(following(recipe.task_id, index))
            if entry is None or entry.task is not None:
                continue
            if entry.id in lost or (entry.state == m.STORED and entry.lineage is recipe):
                entry.task = task
                task.returns.append(entry)
                task.wanted.append(index)
        self._running[recipe.task_id] = task
        self._runtime.submission.resubmit(task)

    # --- outcomes ---

    def settle(self, task: PendingTask, entry: Entry, value: m.Value) -> None:
        """Give a result of a rerun its new outcome, or leave it as it was."""
        contains = [self._runtime.submission.take_over(held) for held in value.contained]
        if entry.state == PENDING:
            entry.contains = contains or None
            self._objects.finish(entry, value)
            return
        written = value.kind == m.STORED and value.rebuilds > 0
        if entry.id not in task.lost and not written:
            self._objects.replace(entry, self._objects.value_of(entry))
            return
        if value.kind != m.STORED:
            self._delete(entry)
        if written or value.kind != m.STORED:
            entry.contains = contains or None
        nodes = self._nodes_after(task, entry, value) if value.kind == m.STORED else []
        new = m.Value(value.kind, value.data, value.size, [], entry.rebuilds + 1, nodes)
        self._objects.replace(entry, new)

    def finished(self, task: PendingTask) -> None:
        """A rerun has ended, and its results are settled."""
        assert task.rerun_of is not None
        task.rerun_of.attempt = task.attempt
        del self._running[task.task_id]
        freed = Freed()
        for object_id, reason in self._later.pop(task.task_id, {}).items():
            entry = self._objects.entries[object_id]
            entry.task = None
            self._rebuild(entry, reason)
            self._objects.free_if_unused(entry, freed)
        self._runtime.forget(freed)

    def _nodes_after(self, task: PendingTask, entry: Entry, value: m.Value) -> list[bytes]:
        """Return the nodes that have a result of a rerun: where it ran, and where it was not lost.

        A copy that nobody could read goes: the next reader must not find it.
        """
        where = places(entry.id, value.nodes)
        before = [node_id for node_id in places(entry.id, entry.nodes) if node_id not in where]
        if entry.id not in task.lost:
            return [*where, *before] if before else value.nodes
        self._runtime.delete_elsewhere({node_id: [entry.id] for node_id in before})
        return value.nodes

    def _settle_copies(self, entry: Entry, missing: list[bytes]) -> None:
        """Have one of the nodes that still have an object keep it, and forget damaged copies."""
        self._runtime.tell_node(places(entry.id, entry.nodes)[0], m.KeepObjects([entry.id]))
        for node_id in missing:
            self._runtime.tell_node(node_id, m.DeleteObjects([entry.id]))

    def _delete(self, entry: Entry) -> None:
        self._runtime.node.send(m.DeleteObjects([entry.id]))
        self._runtime.delete_elsewhere({node_id: [entry.id] for node_id in entry.nodes or ()})

    def _give_up(self, entry: Entry, reason: str, obstacle: str) -> None:
        if entry.state == m.STORED:
            self._delete(entry)
        error = lost_value(entry.id, f"{reason}; it cannot be rebuilt: {obstacle}")
        self._objects.replace(entry, error)

    def validate(self) -> None:
        """Raise AssertionError where the state contradicts itself."""
        self.lineage.validate(self._objects.entries.values())
        assert self._later.keys() <= self._running.keys()
        for task in self._running.values():
            for entry in task.returns:
                assert entry.task is task, (task.name, entry.id)
