"""What the store's core does, one situation at a time. Sizes are in units of 64 bytes."""

from __future__ import annotations

from itertools import count

import pytest

from millpond.objectstore.commands import (
    Command,
    CreateGranted,
    CreateRefused,
    DeleteFile,
    InArena,
    InFile,
    Lost,
    Missing,
    PinGranted,
    Refusal,
    Restore,
    Spill,
)
from millpond.objectstore.core import StoreCore
from millpond.objectstore.states import InvalidTransition, ObjectState

ME, YOU = b"client-1", b"client-2"
UNIT = 64


def oid(number: int, owner: int = 0) -> bytes:
    return b"owner-%02dobject%02d" % (owner, number)


class Store:
    """A core with tokens, sizes and ids that are short to write."""

    def __init__(
        self, units: int, *, can_spill: bool = True, low: float = 1.0, high: float = 1.0
    ) -> None:
        self.core = StoreCore(
            units * UNIT, can_spill=can_spill, low_water=low, high_water=high, validate=True
        )
        self.tokens = count(1)

    def create(self, number: int, units: int = 1, client: bytes = ME) -> list[Command]:
        return self.core.create(oid(number), units * UNIT, client, next(self.tokens))

    def put(self, number: int, units: int = 1, client: bytes = ME) -> list[Command]:
        """Create and seal an object for which there is room."""
        *others, granted = self.create(number, units, client)
        assert isinstance(granted, CreateGranted)
        return others + self.core.seal(oid(number))

    def put_spilled(self, number: int, units: int = 1) -> None:
        """An object that is in a file only."""
        self.put(number, units)
        token = next(self.tokens)
        self.core.create(oid(99), self.core.statistics().capacity, YOU, token)
        self.core.spilled(oid(number))
        self.core.abort(oid(99))

    def pin(self, number: int, client: bytes = ME) -> list[Command]:
        return self.core.pin(oid(number), client, next(self.tokens))

    def state(self, number: int) -> str | None:
        """The object's state, with a + when it is in memory and in a file."""
        for row in self.core.contents():
            if row.oid == oid(number):
                return row.state + ("+" if row.in_memory and row.in_file else "")
        return None

    @property
    def used(self) -> int:
        return self.core.statistics().used // UNIT


def block(offset: int, units: int = 1) -> InArena:
    return InArena(offset * UNIT, units * UNIT)


def file(number: int, units: int = 1) -> InFile:
    return InFile(oid(number), units * UNIT)


def spill(number: int, offset: int, units: int = 1) -> Spill:
    return Spill(oid(number), offset * UNIT, units * UNIT)


def restore(number: int, offset: int, units: int = 1) -> Restore:
    return Restore(oid(number), offset * UNIT, units * UNIT)


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


# -- failures --


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
