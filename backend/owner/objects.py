"""The table of every object this process owns or borrows. Pure: no sockets, no threads.

An *owned* object lives while this process has its ref, or other processes have registered as
borrowers. A *borrowed* object is registered with its owner at the latest when the task that
brought it ends (until then the caller of the task holds it); dropping it gives the
registrations back. Registrations are counted, so those of several messages add up.

States: PENDING -> INLINE | STORED | FAILED. All calls happen under the runtime's lock.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from millpond.scheduler.lines import Line

from ..errors import ObjectLostError, OwnerDiedError
from ..serialization.exceptions import serialize_error
from ..wire.copies import copies_of, places
from ..wire.ids import node_of, owner_of
from ..wire.messages import FAILED, INLINE, STORED, Copies, Value
from .call_sites import Site
from .inline_budget import InlineBudget
from .lineage import Recipe
from .refs import ObjectRef

__all__ = [
    "PENDING",
    "Entry",
    "Freed",
    "ObjectTable",
    "dead",
    "died_value",
    "lost_value",
    "tried_from",
]

PENDING = -1


class Entry:
    """What this process knows of one object."""

    __slots__ = (
        "actor",
        "borrows",
        "contains",
        "data",
        "handle",
        "id",
        "line",
        "lineage",
        "nodes",
        "origin",
        "owned",
        "pin",
        "rebuilds",
        "registered",
        "size",
        "state",
        "task",
        "waiters",
    )

    def __init__(self, object_id: bytes, *, owned: bool) -> None:
        self.id = object_id
        self.owned = owned
        self.state = PENDING
        #: the serialized value (INLINE) or exception (FAILED)
        self.data = b""
        self.size = 0
        #: stored: the nodes that have the bytes, first the one that keeps them, while the others
        #: may drop them; None: that of its owner
        self.nodes: list[bytes] | None = None
        #: weak reference to the one ref instance
        self.handle: Callable[[], ObjectRef[Any] | None] = dead
        #: called with the entry, under the lock, when it is finished
        self.waiters: list[Callable[[Entry], None]] | None = None
        #: owned: registrations of other processes
        self.borrows: dict[bytes, int] | None = None
        #: borrowed: registrations that this process must give back
        self.registered = 0
        #: refs inside the value, kept alive with it
        self.contains: list[ObjectRef[Any]] | None = None
        #: owned and stored: what made it, and where in the user's program
        self.origin: tuple[str, Site | None] | None = None
        #: the task that will finish it, or rebuild it
        self.task: Any = None
        #: how to rebuild it, or why that cannot be; empty: it was put
        self.lineage: Recipe | str = ""
        #: owned, stored, and made by a task: the line in the order of tasks that it was made in
        self.line: Line | None = None
        #: times that it was rebuilt
        self.rebuilds = 0
        #: weak reference to the live pin of this process
        self.pin: Callable[[], Any] = dead
        #: the object is the life of an actor
        self.actor = False


def dead() -> None:
    """Stand in for a weak reference to what is gone."""


class Handle(weakref.ref[ObjectRef[Any]]):
    """Weak reference to the one ref of an entry.

    A callback of a weak reference, unlike ``__del__``, runs when nobody can get hold of the
    dying object any more.
    """

    __slots__ = ("entry",)
    entry: Entry


class Freed:
    """What must be told to others after objects died."""

    __slots__ = ("actors", "elsewhere", "recipes", "released", "stored")

    def __init__(self) -> None:
        #: ids to delete from the store
        self.stored: list[bytes] = []
        #: the same where other nodes have them too: node -> ids
        self.elsewhere: dict[bytes, list[bytes]] = {}
        #: borrowed ones: (id, registrations to give back to the owner, if any)
        self.released: list[tuple[bytes, int]] = []
        #: actors whose last handle died
        self.actors: list[bytes] = []
        #: what described the making of them
        self.recipes: list[Recipe] = []


class ObjectTable:
    """All entries of one process.

    Args:
        process_id: of this process.
        dropped: called with the entry of a ref that died; must be safe inside a destructor.
        inline: counts the values that are kept here.
    """

    def __init__(
        self, process_id: bytes, dropped: Callable[[Any], None], inline: InlineBudget
    ) -> None:
        self.process_id = process_id
        self.inline = inline
        self._ref_died: Callable[[Handle], None] = lambda handle: dropped(handle.entry)
        self.entries: dict[bytes, Entry] = {}
        #: pins of freed objects that this process goes on to read; each knows its origin
        self.still_read: weakref.WeakValueDictionary[bytes, Any] = weakref.WeakValueDictionary()
        self._finished: deque[Entry] = deque()
        self._finishing = False

    def own(self, object_id: bytes) -> tuple[Entry, ObjectRef[Any]]:
        """Add a new owned, pending object; return it with its ref."""
        entry = Entry(object_id, owned=True)
        self.entries[object_id] = entry
        return entry, self._new_ref(entry)

    def ref(self, object_id: bytes) -> ObjectRef[Any]:
        """Return the one ref of an object, making an entry for one not known yet."""
        entry = self.entries.get(object_id)
        if entry is None:
            owned = owner_of(object_id) == self.process_id
            entry = self.entries[object_id] = Entry(object_id, owned=owned)
            if owned:
                # Our own object came back after we freed it: only a bug or a stale message can.
                self.finish(entry, lost_value(object_id, "its owner had already freed it"))
        ref = entry.handle()
        return self._new_ref(entry) if ref is None else ref

    def revive(self, object_id: bytes) -> ObjectRef[Any]:
        """Add an object again that was freed, pending; return its ref."""
        entry = Entry(object_id, owned=owner_of(object_id) == self.process_id)
        self.entries[object_id] = entry
        return self._new_ref(entry)

    def _new_ref(self, entry: Entry) -> ObjectRef[Any]:
        ref: ObjectRef[Any] = ObjectRef(entry)
        handle = entry.handle = Handle(ref, self._ref_died)
        handle.entry = entry
        return ref

    def finish(self, entry: Entry, value: Value) -> None:
        """Give a pending object its outcome and tell who waits.

        Waiters that finish other objects in turn are served from a queue, not by recursion, so
        a chain of any length is fine.
        """
        if entry.state == PENDING:
            self.replace(entry, value)

    def replace(self, entry: Entry, value: Value) -> None:
        """Give an object that was lost its new outcome and tell who waits."""
        entry.state = value.kind
        entry.data = value.data
        entry.size = value.size
        entry.nodes = value.nodes or None
        if value.data and entry.id in self.entries:
            self.inline.used += len(value.data)
        entry.rebuilds = value.rebuilds
        entry.task = None
        if entry.waiters is not None:
            self._finished.append(entry)
            if not self._finishing:
                self._tell_waiters()

    def _tell_waiters(self) -> None:
        self._finishing = True
        try:
            while self._finished:
                done = self._finished.popleft()
                waiters, done.waiters = done.waiters, None
                for waiter in waiters or ():
                    waiter(done)
        finally:
            self._finishing = False

    def value_of(self, entry: Entry) -> Value:
        """Return a finished object as a message part."""
        contained = [ref.id for ref in entry.contains] if entry.contains else []
        nodes = entry.nodes or []
        return Value(entry.state, entry.data, entry.size, contained, entry.rebuilds, nodes)

    def when_finished(self, entry: Entry, waiter: Callable[[Entry], None]) -> None:
        """Call ``waiter`` once the object, which is pending or being rebuilt, is finished."""
        if entry.waiters is None:
            entry.waiters = [waiter]
        else:
            entry.waiters.append(waiter)

    # --- copies on other nodes ---

    def copies(self, entries: Iterable[Entry]) -> list[Copies]:
        """Return where those of these stored objects are that may not be on our own node."""
        stored = ((entry.id, entry.size, entry.nodes) for entry in entries)
        return copies_of(stored, node_of(self.process_id))

    def add_copies(self, object_ids: Iterable[bytes], node_id: bytes) -> list[bytes]:
        """Note that a node has copies of owned objects; return those that were freed meanwhile."""
        freed = []
        for object_id in object_ids:
            entry = self.entries.get(object_id)
            if entry is None or entry.state != STORED:
                freed.append(object_id)
                continue
            known = places(object_id, entry.nodes)
            if node_id not in known:
                entry.nodes = [*known, node_id]
        return freed

    def drop_copies(self, entry: Entry, nodes: Iterable[bytes]) -> bool:
        """These nodes turned out not to have an object; whether others have it."""
        missing = frozenset(nodes) or {node_of(entry.id)}
        left = [node_id for node_id in places(entry.id, entry.nodes) if node_id not in missing]
        if left:
            entry.nodes = left
        return bool(left)

    def drop_copies_on(self, node_id: bytes) -> dict[bytes, list[bytes]]:
        """A node is gone, with all copies there.

        Returns:
            Objects that it kept, and of which there are secondary copies: a node that has one, for
            which it must not be secondary any more -> its objects.
        """
        keepers: dict[bytes, list[bytes]] = {}
        for entry in self.entries.values():
            if entry.nodes is None or node_id not in entry.nodes:
                continue
            was_kept_there = entry.nodes[0] == node_id
            left = [each for each in entry.nodes if each != node_id]
            entry.nodes = left or None
            if left and was_kept_there and entry.owned:
                keepers.setdefault(left[0], []).append(entry.id)
        return keepers

    # --- lifetime ---

    def add_borrows(self, object_ids: Iterable[bytes], borrower: bytes) -> list[bytes]:
        """Count ``borrower`` once more as a holder of owned objects; return those that are gone."""
        missing = []
        for object_id in object_ids:
            entry = self.entries.get(object_id)
            if entry is not None and entry.owned:
                borrows = entry.borrows = entry.borrows if entry.borrows is not None else {}
                borrows[borrower] = borrows.get(borrower, 0) + 1
            else:
                missing.append(object_id)
        return missing

    def remove_borrows(
        self, object_ids: Iterable[bytes], counts: Iterable[int], borrower: bytes, freed: Freed
    ) -> None:
        """Take registrations back; what nobody holds any more is freed."""
        for object_id, count in zip(object_ids, counts, strict=True):
            entry = self.entries.get(object_id)
            if entry is None or not entry.borrows:
                continue
            left = entry.borrows.get(borrower, 0) - count
            if left > 0:
                entry.borrows[borrower] = left
            else:
                entry.borrows.pop(borrower, None)
            self.free_if_unused(entry, freed)

    def drop_process(self, process_id: bytes, freed: Freed) -> None:
        """A process died: it borrows nothing, and what it owned is lost.

        Args:
            process_id: of the process; or of a node, of which all processes died.
            freed: what must be told to others.
        """
        for entry in list(self.entries.values()):
            if entry.owned:
                for borrower in list(entry.borrows or ()):
                    if borrower.startswith(process_id):
                        del entry.borrows[borrower]  # type: ignore[union-attr]
                        self.free_if_unused(entry, freed)
            elif entry.id.startswith(process_id):
                entry.registered = 0
                reason = f"the process that owned it ({owner_of(entry.id).hex()}) died"
                if entry.state == PENDING or entry.waiters:
                    self.replace(entry, died_value(entry.id, reason))

    def is_owner_for_others(self) -> bool:
        """Whether other processes hold objects of this one."""
        return any(entry.owned and entry.borrows for entry in self.entries.values())

    def free_if_unused(self, entry: Entry, freed: Freed) -> None:
        """Free an object that neither this process nor a borrower holds."""
        if entry.handle() is not None or entry.borrows or entry.task is not None:
            return
        if self.entries.get(entry.id) is not entry:
            return
        if not entry.owned:
            self._remove(entry)
            freed.released.append((entry.id, entry.registered))
            return
        if entry.state == PENDING:
            return  # being written by put or a task; looked at again when finished
        self._remove(entry)
        entry.contains = None
        if entry.state == STORED:
            freed.stored.append(entry.id)
            for node_id in entry.nodes or ():
                freed.elsewhere.setdefault(node_id, []).append(entry.id)
            pin = entry.pin()
            if pin is not None and entry.origin is not None:
                pin.origin = entry.origin
                self.still_read[entry.id] = pin
        if isinstance(entry.lineage, Recipe):
            freed.recipes.append(entry.lineage)
        if entry.actor:
            freed.actors.append(entry.id)

    def _remove(self, entry: Entry) -> None:
        del self.entries[entry.id]
        self.inline.used -= len(entry.data)
        entry.handle = dead  # breaks the cycle of the two

    def validate(self) -> None:
        """Raise AssertionError where an entry contradicts itself."""
        kept = sum(len(entry.data) for entry in self.entries.values())
        assert self.inline.used >= kept, (self.inline.used, kept)
        for object_id, entry in self.entries.items():
            assert entry.id == object_id, (object_id, entry.id)
            assert entry.state in (PENDING, INLINE, STORED, FAILED), entry.state
            assert entry.owned or not entry.borrows, object_id
            assert not entry.owned or not entry.registered, object_id
            being_rebuilt = entry.state == STORED and (entry.task is not None or not entry.owned)
            assert entry.state == PENDING or being_rebuilt or not entry.waiters, object_id
            for count in (entry.borrows or {}).values():
                assert count > 0, (object_id, entry.borrows)


def tried_from(node_id: bytes, nodes: list[bytes]) -> list[bytes]:
    """Return where a reader looked in vain: at its own node if that has the bytes, else at all."""
    return [node_id] if node_id in nodes else nodes


def lost_value(object_id: bytes, reason: str) -> Value:
    """Return the outcome of an object whose bytes are gone."""
    error = ObjectLostError(f"object {object_id.hex()} is lost: {reason}")
    return Value(FAILED, serialize_error(error))


def died_value(object_id: bytes, reason: str) -> Value:
    """Return the outcome of an object whose owner is gone."""
    error = OwnerDiedError(f"object {object_id.hex()} is lost: {reason}")
    return Value(FAILED, serialize_error(error))
