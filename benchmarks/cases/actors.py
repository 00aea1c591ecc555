"""Actors that count: what an engine costs per call, and per actor."""

from __future__ import annotations

from typing import Any

from ..bench import Bench
from ..catalogue import Unit, case
from ..engines import Feature
from ..workloads import Counter, call_from_worker


@case("actors", ("actor_sync_1_1", Unit.PER_SECOND), needs=[Feature.ACTORS])
def actor_sync_1_1(bench: Bench) -> None:
    """One caller, one actor, one call at a time."""
    engine = bench.engine
    add = engine.method(_counter(bench), "add")
    bench.repeat(lambda: engine.get(add()), operations=1)


@case("actors", ("actor_async_1_1", Unit.PER_SECOND), needs=[Feature.ACTORS])
def actor_async_1_1(bench: Bench) -> None:
    """One caller, one actor, 1,000 calls under way."""
    engine, count = bench.engine, bench.scaled(1_000)
    add = engine.method(_counter(bench), "add")

    def run() -> None:
        results = engine.get([add() for _ in range(count)])
        if results != list(range(results[0], results[0] + count)):
            raise AssertionError("calls of one caller were not run in order, once each")

    bench.repeat(run, operations=count)


@case("actors", ("actor_async_2_2", Unit.PER_SECOND), needs=[Feature.ACTORS, Feature.NESTED])
def actor_async_2_2(bench: Bench) -> None:
    """Two tasks call one actor each, in another worker, with 1,000 calls under way."""
    engine, count, pairs = bench.engine, bench.scaled(1_000), 2
    actors = [engine.actor(Counter, slot=pair)() for pair in range(pairs)]
    # An actor in the caller's own worker would be a plain method call in Dask: put them crosswise.
    callers = [engine.remote(call_from_worker, slot=pair + 1) for pair in range(pairs)]

    def run() -> None:
        engine.get(
            [
                caller(bench.engine_name, actor, count)
                for caller, actor in zip(callers, actors, strict=True)
            ]
        )

    run()
    bench.repeat(run, operations=pairs * count)
    for actor in actors:
        engine.kill(actor)


@case("actors", ("actor_create", Unit.PER_SECOND), needs=[Feature.ACTORS])
def actor_create(bench: Bench) -> None:
    """Create four actors, call each once, end them."""
    engine, count = bench.engine, 4
    create = engine.actor(Counter)

    def run() -> None:
        actors = [create() for _ in range(count)]
        results = engine.get([engine.method(actor, "add")() for actor in actors])
        if results != [1] * count:
            raise AssertionError(f"new actors counted {results}")
        for actor in actors:
            engine.kill(actor)

    bench.repeat(run, operations=count)


def _counter(bench: Bench) -> Any:
    """Return the actor that the 1:1 cases share, already called once."""
    if "counter" not in bench.shared:
        counter = bench.shared["counter"] = bench.engine.actor(Counter)()
        bench.engine.get(bench.engine.method(counter, "add")())
    return bench.shared["counter"]
