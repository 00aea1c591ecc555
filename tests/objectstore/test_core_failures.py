"""What the store's core does when spills and restores fail."""

from __future__ import annotations

from millpond.objectstore.commands import (
    CreateGranted,
    CreateRefused,
    DeleteFile,
    Lost,
    PinGranted,
    Refusal,
)
from tests.objectstore.small_store import ME, Store, block, file, oid, restore, spill


def test_a_value_stays_in_memory_when_its_spill_fails() -> None:
    store = Store(2)
    store.put(1)
    store.put(2)
    assert store.create(3) == [spill(1, 0)]
    assert store.core.spill_failed(oid(1), no_space=True) == []
    statistics = store.core.statistics()
    assert statistics.spill_paused
    assert statistics.disk_full
    assert statistics.num_waiting == 1
    assert store.pin(1) == [PinGranted(4, oid(1), block(0))]
    assert store.core.retry_spill() == [spill(2, 1)]
    assert store.core.spilled(oid(2)) == [CreateGranted(3, oid(3), block(1))]
    assert not store.core.statistics().disk_full


def test_readers_pass_creates_that_wait_out_a_pause() -> None:
    store = Store(1)
    store.put_spilled(1)
    store.put(2)
    assert store.create(3) == [spill(2, 0)]
    assert store.pin(1) == []
    assert store.core.spill_failed(oid(2), no_space=False) == [PinGranted(5, oid(1), file(1))]
    assert store.pin(1) == [PinGranted(6, oid(1), file(1))]
    assert not store.core.statistics().disk_full


def test_a_pause_lets_those_behind_a_reader_have_the_room() -> None:
    store = Store(2)
    store.put_spilled(1, 2)
    store.put(2)
    store.put(3)
    assert store.pin(1) == [spill(2, 0), spill(3, 1)]
    assert store.create(4) == []
    assert store.core.spilled(oid(2)) == []
    assert store.core.spill_failed(oid(3), no_space=True) == [
        PinGranted(5, oid(1), file(1, 2)),
        CreateGranted(6, oid(4), block(0)),
    ]


def test_a_delete_makes_room_during_a_pause() -> None:
    store = Store(1)
    store.put(1)
    store.create(2)
    store.core.spill_failed(oid(1), no_space=True)
    assert store.core.delete(oid(1)) == [CreateGranted(2, oid(2), block(0))]


def test_a_deleted_object_goes_when_its_spill_fails() -> None:
    store = Store(1)
    store.put(1)
    store.create(2)
    store.core.delete(oid(1))
    assert store.core.spill_failed(oid(1), no_space=True) == [CreateGranted(2, oid(2), block(0))]


def test_a_file_that_cannot_be_read_is_lost_but_tried_again() -> None:
    store = Store(1)
    store.put_spilled(1)
    store.pin(1)
    assert store.core.restore_failed(oid(1)) == [Lost(3, oid(1))]
    assert store.used == 0
    assert store.pin(1) == [restore(1, 0)]
    assert store.create(1) == [CreateRefused(5, oid(1), Refusal.EXISTS)]
    assert store.core.restored(oid(1)) == [PinGranted(4, oid(1), block(0))]


def test_a_lost_value_is_replaced_by_a_new_one() -> None:
    store = Store(1)
    store.put_spilled(1)
    store.pin(1)
    store.core.restore_failed(oid(1))
    store.put(2)
    store.pin(2)
    assert store.pin(1) == [PinGranted(6, oid(1), file(1))]
    assert store.create(1) == [CreateRefused(7, oid(1), Refusal.EXISTS)], "somebody has the file"
    store.core.unpin(oid(1), ME)
    store.core.unpin(oid(2), ME)
    assert store.pin(1) == [spill(2, 0)]
    assert store.create(1) == [DeleteFile(oid(1))]
    assert store.core.spilled(oid(2)) == [CreateGranted(9, oid(1), block(0))]
    assert store.core.seal(oid(1)) == [PinGranted(8, oid(1), block(0))]
