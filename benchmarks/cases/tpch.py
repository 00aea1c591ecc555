"""TPC-H on Dask's dataframe: 22 queries, whose answers are compared with DuckDB's."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..bench import Bench
from ..catalogue import Unit, case
from ..engines import Feature

#: Where the demonstration keeps its tables too.
_DATA = Path(".data")
_NAMES = tuple(f"q{number}" for number in range(1, 23))


@case(
    "tpch",
    ("tpch", Unit.SECONDS),
    *((f"tpch_{name}", Unit.SECONDS) for name in _NAMES),
    needs=[Feature.QUERIES],
    timeout=1_200,
)
def tpch(bench: Bench) -> None:
    """All queries one after the other, from parquet files to the answer; and each of them."""
    # Not at the top: the drivers of other groups are measured without pandas.
    from demo.compare import difference
    from demo.dask_queries import reader
    from demo.data import prepare
    from demo.duck import Duck
    from demo.tpch import QUERIES

    factor = bench.scaled(1_000) / 1_000
    dataset = prepare(_DATA / f"tpch-sf{factor:g}", factor)
    read = reader(dataset)
    answers = {}
    with bench.engine.dask():
        QUERIES["q6"](read)  # the workers have imported what they need
        with bench.timed(operations=len(_NAMES)):
            for name in _NAMES:
                with bench.timed(f"tpch_{name}"):
                    answers[name] = QUERIES[name](read)
    with tempfile.TemporaryDirectory() as scratch:
        duck = Duck(dataset, Path(scratch))
        for name, answer in answers.items():
            found = difference(answer, duck.answer(name))
            if found is not None:
                raise AssertionError(f"{name} differs from DuckDB's answer: {found}")
