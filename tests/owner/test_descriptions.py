from __future__ import annotations

from typing import Any

from millpond.owner.descriptions import describe
from millpond.owner.inline_budget import InlineBudget
from millpond.owner.objects import Freed, ObjectTable
from millpond.owner.tasks import PendingTask
from millpond.wire.messages import INLINE, STORED, Value

ME, OTHER = b"m" * 8, b"o" * 8


def oid(number: int, owner: bytes = ME) -> bytes:
    return owner + number.to_bytes(8, "big")


def table() -> ObjectTable:
    return ObjectTable(ME, lambda _: None, InlineBudget(1 << 30))


def test_stored_objects_are_described_and_others_are_not() -> None:
    objects = table()
    entry, ref = objects.own(oid(1))
    here = PendingTask(oid(9), b"f", "", b"").site
    entry.origin = ("put", here)
    objects.finish(entry, Value(STORED, b"", 1000))
    objects.add_borrows([oid(1)], OTHER)
    borrowed = objects.ref(oid(2, OTHER))

    told = describe(objects, [oid(1), oid(2, OTHER), oid(3)])

    (origin,) = told.origins
    assert (origin.object_id, origin.made_by, origin.refs, origin.borrowers) == (
        oid(1),
        "put",
        1,
        1,
    )
    assert __file__ in told.sites[origin.site]
    also = [ref, ref]
    assert describe(objects, [oid(1)]).origins[0].refs == 3
    del also, borrowed


def test_a_task_that_is_writing_its_result_is_known() -> None:
    objects = table()
    entry, ref = objects.own(oid(1))
    entry.task = PendingTask(oid(1), b"f", "clean", b"")
    (origin,) = describe(objects, [oid(1)]).origins
    assert origin.made_by == "clean"
    assert origin.site == 0
    del ref


def test_objects_of_one_line_share_its_text() -> None:
    objects = table()
    refs = []
    for number in range(5):
        entry, ref = objects.own(oid(number))
        entry.task = PendingTask(oid(number), b"f", "clean", b"")
        refs.append(ref)
    told = describe(objects, [oid(number) for number in range(5)])
    assert [origin.site for origin in told.origins] == [0] * 5
    assert len(told.sites) == 1


def test_small_values_of_ones_own_are_summed() -> None:
    objects = table()
    refs = [objects.own(oid(number)) for number in range(3)]
    for entry, _ in refs[:2]:
        objects.finish(entry, Value(INLINE, b"12345", 5))
    theirs = objects.ref(oid(1, OTHER))
    objects.finish(theirs._entry, Value(INLINE, b"12345", 5))
    told = describe(objects, [])
    assert (told.inline_objects, told.inline_bytes) == (2, 10)


class FakePin:
    origin: Any = None


def test_a_freed_object_is_known_while_it_is_read() -> None:
    objects = table()
    entry, ref = objects.own(oid(1))
    entry.origin = ("clean", None)
    objects.finish(entry, Value(STORED, b"", 1000))
    pins = [FakePin()]
    entry.pin = lambda: pins[0]
    freed = Freed()
    del ref
    objects.free_if_unused(entry, freed)
    assert freed.stored == [oid(1)]

    (origin,) = describe(objects, [oid(1)]).origins
    assert (origin.made_by, origin.refs) == ("clean", 0)
    pins.clear()
    assert describe(objects, [oid(1)]).origins == []
