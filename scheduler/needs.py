"""When each stored object is needed next by the tasks that wait. Pure.

Every task has a *position*: its place in the order of its owner, moved so that an owner that joins
starts where the others are, since owners take turns. Positions of one owner are in the order in
which its tasks will run; between owners they are an estimate.

Two sources: tasks that are queued here, and those still at their owners, waiting for other tasks,
of which the owners tell now and then.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

__all__ = ["Needs"]

#: marks the keys of tasks at their owners, which no key of a queued task equals
_AT_OWNER = object()


class _Task:
    __slots__ = ("object_ids", "owner", "position", "since")

    def __init__(
        self, owner: bytes, position: int, object_ids: Sequence[bytes], since: int
    ) -> None:
        self.owner = owner
        self.position = position
        self.object_ids = object_ids
        #: its uses have higher serial numbers; lower ones are of an earlier task of its key
        self.since = since


class _Owner:
    __slots__ = ("shift", "tasks")

    def __init__(self, shift: int) -> None:
        #: what is added to its orders
        self.shift = shift
        self.tasks = 0


class Needs:
    """The next use of each object.

    Attributes:
        changed: called with an object and the position of its next use, or None, at each change.
    """

    def __init__(self) -> None:
        self.changed: Callable[[bytes, int | None], None] = lambda _object_id, _position: None
        self._tasks: dict[Hashable, _Task] = {}
        #: object -> heap of (position, serial, key); stale when the task is gone or another
        self._uses: dict[bytes, list[tuple[int, int, Hashable]]] = {}
        self._serial = 0
        #: those of which something is known
        self._owners: dict[bytes, _Owner] = {}
        #: owner -> its tasks that are known to wait there: key -> order, objects
        self._at_owner: dict[bytes, dict[Hashable, tuple[int, Sequence[bytes]]]] = {}
        self._now = 0

    def add(self, key: Hashable, owner: bytes, order: int, object_ids: Iterable[bytes]) -> None:
        """A task was queued, which needs objects."""
        ids = tuple(object_ids)
        if not ids:
            return
        self._forget_at_owner(owner, key)
        self._add(key, owner, order, ids)

    def started(self, key: Hashable) -> None:
        """A task has its turn; whoever joins from now on starts at its position."""
        task = self._tasks.get(key)
        if task is not None:
            self._now = task.position

    def end(self, key: Hashable) -> None:
        """A task needs its objects no more: it finished, or will not run."""
        task = self._tasks.pop(key, None)
        if task is None:
            return
        for object_id in task.object_ids:
            self._drop_stale(object_id)
        owner = self._owners[task.owner]
        owner.tasks -= 1
        if owner.tasks == 0:
            del self._owners[task.owner]

    def waiting(self, owner: bytes, tasks: Mapping[Hashable, tuple[int, Sequence[bytes]]]) -> None:
        """Replace what is known of the tasks that wait at their owner.

        Args:
            owner: who told.
            tasks: key, as in `add`, -> its order, and what it needs of what exists already.
        """
        known = self._at_owner.get(owner, {})
        for key in [key for key, needed in known.items() if tasks.get(key) != needed]:
            self._forget_at_owner(owner, key)
        known = self._at_owner.get(owner, {})
        for key, (order, ids) in tasks.items():
            if ids and key not in known:
                self._at_owner.setdefault(owner, {})[key] = order, ids
                self._add((_AT_OWNER, key), owner, order, ids)

    def drop_owner(self, owner: bytes) -> None:
        """An owner died: none of its tasks will run."""
        for key in [key for key, task in self._tasks.items() if task.owner == owner]:
            self.end(key)
        self._at_owner.pop(owner, None)

    def next_use(self, object_id: bytes) -> int | None:
        """Return the position of the next use of an object, None when none is known."""
        uses = self._uses.get(object_id)
        return uses[0][0] if uses else None

    def _add(self, key: Hashable, owner: bytes, order: int, ids: Sequence[bytes]) -> None:
        self.end(key)
        known = self._owners.get(owner)
        if known is None:
            known = self._owners[owner] = _Owner(self._now - order)
        known.tasks += 1
        position = order + known.shift
        self._tasks[key] = _Task(owner, position, ids, self._serial)
        for object_id in ids:
            uses = self._uses.setdefault(object_id, [])
            self._serial += 1
            first = not uses or position < uses[0][0]
            heapq.heappush(uses, (position, self._serial, key))
            if first:
                self.changed(object_id, position)

    def _forget_at_owner(self, owner: bytes, key: Hashable) -> None:
        known = self._at_owner.get(owner)
        if known is not None and known.pop(key, None) is not None:
            self.end((_AT_OWNER, key))

    def _drop_stale(self, object_id: bytes) -> None:
        uses = self._uses[object_id]
        before = uses[0][0]
        while uses and not self._is_live(uses[0]):
            heapq.heappop(uses)
        if not uses:
            del self._uses[object_id]
            self.changed(object_id, None)
        elif uses[0][0] != before:
            self.changed(object_id, uses[0][0])

    def _is_live(self, use: tuple[int, int, Hashable]) -> bool:
        task = self._tasks.get(use[2])
        return task is not None and use[1] > task.since

    def validate(self) -> None:
        """Raise AssertionError where it contradicts itself."""
        expected: dict[bytes, int] = {}
        for task in self._tasks.values():
            for object_id in task.object_ids:
                expected[object_id] = min(task.position, expected.get(object_id, task.position))
        assert {oid: uses[0][0] for oid, uses in self._uses.items()} == expected
        counts = Counter(task.owner for task in self._tasks.values())
        assert {name: owner.tasks for name, owner in self._owners.items()} == counts
