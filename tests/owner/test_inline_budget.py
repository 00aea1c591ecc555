from __future__ import annotations

from millpond.owner.inline_budget import INLINE_LIMIT, InlineBudget
from millpond.owner.objects import Freed, ObjectTable
from millpond.owner.refs import ObjectRef
from millpond.wire.messages import FAILED, INLINE, STORED, Value

ME = b"driver-1"


def table(capacity: int) -> ObjectTable:
    return ObjectTable(ME, lambda _: None, InlineBudget(capacity))


def finished(objects: ObjectTable, number: int, value: Value) -> ObjectRef[object]:
    entry, ref = objects.own(ME + number.to_bytes(8, "little"))
    objects.finish(entry, value)
    return ref


def test_values_are_counted_until_they_are_freed() -> None:
    objects = table(1 << 30)
    refs = [
        finished(objects, 1, Value(INLINE, bytes(1000), 1000)),
        finished(objects, 2, Value(FAILED, bytes(10))),
        finished(objects, 3, Value(STORED, b"", 10**6)),
    ]
    assert objects.inline.used == 1010
    entries = [ref._entry for ref in refs]
    del refs
    for entry in entries:
        objects.free_if_unused(entry, Freed())
    assert objects.inline.used == 0


def test_only_tiny_values_stay_once_the_budget_is_used_up() -> None:
    objects = table(16 * 100_000)
    assert objects.inline.budget == 100_000
    refs = [finished(objects, 1, Value(INLINE, bytes(99_999), 99_999))]
    assert objects.inline.limit == INLINE_LIMIT
    refs.append(finished(objects, 2, Value(INLINE, b"x", 1)))
    assert 0 < objects.inline.limit < INLINE_LIMIT
    entry = refs.pop()._entry
    objects.free_if_unused(entry, Freed())
    assert objects.inline.limit == INLINE_LIMIT


def test_the_budget_grows_with_the_store_to_a_point() -> None:
    assert InlineBudget(1 << 20).budget < InlineBudget(1 << 30).budget
    assert InlineBudget(1 << 40).budget == InlineBudget(1 << 41).budget
