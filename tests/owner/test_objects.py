from __future__ import annotations

import gc
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from millpond.errors import ObjectLostError, OwnerDiedError
from millpond.owner.inline_budget import InlineBudget
from millpond.owner.objects import PENDING, Entry, Freed, ObjectTable
from millpond.owner.refs import ObjectRef
from millpond.serialization.exceptions import deserialize_exception
from millpond.serialization.values import serialize
from millpond.wire.ids import ObjectIds, ProcessId, following
from millpond.wire.messages import FAILED, INLINE, STORED, Copies, Value

ME, OTHER = ProcessId(b"driver-1"), ProcessId(b"worker-2")
#: of an object that another process owns
THEIRS = ObjectIds(OTHER).reserve(1)


class Table:
    """An object table whose dead refs are looked at when the test says so."""

    def __init__(self) -> None:
        self.dead: list[Entry] = []
        self.table = ObjectTable(ME, self.dead.append, InlineBudget(1 << 30))
        self.ids = ObjectIds(ME)

    def own(self) -> tuple[Entry, ObjectRef[Any]]:
        return self.table.own(self.ids.reserve(1))

    def drain(self) -> Freed:
        freed = Freed()
        while self.dead:
            self.table.free_if_unused(self.dead.pop(), freed)
        self.table.validate()
        return freed

    def released_by(self, borrower: bytes, entry: Entry, count: int = 1) -> Freed:
        freed = Freed()
        self.table.remove_borrows([entry.id], [count], borrower, freed)
        return freed


@pytest.fixture
def own() -> Table:
    return Table()


def test_there_is_one_ref_of_an_object(own: Table) -> None:
    entry, ref = own.own()
    assert own.table.ref(entry.id) is ref
    theirs = own.table.ref(THEIRS)
    assert own.table.ref(THEIRS) is theirs
    assert not theirs._entry.owned


def test_a_new_ref_of_an_object_that_still_is_known_keeps_it(own: Table) -> None:
    entry, ref = own.own()
    own.table.finish(entry, Value(STORED, size=10))
    del ref
    ref = own.table.ref(entry.id)
    assert own.drain().stored == []
    assert own.table.entries == {entry.id: entry}
    del ref
    assert own.drain().stored == [entry.id]


def test_an_owned_object_is_freed_with_its_ref(own: Table) -> None:
    entry, ref = own.own()
    own.table.finish(entry, Value(STORED, size=10))
    assert own.drain().stored == []
    del ref
    assert own.drain().stored == [entry.id]
    assert own.table.entries == {}


@pytest.mark.parametrize("kind", [INLINE, FAILED])
def test_the_store_hears_nothing_of_values_that_are_not_there(own: Table, kind: int) -> None:
    entry, ref = own.own()
    own.table.finish(entry, Value(kind, b"data", 4))
    del ref
    assert own.drain().stored == []
    assert own.table.entries == {}


def test_an_object_without_a_ref_is_freed_once_it_is_finished(own: Table) -> None:
    entry, ref = own.own()
    entry.task = "the task that makes it"
    del ref
    own.drain()
    own.table.finish(entry, Value(STORED, size=10))
    freed = Freed()
    own.table.free_if_unused(entry, freed)
    assert freed.stored == [entry.id]
    own.table.free_if_unused(entry, freed)
    assert freed.stored == [entry.id]


def test_freed_actors_are_reported(own: Table) -> None:
    entry, ref = own.own()
    entry.actor = True
    own.table.finish(entry, Value(INLINE))
    del ref
    assert own.drain().actors == [entry.id]


def test_borrowers_keep_an_object(own: Table) -> None:
    entry, ref = own.own()
    own.table.finish(entry, Value(STORED, size=10))
    own.table.add_borrows([entry.id], OTHER)
    own.table.add_borrows([entry.id], OTHER)
    del ref
    assert own.drain().stored == []
    assert own.released_by(OTHER, entry).stored == []
    assert own.released_by(b"somebody", entry).stored == []
    assert own.released_by(OTHER, entry).stored == [entry.id]
    assert own.released_by(OTHER, entry).stored == []


def test_registrations_of_several_processes_leave_in_any_order() -> None:
    borrowers = [b"worker-%d" % number for number in range(4)]
    for order in permutations(borrowers):
        own = Table()
        entry, ref = own.own()
        own.table.finish(entry, Value(STORED, size=10))
        for borrower in borrowers:
            own.table.add_borrows([entry.id], borrower)
        del ref
        own.drain()
        stored = [own.released_by(borrower, entry).stored for borrower in order]
        assert stored == [[], [], [], [entry.id]]


def test_objects_of_others_and_unknown_ones_are_not_counted_here(own: Table) -> None:
    ref = own.table.ref(THEIRS)
    own.table.add_borrows([THEIRS, own.ids.reserve(1)], b"worker-3")
    assert ref._entry.borrows is None
    assert len(own.table.entries) == 1


def test_a_dropped_borrowed_object_gives_its_registrations_back(own: Table) -> None:
    ref = own.table.ref(THEIRS)
    ref._entry.registered = 3
    del ref
    assert own.drain().released == [(THEIRS, 3)]
    ref = own.table.ref(THEIRS)
    del ref
    assert own.drain().released == [(THEIRS, 0)]
    assert own.table.entries == {}


def test_a_stale_id_of_our_own_is_lost(own: Table) -> None:
    ref = own.table.ref(own.ids.reserve(1))
    assert ref._entry.state == FAILED
    with pytest.raises(ObjectLostError, match=f"{ref.hex()} is lost: its owner had already"):
        raise deserialize_exception(ref._entry.data)


def test_refs_inside_a_value_live_as_long_as_it_does(own: Table) -> None:
    inner, inner_ref = own.own()
    outer, outer_ref = own.own()
    own.table.finish(inner, Value(STORED, size=10))
    outer.contains = [inner_ref]
    own.table.finish(outer, Value(STORED, b"", 20))
    assert own.table.value_of(outer) == Value(STORED, b"", 20, [inner.id])
    del inner_ref
    assert own.drain().stored == []
    del outer_ref
    assert own.drain().stored == [outer.id, inner.id]


def test_the_value_of_a_finished_object(own: Table) -> None:
    entry, _ref = own.own()
    own.table.finish(entry, Value(INLINE, b"data", 4))
    assert own.table.value_of(entry) == Value(INLINE, b"data", 4)
    own.table.finish(entry, Value(FAILED, b"too late"))
    assert own.table.value_of(entry) == Value(INLINE, b"data", 4)


def test_waiters_hear_once_in_their_order(own: Table) -> None:
    entry, _ref = own.own()
    heard: list[tuple[str, int]] = []

    def hears(name: str) -> Callable[[Entry], None]:
        return lambda done: heard.append((name, done.state))

    for name in "abc":
        own.table.when_finished(entry, hears(name))
    assert entry.state == PENDING
    own.table.finish(entry, Value(INLINE))
    own.table.finish(entry, Value(INLINE))
    assert heard == [("a", INLINE), ("b", INLINE), ("c", INLINE)]


def test_a_long_chain_finishes_without_recursion(own: Table) -> None:
    length = 100_000
    first = own.ids.reserve(length)
    chain = [own.table.own(following(first, index)) for index in range(length)]

    def finish_next(after: int) -> Callable[[Entry], None]:
        return lambda done: own.table.finish(chain[after][0], Value(done.state, done.data))

    for index, (entry, _) in enumerate(chain[:-1]):
        own.table.when_finished(entry, finish_next(index + 1))
    own.table.finish(chain[0][0], Value(FAILED, b"why"))
    assert {(entry.state, entry.data) for entry, _ in chain} == {(FAILED, b"why")}


def test_a_long_chain_of_refs_in_values_dies_without_recursion(own: Table) -> None:
    length = 20_000
    entry, ref = own.own()
    own.table.finish(entry, Value(STORED))
    for _ in range(length - 1):
        outer, outer_ref = own.own()
        outer.contains = [ref]
        own.table.finish(outer, Value(STORED))
        entry, ref = outer, outer_ref
    del ref, outer_ref
    assert len(own.drain().stored) == length
    assert own.table.entries == {}


def test_a_dead_process_holds_nothing(own: Table) -> None:
    held, held_ref = own.own()
    dropped, dropped_ref = own.own()
    for entry in (held, dropped):
        own.table.finish(entry, Value(STORED, size=10))
        own.table.add_borrows([entry.id], OTHER)
    del dropped_ref
    own.drain()
    freed = Freed()
    own.table.drop_process(OTHER, freed)
    assert freed.stored == [dropped.id]
    assert own.table.ref(held.id) is held_ref
    assert not held.borrows


def test_what_a_dead_process_owned_is_lost_unless_its_value_is_here(own: Table) -> None:
    pending = own.table.ref(THEIRS)
    known = own.table.ref(following(THEIRS, 1))
    elsewhere = own.table.ref(ObjectIds(ProcessId(b"worker-3")).reserve(1))
    mine, _ref = own.own()
    pending._entry.registered = known._entry.registered = 1
    own.table.finish(known._entry, Value(INLINE, serialize(5, "").to_bytes()))
    heard: list[int] = []
    own.table.when_finished(pending._entry, lambda done: heard.append(done.state))
    freed = Freed()
    own.table.drop_process(OTHER, freed)
    assert heard == [FAILED]
    with pytest.raises(OwnerDiedError, match=OTHER.hex()):
        raise deserialize_exception(pending._entry.data)
    assert known._entry.state == INLINE
    assert elsewhere._entry.state == mine.state == PENDING
    del pending, known
    assert {count for _, count in own.drain().released} <= {0}


def test_dead_entries_leave_no_cycles(own: Table) -> None:
    def count() -> int:
        return sum(type(found) is Entry for found in gc.get_objects())

    gc.collect()
    before = count()
    gc.disable()
    try:
        for _ in range(100):
            entry, ref = own.own()
            own.table.finish(entry, Value(STORED))
            del ref
            own.drain()
            del entry
        assert count() == before
    finally:
        gc.enable()


HERE, THERE, YONDER = ME[:4], b"nod2", b"nod3"


def stored(own: Table, *nodes: bytes) -> tuple[Entry, ObjectRef[Any]]:
    entry, ref = own.own()
    own.table.finish(entry, Value(STORED, size=7, nodes=list(nodes)))
    return entry, ref


def test_an_object_is_where_its_owner_is_unless_it_is_said_otherwise(own: Table) -> None:
    near, _near = stored(own)
    far, _far = stored(own, THERE)
    theirs = own.table.ref(THEIRS)
    own.table.finish(theirs._entry, Value(STORED, size=7))
    assert own.table.copies([near, far, theirs._entry]) == [
        Copies(far.id, 7, [THERE]),
        Copies(theirs.id, 7, [OTHER[:4]]),
    ]


def test_all_copies_are_deleted_when_the_object_is_freed(own: Table) -> None:
    entry, ref = stored(own, THERE)
    assert own.table.add_copies([entry.id], YONDER) == []
    del ref
    freed = own.drain()
    assert freed.stored == [entry.id]
    assert freed.elsewhere == {THERE: [entry.id], YONDER: [entry.id]}


def test_a_copy_of_what_was_freed_meanwhile_is_named(own: Table) -> None:
    entry, ref = stored(own)
    del ref
    own.drain()
    assert own.table.add_copies([entry.id], THERE) == [entry.id]


def test_an_object_is_lost_only_when_no_copy_is_left(own: Table) -> None:
    entry, _ref = stored(own)
    own.table.add_copies([entry.id], THERE)
    assert own.table.drop_copies(entry, [HERE])
    assert own.table.value_of(entry).nodes == [THERE]
    assert not own.table.drop_copies(entry, [THERE])


def test_the_owners_node_is_meant_where_none_is_named(own: Table) -> None:
    entry, _ref = stored(own)
    assert not own.table.drop_copies(entry, [])


def test_when_the_node_that_kept_an_object_is_gone_another_keeps_it(own: Table) -> None:
    kept, _kept = stored(own, THERE)
    own.table.add_copies([kept.id], YONDER)
    only, _only = stored(own, THERE)
    near, _near = stored(own)
    own.table.add_copies([near.id], THERE)
    assert own.table.drop_copies_on(THERE) == {YONDER: [kept.id]}
    assert own.table.value_of(kept).nodes == [YONDER]
    assert own.table.value_of(near).nodes == [HERE]
    assert own.table.value_of(only).nodes == []


def test_the_end_of_a_node_is_the_end_of_all_its_processes(own: Table) -> None:
    entry, ref = stored(own)
    own.table.add_borrows([entry.id], OTHER)
    own.table.add_borrows([entry.id], OTHER[:4] + b"more")
    theirs = own.table.ref(THEIRS)
    del ref
    assert own.drain().stored == []
    freed = Freed()
    own.table.drop_process(OTHER[:4], freed)
    assert freed.stored == [entry.id]
    assert theirs._entry.state == FAILED
