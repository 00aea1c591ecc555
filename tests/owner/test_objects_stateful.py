"""Ownership under random events: freed exactly when neither a ref nor a registration is left."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from millpond.owner.inline_budget import InlineBudget
from millpond.owner.objects import PENDING, Entry, Freed, ObjectTable
from millpond.owner.refs import ObjectRef
from millpond.wire.ids import ObjectIds, ProcessId, owner_of
from millpond.wire.messages import FAILED, INLINE, STORED, Value

ME = ProcessId(b"driver-1")
PEERS = [b"worker-%d" % number for number in range(3)]

numbers = st.integers(0, 255)
peers = st.sampled_from(PEERS)
kinds = st.sampled_from([INLINE, STORED, FAILED])


class Known:
    """What the model knows of one object."""

    def __init__(self, entry: Entry, ref: ObjectRef[Any] | None) -> None:
        self.entry = entry
        self.ref = ref
        self.borrows: dict[bytes, int] = {}
        self.registered = 0
        self.state = PENDING

    def is_held(self) -> bool:
        held = self.ref is not None or bool(self.borrows)
        return held or (self.entry.owned and self.state == PENDING)


class ObjectTableMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.dead: list[Entry] = []
        self.table = ObjectTable(ME, self.dead.append, InlineBudget(1 << 30))
        self.ids = {owner: ObjectIds(ProcessId(owner)) for owner in (ME, *PEERS)}
        self.objects: dict[bytes, Known] = {}
        self.freed = Freed()
        self.expected_stored: set[bytes] = set()
        self.expected_released: dict[bytes, int] = {}

    def some(self, which: int, *, owned: bool | None = None) -> Known | None:
        known = [k for k in self.objects.values() if owned in (None, k.entry.owned)]
        return known[which % len(known)] if known else None

    def settle(self) -> None:
        """Let the table look at dead refs, and forget in the model what nobody holds."""
        while self.dead:
            self.table.free_if_unused(self.dead.pop(), self.freed)
        for object_id, known in list(self.objects.items()):
            if not known.is_held():
                del self.objects[object_id]
                if known.entry.owned and known.state == STORED:
                    self.expected_stored.add(object_id)
                if known.registered:
                    before = self.expected_released.get(object_id, 0)
                    self.expected_released[object_id] = before + known.registered

    @rule()
    def own(self) -> None:
        entry, ref = self.table.own(self.ids[ME].reserve(1))
        self.objects[entry.id] = Known(entry, ref)

    @rule(owner=peers)
    def meet(self, owner: bytes) -> None:
        ref = self.table.ref(self.ids[owner].reserve(1))
        self.objects[ref.id] = Known(ref._entry, ref)

    @precondition(lambda self: self.objects)
    @rule(which=numbers)
    def meet_again(self, which: int) -> None:
        known = self.some(which)
        assert known is not None
        ref = self.table.ref(known.entry.id)
        assert ref._entry is known.entry
        assert known.ref in (None, ref)
        known.ref = ref

    @rule(which=numbers, times=st.integers(1, 3))
    def register_here(self, which: int, times: int) -> None:
        if (known := self.some(which, owned=False)) and known.ref is not None:
            known.registered += times
            known.entry.registered += times

    @precondition(lambda self: self.objects)
    @rule(which=numbers, kind=kinds)
    def finish(self, which: int, kind: int) -> None:
        known = self.some(which)
        assert known is not None
        self.table.finish(known.entry, Value(kind))
        if known.state == PENDING:
            known.state = kind
        self.table.free_if_unused(known.entry, self.freed)
        self.settle()

    @precondition(lambda self: self.objects)
    @rule(which=numbers)
    def drop_ref(self, which: int) -> None:
        known = self.some(which)
        assert known is not None
        known.ref = None
        self.settle()

    @rule(which=numbers, borrower=peers)
    def borrow(self, which: int, borrower: bytes) -> None:
        if known := self.some(which, owned=True):
            self.table.add_borrows([known.entry.id], borrower)
            known.borrows[borrower] = known.borrows.get(borrower, 0) + 1

    @rule(which=numbers, borrower=peers, count=st.integers(1, 2))
    def release(self, which: int, borrower: bytes, count: int) -> None:
        if known := self.some(which, owned=True):
            count = min(count, known.borrows.get(borrower, 0))
            if count:
                known.borrows[borrower] -= count
                if not known.borrows[borrower]:
                    del known.borrows[borrower]
                self.table.remove_borrows([known.entry.id], [count], borrower, self.freed)
                self.settle()

    @rule(process_id=peers)
    def process_dies(self, process_id: bytes) -> None:
        self.table.drop_process(process_id, self.freed)
        for known in self.objects.values():
            if known.entry.owned:
                known.borrows.pop(process_id, None)
            elif owner_of(known.entry.id) == process_id:
                known.registered = 0
                known.state = FAILED if known.state == PENDING else known.state
        self.settle()

    @invariant()
    def exactly_what_is_held_is_known(self) -> None:
        self.table.validate()
        assert set(self.table.entries) == set(self.objects)
        for object_id, known in self.objects.items():
            entry = self.table.entries[object_id]
            assert entry is known.entry
            assert entry.state == known.state
            assert entry.registered == known.registered
            assert (entry.borrows or {}) == known.borrows

    @invariant()
    def each_is_freed_once(self) -> None:
        assert len(self.freed.stored) == len(set(self.freed.stored))
        assert set(self.freed.stored) == self.expected_stored
        released: dict[bytes, int] = {}
        for object_id, count in self.freed.released:
            if count:
                released[object_id] = released.get(object_id, 0) + count
        assert released == self.expected_released


TestObjectTable = ObjectTableMachine.TestCase
TestObjectTable.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
