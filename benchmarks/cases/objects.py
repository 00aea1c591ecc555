"""Small objects: what a `put` and a `get` cost whatever the size."""

from __future__ import annotations

from ..bench import Bench
from ..catalogue import Unit, case
from ..engines import Feature


@case("objects", ("put_small", Unit.PER_SECOND), needs=[Feature.OBJECTS])
def put_small(bench: Bench) -> None:
    """Put an integer, drop the ref."""
    engine = bench.engine
    engine.put(0)
    bench.repeat(lambda: engine.put(1), operations=1)


@case("objects", ("get_small", Unit.PER_SECOND), needs=[Feature.OBJECTS])
def get_small(bench: Bench) -> None:
    """Get the same integer again and again."""
    engine = bench.engine
    ref = engine.put(1)
    if engine.get(ref) != 1:
        raise AssertionError("put(1) gave something else")
    bench.repeat(lambda: engine.get(ref), operations=1)
