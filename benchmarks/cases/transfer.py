"""Large arrays: into the store, out of it, and into a task."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..catalogue import Unit, case
from ..engines import Feature
from ..workloads import last_item

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..bench import Bench

_100_MB = 100_000_000
_1_GIB = 1 << 30
#: Seconds for an engine to take back what was dropped, which some do in the background; not timed.
_SETTLE = 0.3


@case("transfer", ("put_1gib_first", Unit.GIGABYTES_PER_SECOND), needs=[Feature.ARRAYS])
def put_1gib_first(bench: Bench) -> None:
    """The first put of a fresh store."""
    # Kept, so that the next first put cannot reuse its space.
    bench.shared["first"] = _timed_put(bench, _array(bench, _1_GIB))


@case("transfer", ("put_100mb_first", Unit.GIGABYTES_PER_SECOND), needs=[Feature.ARRAYS])
def put_100mb_first(bench: Bench) -> None:
    """Another first put, into space that was not used before."""
    _timed_put(bench, _array(bench, _100_MB))
    bench.shared.pop("first", None)
    time.sleep(_SETTLE)


@case("transfer", ("put_1gib", Unit.GIGABYTES_PER_SECOND), needs=[Feature.ARRAYS])
def put_1gib(bench: Bench) -> None:
    """Puts into space that was used before."""
    _warm_puts(bench, _array(bench, _1_GIB), 3)


@case("transfer", ("put_100mb", Unit.GIGABYTES_PER_SECOND), needs=[Feature.ARRAYS])
def put_100mb(bench: Bench) -> None:
    """Puts into space that was used before."""
    _warm_puts(bench, _array(bench, _100_MB), 5)


@case("transfer", ("get_1gib", Unit.MILLISECONDS), needs=[Feature.ARRAYS])
def get_1gib(bench: Bench) -> None:
    """Get an array that is in the store; the value is dropped before the next get."""
    array = _array(bench, _1_GIB)
    ref = bench.engine.put(array)
    for _ in range(5):
        with bench.timed():
            value = bench.engine.get(ref)
        if value.shape != array.shape or value[0] != array[0] or value[-1] != array[-1]:
            raise AssertionError("the array that came back is another one")
        del value


@case(
    "transfer",
    ("task_argument_1gib", Unit.MILLISECONDS),
    needs=[Feature.ARRAYS, Feature.REF_ARGUMENTS],
)
def task_argument_1gib(bench: Bench) -> None:
    """A task that takes an array from the store and reads its last item."""
    engine, array = bench.engine, _array(bench, _1_GIB)
    submit = engine.remote(last_item)
    ref = engine.put(array)
    for _ in range(3):
        with bench.timed():
            result = engine.get(submit(ref))
        if result != array[-1]:
            raise AssertionError(f"expected {array[-1]}, got {result}")


def _warm_puts(bench: Bench, array: NDArray[np.float64], count: int) -> None:
    bench.engine.put(array)
    time.sleep(_SETTLE)
    for _ in range(count):
        _timed_put(bench, array)
        time.sleep(_SETTLE)


def _timed_put(bench: Bench, array: NDArray[np.float64]) -> Any:
    with bench.timed(size=array.nbytes):
        ref = bench.engine.put(array)
    # Returned after the clock has stopped, so that no release is timed.
    return ref  # noqa: RET504


def _array(bench: Bench, size: int) -> NDArray[np.float64]:
    """Return the array of about `size` bytes; its pages are all there, and not zero."""
    # Not at the top: the drivers of other groups are measured without numpy.
    import numpy as np

    key = f"array {size}"
    if key not in bench.shared:
        bench.shared[key] = np.arange(1, bench.scaled(size) // 8 + 1, dtype=np.float64)
    array: NDArray[np.float64] = bench.shared[key]
    return array
