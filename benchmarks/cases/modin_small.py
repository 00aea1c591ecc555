"""Modin on frames of 1,000 rows, where what is left is the cost of an operation itself."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from ..bench import Bench
from ..catalogue import Unit, case
from ..engines import Feature

_ROWS = 1_000
_RUNS = 15

#: By metric: an operation on a frame and another one to merge it with.
_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "modin_small_elementwise": lambda frame, _: frame * 2 + 1,
    "modin_small_filter": lambda frame, _: frame[frame["a"] > 0],
    "modin_small_sum": lambda frame, _: frame.sum(),
    "modin_small_groupby": lambda frame, _: frame.groupby("key").sum(),
    "modin_small_merge": lambda frame, other: frame.merge(other, on="key"),
    "modin_small_sort_values": lambda frame, _: frame.sort_values("a"),
    "modin_small_describe": lambda frame, _: frame.describe(),
}


@case(
    "modin_small",
    *((metric, Unit.MILLISECONDS) for metric in _OPERATIONS),
    ("modin_small", Unit.MILLISECONDS),
    needs=[Feature.FRAMES],
)
def modin_small(bench: Bench) -> None:
    """Some operations, one after the other, each with its result; and the mean of all."""
    import numpy as np
    import pandas as pd

    from ..frames import finish, to_pandas

    random = np.random.Generator(np.random.SFC64(0))
    plain = pd.DataFrame(random.standard_normal((_ROWS, 10)), columns=list("abcdefghij"))
    plain["key"] = random.integers(0, 50, _ROWS)
    plain_other = pd.DataFrame({"key": range(50), "weight": random.random(50)})
    frames = bench.engine.frames()
    frame, other = frames.DataFrame(plain), frames.DataFrame(plain_other)
    medians = []
    for metric, operation in _OPERATIONS.items():
        _check_same(to_pandas(operation(frame, other)), operation(plain, plain_other))
        walls = []
        for _ in range(_RUNS):
            with bench.timed(metric) as timing:
                finish(operation(frame, other))
            walls.append(timing.wall)
        medians.append(median(walls))
    bench.record("modin_small", 1e3 * sum(medians) / len(medians))


def _check_same(found: Any, expected: Any) -> None:
    import pandas as pd

    if isinstance(expected, pd.Series):
        pd.testing.assert_series_equal(found, expected)
    else:
        pd.testing.assert_frame_equal(found, expected)
