from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from millpond.errors import ObjectStoreFullError, OutOfDiskError
from millpond.owner.refusals import HOLDERS, refusal
from millpond.report.memory import MemoryReport, ObjectMemory, Process
from millpond.serialization.exceptions import deserialize_exception, serialize_exception
from tests.report.reports import MIB, report, row


def full(count: int = 12) -> MemoryReport:
    objects = tuple(row(number, size=(20 - number) * MIB) for number in range(count))
    return report(objects, used=60 * MIB, capacity=64 * MIB)


def test_a_full_store_lists_the_largest_objects_and_what_to_do() -> None:
    error = refusal("full: no room for object 1. Free refs", 20 * MIB, full())
    assert type(error) is ObjectStoreFullError
    text = str(error)
    assert text.startswith("no room for object 1. Free refs")
    assert text.count("app.py:7") == HOLDERS
    assert "and 2 more; millpond.memory() lists them" in text
    assert (error.requested_bytes, error.used_bytes, error.capacity) == (
        20 * MIB,
        60 * MIB,
        64 * MIB,
    )
    assert [holder.size // MIB for holder in error.holders] == list(range(20, 10, -1))


def test_a_full_disk_gives_its_figures() -> None:
    told = report((row(1),), used=60 * MIB, capacity=64 * MIB, spilled=100 * MIB)
    (node,) = told.nodes
    full_disk = replace(
        node, spill_location="/small/disk", spill_free_bytes=3 * MIB, waiting_bytes=5 * MIB
    )
    told = replace(told, nodes=(full_disk,))
    error = refusal("no-disk: nothing can be spilled", 20 * MIB, told)
    assert isinstance(error, OutOfDiskError)
    assert isinstance(error, OSError)
    for figure in ("nothing can be spilled", "/small/disk", "3.0 MiB", "100.0 MiB", "25.0 MiB"):
        assert figure in str(error)
    assert error.spill_location == "/small/disk"
    assert (error.free_bytes, error.spilled_bytes) == (3 * MIB, 100 * MIB)
    assert (error.waiting_bytes, error.requested_bytes) == (25 * MIB, 20 * MIB)
    assert (error.used_bytes, error.capacity) == (60 * MIB, 64 * MIB)


@pytest.mark.parametrize(
    ("reason", "kind", "text"),
    [
        ("no-disk: why", OutOfDiskError, "why"),
        ("full: why", ObjectStoreFullError, "why"),
        ("too-large: why", ObjectStoreFullError, "why"),
        ("exists: why", ObjectStoreFullError, "why"),
        ("some text: with a colon", ObjectStoreFullError, "some text: with a colon"),
        ("no colon at all", ObjectStoreFullError, "no colon at all"),
    ],
)
def test_the_first_word_tells_the_kind_of_error(
    reason: str, kind: type[Exception], text: str
) -> None:
    error = refusal(reason, 5, None)  # the node may be gone: then there is no report
    assert type(error) is kind
    assert str(error) == text
    assert error.requested_bytes == 5


def test_an_id_in_use_is_not_explained_by_who_holds_the_memory() -> None:
    assert str(refusal("exists: why", 5, full())) == "why"


@pytest.mark.parametrize("reason", ["full: why", "no-disk: why"])
def test_the_figures_cross_processes(reason: str) -> None:
    error = refusal(reason, 20 * MIB, full())
    by_task = deserialize_exception(serialize_exception(error, "where"))
    for copy in (pickle.loads(pickle.dumps(error)), by_task):
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)


def test_the_holders_are_rows_of_the_report() -> None:
    error = refusal("full: why", 1, full(1))
    assert isinstance(error, ObjectStoreFullError)
    assert isinstance(error.holders[0], ObjectMemory)
    assert error.holders[0].owner == Process("driver", 10)
