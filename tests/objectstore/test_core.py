"""What the store's core does, one situation at a time: the lives of objects and of clients."""

from __future__ import annotations

import pytest

from millpond.objectstore.commands import (
    CreateGranted,
    CreateRefused,
    DeleteFile,
    InArena,
    InFile,
    Missing,
    PinGranted,
    Refusal,
)
from millpond.objectstore.states import InvalidTransition, ObjectState
from tests.objectstore.small_store import ME, UNIT, YOU, Store, block, file, oid, restore, spill

# -- the usual life --


def test_create_seal_pin_unpin_delete() -> None:
    store = Store(4)
    assert store.create(1, 2) == [CreateGranted(1, oid(1), block(0, 2))]
    assert store.core.seal(oid(1)) == []
    assert store.pin(1, YOU) == [PinGranted(2, oid(1), block(0, 2))]
    assert store.core.unpin(oid(1), YOU) == []
    assert store.core.delete(oid(1)) == []
    assert store.core.contents() == []
    assert store.used == 0


def test_a_pin_waits_for_the_seal() -> None:
    store = Store(4)
    store.create(1)
    assert store.pin(1) == []
    assert store.pin(1, YOU) == []
    assert store.core.seal(oid(1)) == [
        PinGranted(2, oid(1), block(0)),
        PinGranted(3, oid(1), block(0)),
    ]
    (row,) = store.core.contents()
    assert row.pins == {ME: 1, YOU: 1}


def test_unknown_objects_are_missing() -> None:
    store = Store(4)
    assert store.pin(1) == [Missing(1, oid(1))]
    for event in (store.core.seal, store.core.abort, store.core.delete):
        assert event(oid(1)) == []
    assert store.core.unpin(oid(1), ME) == []
    assert store.core.cancel("no such token") == []
    assert store.core.drop_client(ME) == []


def test_an_aborted_object_never_existed() -> None:
    store = Store(4)
    store.create(1)
    store.pin(1)
    assert store.core.abort(oid(1)) == [Missing(2, oid(1))]
    assert store.core.contents() == []
    assert store.used == 0


def test_empty_objects() -> None:
    store = Store(1)
    assert store.put(1, 0) == []
    assert store.pin(1) == [PinGranted(2, oid(1), InArena(0, 0))]
    assert store.create(2, 0) == [CreateGranted(3, oid(2), InFile(oid(2), 0))]


def test_an_id_is_created_once() -> None:
    store = Store(4)
    store.create(1)
    assert store.create(1) == [CreateRefused(2, oid(1), Refusal.EXISTS)]
    store.core.seal(oid(1))
    assert store.create(1) == [CreateRefused(3, oid(1), Refusal.EXISTS)]
    store.pin(1)
    store.core.delete(oid(1))
    assert store.create(1) == [CreateRefused(5, oid(1), Refusal.EXISTS)]
    store.core.unpin(oid(1), ME)
    assert store.create(1) == [CreateGranted(6, oid(1), block(0))]


def test_events_that_the_state_forbids_change_nothing() -> None:
    store = Store(4)
    store.put(1)
    before = store.core.contents()
    for event in (store.core.seal, store.core.abort, store.core.spilled, store.core.restored):
        with pytest.raises(InvalidTransition, match="from sealed"):
            event(oid(1))
    with pytest.raises(InvalidTransition, match="from deleted"):
        store.core.spill_failed(oid(2), no_space=True)
    with pytest.raises(ValueError, match="negative"):
        store.core.create(oid(2), -1, ME, "token")
    assert store.core.contents() == before


def test_a_writer_without_room_cannot_seal() -> None:
    store = Store(1)
    store.put(1)
    assert store.create(2) == [spill(1, 0)]
    with pytest.raises(InvalidTransition, match="from created to sealed"):
        store.core.seal(oid(2))


def test_tokens_that_wait_are_unique() -> None:
    store = Store(4)
    store.core.create(oid(1), 1, ME, "same")  # answered at once: the token is free again
    store.core.pin(oid(1), ME, "same")
    with pytest.raises(ValueError, match="'same' waits already"):
        store.core.pin(oid(1), YOU, "same")
    with pytest.raises(ValueError, match="'same' waits already"):
        store.core.create(oid(2), 1, YOU, "same")


# -- deletes while somebody uses the object --


def test_a_deleted_object_stays_for_those_who_read_it() -> None:
    store = Store(4)
    store.put(1)
    store.pin(1)
    store.pin(1)
    assert store.core.delete(oid(1)) == []
    assert store.pin(1) == [Missing(4, oid(1))]
    assert store.core.delete(oid(1)) == []
    store.core.unpin(oid(1), ME)
    assert store.used == 1
    store.core.unpin(oid(1), ME)
    assert store.used == 0


def test_an_object_deleted_while_it_is_written_goes_at_its_seal() -> None:
    store = Store(4)
    store.create(1)
    store.pin(1)
    assert store.core.delete(oid(1)) == [Missing(2, oid(1))]
    assert store.used == 1
    assert store.core.seal(oid(1)) == []
    assert store.used == 0


def test_an_object_deleted_while_it_is_spilled_goes_when_that_is_done() -> None:
    store = Store(1)
    store.put(1)
    store.create(2)
    assert store.core.delete(oid(1)) == []
    assert store.used == 1, "the block is being read"
    assert store.core.spilled(oid(1)) == [
        DeleteFile(oid(1)),
        CreateGranted(2, oid(2), block(0)),
    ]


def test_an_object_deleted_while_it_is_restored_goes_when_that_is_done() -> None:
    store = Store(1)
    store.put_spilled(1)
    assert store.pin(1) == [restore(1, 0)]
    assert store.core.delete(oid(1)) == [Missing(3, oid(1))]
    assert store.create(2) == []
    assert store.core.restored(oid(1)) == [DeleteFile(oid(1)), CreateGranted(4, oid(2), block(0))]


def test_a_file_stays_for_those_who_read_it() -> None:
    store = Store(1)
    store.create(1, 2)
    assert store.core.seal(oid(1)) == []
    assert store.pin(1) == [PinGranted(2, oid(1), file(1, 2))]
    assert store.core.delete(oid(1)) == []
    assert store.core.unpin(oid(1), ME) == [DeleteFile(oid(1))]


def test_the_objects_of_a_dead_owner_are_deleted() -> None:
    store = Store(4)
    store.put(1)
    store.put(2)
    store.pin(2)
    store.core.create(oid(1, owner=1), UNIT, ME, "other")
    store.core.drop_owner(oid(1)[:8])
    assert [row.oid for row in store.core.contents()] == [oid(2), oid(1, owner=1)]
    store.core.unpin(oid(2), ME)
    assert store.used == 1


# -- clients that go --


def test_a_dead_client_holds_nothing() -> None:
    store = Store(3)
    store.put(1, client=YOU)
    store.put(2, client=YOU)
    store.create(3)
    store.pin(1)
    store.pin(1, YOU)
    store.pin(2)
    store.pin(2)
    store.core.delete(oid(2))
    store.pin(3, YOU)
    assert store.core.drop_client(ME) == [Missing(8, oid(3))]
    (row,) = store.core.contents()
    assert (row.oid, row.pins) == (oid(1), {YOU: 1})
    assert store.core.unpin(oid(1), ME) == []
    assert store.core.statistics().num_pinned == 1


def test_requests_of_a_dead_client_are_forgotten() -> None:
    store = Store(1)
    store.put_spilled(1)
    store.create(2)
    store.pin(2, YOU)
    store.pin(2)
    assert store.core.drop_client(YOU) == []
    assert store.core.seal(oid(2)) == [PinGranted(5, oid(2), block(0))]
    assert store.core.drop_client(ME) == []
    assert store.pin(1) == [spill(2, 0)]
    assert store.core.drop_client(ME) == []
    assert store.core.statistics().num_waiting == 0
    assert store.core.spilled(oid(2)) == []


def test_a_file_begun_by_a_dead_client_is_deleted() -> None:
    store = Store(1)
    store.create(1, 2)
    assert store.core.drop_client(ME) == [DeleteFile(oid(1))]


def test_a_cancelled_request_is_not_answered() -> None:
    store = Store(1)
    store.put_spilled(1)
    store.create(2)
    store.core.seal(oid(2))
    assert store.pin(1) == [spill(2, 0)]
    assert store.create(3) == []
    assert store.pin(3, YOU) == []
    assert store.core.cancel(4) == []
    assert store.core.cancel(5) == [Missing(6, oid(3))]
    assert store.core.spilled(oid(2)) == []


# -- looking at it --


def test_statistics_and_contents() -> None:
    store = Store(4)
    store.put_spilled(1)
    store.put(2, 2)
    store.pin(2)
    store.put(3)
    statistics = store.core.statistics()
    assert (statistics.capacity, statistics.used, statistics.peak) == (4 * 64, 3 * 64, 4 * 64)
    assert (statistics.num_objects, statistics.num_pinned, statistics.num_waiting) == (3, 1, 0)
    assert (statistics.evictable_bytes, statistics.spilling_bytes) == (64, 0)
    assert (statistics.spilled_bytes, statistics.spilled_objects) == (64, 1)
    assert (statistics.spills_total, statistics.spilled_bytes_total) == (1, 64)
    spilled, pinned, sealed = store.core.contents()
    assert (spilled.state, spilled.in_memory, spilled.in_file) == ("spilled", False, True)
    assert (pinned.size, pinned.pins) == (2 * 64, {ME: 1})
    assert sealed.state is ObjectState.SEALED
    assert not sealed.doomed


def test_a_broken_store_is_noticed() -> None:
    store = Store(4)
    store.put(1)
    record = store.core.table.records[oid(1)]
    record.has_file = True
    with pytest.raises(AssertionError, match=r"object .* is sealed: create, seal, sealed"):
        store.core.validate()
    with pytest.raises(AssertionError):
        store.put(2)
