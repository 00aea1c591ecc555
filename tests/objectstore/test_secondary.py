"""Copies that another node keeps: first to go, never written to a file, and promoted in need."""

from __future__ import annotations

from millpond.objectstore.commands import CreateGranted, Dropped

from .small_store import Store, block, oid, spill


def secondary(store: Store, number: int, units: int = 1) -> None:
    (granted,) = store.create(number, units)
    assert isinstance(granted, CreateGranted)
    store.core.seal(oid(number), secondary=True)


def test_a_secondary_copy_is_dropped_for_what_needs_room_and_nothing_is_spilled() -> None:
    store = Store(2)
    store.put(1)
    secondary(store, 2)
    granted, dropped = store.create(3)
    assert isinstance(granted, CreateGranted)
    assert granted.location == block(1)
    assert dropped == Dropped(oid(2))
    assert store.state(2) is None
    assert store.state(1) == "sealed"


def test_it_goes_before_an_older_object_that_would_have_to_be_written() -> None:
    store = Store(4)
    store.put(1, 2)
    secondary(store, 2, 2)
    store.create(3, 2)
    assert store.state(1) == "sealed"
    assert store.state(2) is None


def test_one_that_is_read_stays() -> None:
    store = Store(2)
    secondary(store, 1, 2)
    store.pin(1)
    store.create(2)
    assert store.state(1) == "sealed"


def test_without_spilling_it_still_makes_room() -> None:
    store = Store(2, can_spill=False)
    secondary(store, 1, 2)
    granted, dropped = store.create(2, 2)
    assert isinstance(granted, CreateGranted)
    assert dropped == Dropped(oid(1))


def test_one_that_is_kept_from_now_on_is_written_like_any_other() -> None:
    store = Store(2)
    secondary(store, 1, 2)
    store.core.keep(oid(1))
    assert store.create(2, 2) == [spill(1, 0, 2)]


def test_what_no_store_knows_cannot_be_kept() -> None:
    assert Store(1).core.keep(oid(1)) == []
