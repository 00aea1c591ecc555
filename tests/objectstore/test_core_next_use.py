"""What leaves memory and what comes back when the next uses of objects are known."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import pytest

from millpond.objectstore.commands import CreateGranted, CreateRefused, PinGranted, Refusal
from millpond.objectstore.core import StoreCore
from tests.objectstore.small_store import ME, UNIT, YOU, Store, block, oid, restore, spill

# -- who leaves --


def test_what_nobody_needs_is_spilled_before_what_is_needed_last() -> None:
    store = Store(4)
    for number in (1, 2, 3, 4):
        store.put(number)
    for number, position in ((1, 10), (2, 30), (3, 20)):
        store.core.expect(oid(number), position)
    assert store.create(5, 2) == [spill(4, 3), spill(2, 1)]


def test_an_object_may_be_expected_before_it_is_known() -> None:
    store = Store(2)
    store.core.expect(oid(1), 5)
    store.put(1)
    store.put(2)
    assert store.create(3) == [spill(2, 1)]


def test_a_use_that_is_over_counts_no_more() -> None:
    store = Store(2)
    store.put(1)
    store.put(2)
    store.core.expect(oid(1), 5)
    store.core.expect(oid(2), 7)
    store.core.expect(oid(1), 9)
    store.core.expect(oid(2), None)
    store.core.expect(oid(2), 8)
    assert store.create(3) == [spill(1, 0)]


def give_files(store: Store, *numbers: int) -> None:
    """Have objects spilled, and stay in memory."""
    token = next(store.tokens)
    store.core.create(oid(99), store.core.statistics().capacity, YOU, token)
    store.core.cancel(token)
    for number in numbers:
        store.core.spilled(oid(number))
        assert store.state(number) == "sealed+"


def with_files(*positions: int | None) -> Store:
    """A full store of objects 1, 2, ... of one unit, in memory and in files."""
    store = Store(len(positions))
    for number, position in enumerate(positions, 1):
        store.put(number)
        store.core.expect(oid(number), position)
    give_files(store, *range(1, len(positions) + 1))
    return store


def test_what_has_a_file_leaves_in_the_order_of_need() -> None:
    store = with_files(5, None, 7)
    left = []
    for number in (4, 5, 6):
        assert isinstance(store.create(number)[-1], CreateGranted)
        left.append(next(n for n in (1, 2, 3) if store.state(n) == "spilled" and n not in left))
    assert left == [2, 3, 1]


def test_what_will_be_needed_stays_while_something_else_can_be_spilled() -> None:
    store = with_files(5, 6)
    store.core.delete(oid(2))
    store.put(3)
    assert store.create(4) == [spill(3, 1)]
    assert store.core.spilled(oid(3)) == [CreateGranted(5, oid(4), block(1))]
    assert store.state(1) == "sealed+"


def test_who_waits_has_more_spilled_than_it_needs() -> None:
    store = Store(10, low=0.6, high=0.8)
    for number in range(1, 11):
        store.create(number)
    for number in range(1, 11):
        store.core.expect(oid(number), number)
        store.core.seal(oid(number))
    ahead = [number for number in range(1, 11) if store.state(number) == "spilling"]
    for number in ahead:
        store.core.spilled(oid(number))
        store.core.expect(oid(number), 0)
    assert len(ahead) == 4, "down to the low mark: nothing more is spilled ahead"
    last = [number for number in range(10, 0, -1) if number not in ahead]
    wanted = [spill(number, number - 1) for number in last[:3]]
    assert store.create(11) == wanted, "its own room, and as much as lies between the marks"


def test_a_large_object_gets_the_room_of_neighbours() -> None:
    store = with_files(*([3, 9] * 2 + [8] * 4 + [3, 9] * 2))
    assert store.create(20, 5) == [CreateGranted(14, oid(20), block(3, 5))]
    left = [number for number in range(1, 13) if store.state(number) == "spilled"]
    assert left == [4, 5, 6, 7, 8], "and not all that is needed later than the first"


# -- what comes back ahead --


def test_a_prefetch_takes_free_room() -> None:
    store = Store(2)
    store.put_spilled(1)
    assert store.core.prefetch(oid(1)) == [], "nobody needs it"
    store.core.expect(oid(1), 5)
    assert store.core.prefetch(oid(1)) == [restore(1, 0)]
    assert store.core.prefetch(oid(1)) == []
    assert store.core.restored(oid(1)) == []
    assert store.state(1) == "sealed+"
    assert isinstance(store.pin(1)[0], PinGranted)
    statistics = store.core.statistics()
    assert (statistics.prefetches_total, statistics.prefetched_bytes_total) == (1, UNIT)


def test_a_pin_that_comes_during_a_prefetch_waits_for_it() -> None:
    store = Store(2)
    store.put_spilled(1)
    store.core.expect(oid(1), 5)
    store.core.prefetch(oid(1))
    assert store.pin(1) == []
    assert store.core.restored(oid(1)) == [PinGranted(3, oid(1), block(0))]


@pytest.mark.parametrize(("there", "comes"), [(4, False), (5, False), (6, True), (None, True)])
def test_a_prefetch_pushes_out_only_what_is_needed_later(there: int | None, comes: bool) -> None:
    store = with_files(1)
    store.create(2)
    store.core.seal(oid(2))
    assert store.state(1) == "spilled"
    give_files(store, 2)
    store.core.expect(oid(2), there)
    store.core.expect(oid(1), 5)
    assert store.state(2) == "sealed+"
    assert store.core.prefetch(oid(1)) == ([restore(1, 0)] if comes else [])
    assert store.state(2) == ("spilled" if comes else "sealed+")


def test_a_create_waits_for_a_prefetch_rather_than_go_to_a_file() -> None:
    store = Store(1)
    store.put_spilled(1)
    store.core.expect(oid(1), 5)
    store.core.prefetch(oid(1))
    assert store.create(2) == []
    assert store.core.prefetch(oid(1)) == [], "somebody waits for room"
    assert store.core.restored(oid(1)) == [CreateGranted(3, oid(2), block(0))]


# -- a disk that stays full --


def full_disk() -> Store:
    store = Store(2)
    store.put(1)
    store.put(2)
    store.create(3)
    store.core.spill_failed(oid(1), no_space=True)
    return store


def test_creates_are_refused_when_the_disk_stays_full() -> None:
    store = full_disk()
    assert store.core.out_of_disk() == [CreateRefused(3, oid(3), Refusal.NO_DISK)]
    assert store.create(4) == []
    store.core.delete(oid(1))
    assert store.core.statistics().num_waiting == 0, "what fits is granted"
    assert store.create(5) == []
    assert store.core.out_of_disk() == [CreateRefused(5, oid(5), Refusal.NO_DISK)]


def test_work_goes_on_when_the_disk_has_room_again() -> None:
    store = full_disk()
    store.core.out_of_disk()
    assert store.create(4) == []
    assert store.core.retry_spill() == [spill(2, 1)]
    assert store.core.spilled(oid(2)) == [CreateGranted(4, oid(4), block(1))]
    assert store.create(5) == [spill(1, 0)]
    assert store.core.out_of_disk() == [], "it works again"


def test_small_creates_pass_large_ones_that_are_refused() -> None:
    store = full_disk()
    store.core.cancel(3)
    store.create(4, 2)
    store.create(5)
    store.core.delete(oid(1))
    assert store.core.out_of_disk() == [
        CreateRefused(4, oid(4), Refusal.NO_DISK),
        CreateGranted(5, oid(5), block(0)),
    ]


# -- without spilling: who may free some --


def test_a_create_waits_while_somebody_may_free_some() -> None:
    asked: list[tuple[AbstractSet[bytes], AbstractSet[bytes]]] = []
    running = [True]

    def may_free(holding: AbstractSet[bytes], waiting: AbstractSet[bytes]) -> bool:
        asked.append((holding, waiting))
        return running[0]

    core = StoreCore(UNIT, can_spill=False, may_free=may_free, validate=True)
    core.create(oid(1), UNIT, ME, 1)
    core.seal(oid(1))
    core.pin(oid(1), ME, 2)
    assert core.create(oid(2), UNIT, YOU, 3) == []
    assert asked[-1] == ({ME, YOU}, {YOU}), "who asks is writing, which counts for nothing"
    assert core.recheck() == []
    running[0] = False
    assert core.recheck() == [CreateRefused(3, oid(2), Refusal.FULL)]
