"""How room is made for objects, with files and without, one situation at a time."""

from __future__ import annotations

import pytest

from millpond.objectstore.commands import (
    CreateGranted,
    CreateRefused,
    DeleteFile,
    Missing,
    PinGranted,
    Refusal,
)
from millpond.objectstore.core import StoreCore
from tests.objectstore.small_store import ME, UNIT, YOU, Store, block, file, oid, restore, spill

# -- room --


def test_the_least_recently_used_object_is_spilled_first() -> None:
    store = Store(3)
    for number in (1, 2, 3):
        store.put(number)
    store.pin(1)
    store.core.unpin(oid(1), ME)
    assert store.create(4) == [spill(2, 1)]
    assert store.core.spilled(oid(2)) == [CreateGranted(5, oid(4), block(1))]
    assert store.state(2) == "spilled"


def test_only_as_much_is_spilled_as_is_needed() -> None:
    store = Store(4)
    for number in (1, 2, 3, 4):
        store.put(number)
    assert store.create(5, 2) == [spill(1, 0), spill(2, 1)]
    assert store.create(6) == []
    assert store.core.spilled(oid(1)) == []
    assert store.core.spilled(oid(2)) == [CreateGranted(5, oid(5), block(0, 2)), spill(3, 2)]
    assert store.core.spilled(oid(3)) == [CreateGranted(6, oid(6), block(2))]


def test_objects_with_a_file_go_first_and_for_nothing() -> None:
    store = Store(2)
    store.put_spilled(1)
    store.pin(1)
    store.core.restored(oid(1))
    store.put(2)
    store.core.unpin(oid(1), ME)
    assert store.state(1) == "sealed+"
    assert store.create(3) == [CreateGranted(5, oid(3), block(0))]
    assert store.state(1) == "spilled"
    assert store.core.statistics().evictions_total == 2, "once to be spilled, once now"


def test_requests_for_room_are_served_in_order() -> None:
    store = Store(2)
    store.put(1, 2)
    assert store.create(2, 2) == [spill(1, 0, 2)]
    assert store.create(3) == []
    store.core.delete(oid(1))
    assert store.core.spilled(oid(1)) == [
        DeleteFile(oid(1)),
        CreateGranted(2, oid(2), block(0, 2)),
        CreateGranted(3, oid(3), file(3)),
    ]


def test_free_space_in_pieces_is_joined_by_more_spills() -> None:
    store = Store(4)
    for number in (1, 2, 3, 4):
        store.put(number)
    store.core.delete(oid(1))
    store.core.delete(oid(3))
    assert store.create(5, 2) == [spill(2, 1)]
    assert store.core.spilled(oid(2)) == [CreateGranted(5, oid(5), block(0, 2))]


def test_what_can_never_fit_now_goes_to_a_file() -> None:
    store = Store(3)
    store.put(1)
    store.pin(1)
    store.put(2)
    assert store.create(3, 3) == [CreateGranted(4, oid(3), file(3, 3))]
    assert store.state(2) == "sealed", "spilling it would not have helped"
    assert store.pin(3) == []
    assert store.core.seal(oid(3)) == [PinGranted(5, oid(3), file(3, 3))]
    assert store.pin(3) == [PinGranted(6, oid(3), file(3, 3))]
    statistics = store.core.statistics()
    assert statistics.file_backed_bytes == statistics.spilled_bytes == 3 * UNIT
    assert statistics.spilled_bytes_total == 0


def test_an_object_larger_than_the_arena_lives_in_a_file() -> None:
    store = Store(2)
    assert store.create(1, 3) == [CreateGranted(1, oid(1), file(1, 3))]
    assert store.core.seal(oid(1)) == []
    assert store.state(1) == "spilled"
    assert store.pin(1) == [PinGranted(2, oid(1), file(1, 3))]
    assert store.core.unpin(oid(1), ME) == []
    assert store.core.delete(oid(1)) == [DeleteFile(oid(1))]


def test_an_aborted_file_is_deleted() -> None:
    store = Store(2)
    store.create(1, 3)
    assert store.core.abort(oid(1)) == [DeleteFile(oid(1))]


def test_a_spilled_object_is_restored_for_all_who_wait() -> None:
    store = Store(2)
    store.put_spilled(1)
    assert store.pin(1) == [restore(1, 0)]
    assert store.pin(1, YOU) == []
    assert store.core.restored(oid(1)) == [
        PinGranted(3, oid(1), block(0)),
        PinGranted(4, oid(1), block(0)),
    ]
    assert store.state(1) == "sealed+"
    statistics = store.core.statistics()
    assert statistics.restored_bytes_total == statistics.spilled_bytes == UNIT
    assert store.core.delete(oid(1)) == []
    store.core.unpin(oid(1), ME)
    assert store.core.unpin(oid(1), YOU) == [DeleteFile(oid(1))]


def test_a_spilled_object_is_read_from_its_file_when_all_is_pinned() -> None:
    store = Store(2)
    store.put_spilled(1)
    store.put(2, 2)
    store.pin(2)
    assert store.pin(1) == [PinGranted(5, oid(1), file(1))]
    store.core.unpin(oid(2), ME)
    store.core.delete(oid(2))
    assert store.pin(1) == [PinGranted(6, oid(1), file(1))], "one copy in memory is enough"
    store.core.unpin(oid(1), ME, 2)
    assert store.pin(1) == [restore(1, 0)]


def test_an_object_may_be_pinned_while_it_is_spilled() -> None:
    store = Store(1)
    store.put(1)
    store.create(2)
    assert store.pin(1) == [
        PinGranted(3, oid(1), block(0)),
        CreateGranted(2, oid(2), file(2)),
    ]
    assert store.core.spilled(oid(1)) == []
    assert store.state(1) == "sealed+"
    store.core.unpin(oid(1), ME)
    assert store.create(3) == [CreateGranted(4, oid(3), block(0))]


# -- spilling ahead --


def test_spilling_starts_above_the_high_mark_and_stops_at_the_low_one() -> None:
    store = Store(10, low=0.6, high=0.8)
    for number in range(8):
        assert store.put(number) == []
    assert store.create(8) == [
        CreateGranted(9, oid(8), block(8)),
        spill(0, 0),
        spill(1, 1),
        spill(2, 2),
    ]
    assert store.core.spilled(oid(0)) == []
    assert store.core.seal(oid(8)) == []
    assert store.state(0) == "sealed+", "it leaves when its room is asked for"
    assert store.create(9) == [CreateGranted(10, oid(9), block(9)), spill(3, 3)]
    assert store.state(0) == "sealed+"
    assert store.create(10) == [CreateGranted(11, oid(10), block(0)), spill(4, 4)]
    assert store.state(0) == "spilled"


def test_what_can_be_freed_for_nothing_does_not_count_as_used() -> None:
    store = Store(10, low=0.6, high=0.8)
    store.core.create(oid(50), 11 * UNIT, ME, "large")
    for number in range(9):
        store.create(number)
    for number in range(9):
        store.core.seal(oid(number))
    assert store.core.statistics().spilling_bytes == 3 * UNIT
    for number in (0, 1, 2):
        store.core.spilled(oid(number))
    assert store.used == 9
    assert store.create(9) == [CreateGranted(10, oid(9), block(9))], "six are busy, and the new one"
    assert store.create(10) == [CreateGranted(11, oid(10), block(0))], "in the place of the first"
    for number in (1, 2):
        store.pin(number)
    assert store.core.statistics().spilling_bytes == 4 * UNIT, "all ten are busy now"


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.5), (0.6, 0.5), (0.5, 1.1)])
def test_the_marks_are_checked(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="marks"):
        StoreCore(640, low_water=low, high_water=high)


# -- without spilling --


def test_without_spilling_what_is_too_large_is_refused() -> None:
    store = Store(2, can_spill=False)
    assert store.create(1, 3) == [CreateRefused(1, oid(1), Refusal.TOO_LARGE)]
    assert store.core.contents() == []


def test_without_spilling_a_create_waits_while_others_hold_something() -> None:
    store = Store(2, can_spill=False)
    store.put(1, 2)
    store.pin(1, YOU)
    store.core.delete(oid(1))
    assert store.create(2) == []
    assert store.core.unpin(oid(1), YOU) == [CreateGranted(3, oid(2), block(0))]


def test_without_spilling_a_create_is_refused_when_nobody_can_help() -> None:
    store = Store(2, can_spill=False)
    store.put(1, 2)
    store.pin(1)
    assert store.create(2) == [CreateRefused(3, oid(2), Refusal.FULL)], "only itself holds any"
    store.pin(1, YOU)
    assert store.create(2) == []
    assert store.pin(2) == []
    assert store.core.unpin(oid(1), YOU) == [
        CreateRefused(5, oid(2), Refusal.FULL),
        Missing(6, oid(2)),
    ]


def test_without_spilling_two_that_wait_for_each_other_are_told() -> None:
    store = Store(2, can_spill=False)
    store.put(1)
    store.put(2)
    store.pin(1, ME)
    store.pin(2, YOU)
    assert store.create(3, client=ME) == []
    assert store.create(4, client=YOU) == [CreateRefused(5, oid(3), Refusal.FULL)]
    assert store.core.drop_client(ME) == [CreateRefused(6, oid(4), Refusal.FULL)]
