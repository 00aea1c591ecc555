"""Tasks that do nothing: what an engine costs per task."""

from __future__ import annotations

from ..bench import Bench
from ..catalogue import Unit, case
from ..engines import Feature
from ..workloads import noop, submit_from_worker


@case("tasks", ("tasks_sync", Unit.PER_SECOND), needs=[Feature.TASKS])
def tasks_sync(bench: Bench) -> None:
    """One task at a time: submit, wait, again."""
    engine = bench.engine
    submit = engine.remote(noop)
    bench.repeat(lambda: engine.get(submit()), operations=1)


@case("tasks", ("tasks_async_1k", Unit.PER_SECOND), needs=[Feature.TASKS])
def tasks_async_1k(bench: Bench) -> None:
    """Submit 1,000 tasks, then wait for all."""
    _submit_and_get(bench, bench.scaled(1_000))


@case("tasks", ("tasks_async_10k", Unit.PER_SECOND), needs=[Feature.TASKS])
def tasks_async_10k(bench: Bench) -> None:
    """Submit 10,000 tasks, then wait for all."""
    _submit_and_get(bench, bench.scaled(10_000))


@case("tasks", ("tasks_nested_2x1k", Unit.PER_SECOND), needs=[Feature.NESTED])
def tasks_nested_2x1k(bench: Bench) -> None:
    """Two tasks that submit 1,000 tasks each and wait for them."""
    engine, count = bench.engine, bench.scaled(1_000)
    parent = engine.remote(submit_from_worker)

    def run() -> None:
        done = engine.get([parent(bench.engine_name, count) for _ in range(2)])
        if done != [count, count]:
            raise AssertionError(f"expected twice {count} results, got {done}")

    bench.repeat(run, operations=2 * count)


def _submit_and_get(bench: Bench, count: int) -> None:
    engine = bench.engine
    submit = engine.remote(noop)

    def run() -> None:
        results = engine.get(engine.submit_many(submit, count))
        if results != [None] * count:
            raise AssertionError(f"expected {count} times None, got {len(results)} other results")

    bench.repeat(run, operations=count)
