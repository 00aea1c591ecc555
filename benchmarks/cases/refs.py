"""Many refs at once, all of them to small objects that are already in the store."""

from __future__ import annotations

from typing import Any

from ..bench import Bench
from ..catalogue import Unit, case
from ..engines import Feature
from ..workloads import count_arguments


@case("refs", ("get_10k_refs", Unit.SECONDS), needs=[Feature.OBJECTS])
def get_10k_refs(bench: Bench) -> None:
    """Get a list of 10,000 refs."""
    refs = _refs(bench)
    with bench.timed(operations=len(refs)):
        values = bench.engine.get(refs)
    if values != list(range(len(refs))):
        raise AssertionError("the values are not those that were put, in order")


@case("refs", ("task_10k_ref_args", Unit.SECONDS), needs=[Feature.REF_ARGUMENTS])
def task_10k_ref_args(bench: Bench) -> None:
    """A task with 10,000 refs as arguments."""
    refs = _refs(bench)
    submit = bench.engine.remote(count_arguments)
    with bench.timed(operations=len(refs)):
        count = bench.engine.get(submit(*refs))
    if count != len(refs):
        raise AssertionError(f"the task got {count} arguments, not {len(refs)}")


@case("refs", ("get_object_of_10k_refs", Unit.SECONDS), needs=[Feature.NESTED_REFS])
def get_object_of_10k_refs(bench: Bench) -> None:
    """Get an object that contains 10,000 refs."""
    refs = _refs(bench)
    outer = bench.engine.put(refs)
    with bench.timed(operations=len(refs)):
        inner = bench.engine.get(outer)
    if inner != refs:
        raise AssertionError("the refs that came back are other ones")


@case("refs", ("wait_1k_one_by_one", Unit.SECONDS), needs=[Feature.REF_ARGUMENTS])
def wait_1k_one_by_one(bench: Bench) -> None:
    """Take 1,000 refs that are ready, one by one."""
    _drain(bench, bench.scaled(1_000))


@case("refs", ("wait_10k_one_by_one", Unit.SECONDS), needs=[Feature.REF_ARGUMENTS], max_repeats=1)
def wait_10k_one_by_one(bench: Bench) -> None:
    """Take 10,000 refs that are ready, one by one; once only, as Ray takes minutes."""
    _drain(bench, bench.scaled(10_000))


def _drain(bench: Bench, count: int) -> None:
    refs = _refs(bench)[:count]
    with bench.timed(operations=count):
        done = bench.engine.drain(refs)
    if done != count:
        raise AssertionError(f"{done} refs of {count} became ready")


def _refs(bench: Bench) -> list[Any]:
    """Return the refs that all cases of this group use, put by the first of them."""
    if "refs" not in bench.shared:
        bench.shared["refs"] = bench.engine.put_many(range(bench.scaled(10_000)))
    refs: list[Any] = bench.shared["refs"]
    return refs
