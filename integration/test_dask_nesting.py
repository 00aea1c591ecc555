"""Computations inside tasks, and computations of several threads at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import dask.dataframe as dd
import pandas as pd
import pytest

import millpond
import millpond.dask


@pytest.fixture(autouse=True)
def enabled(engine: millpond.Context) -> Iterator[millpond.Context]:
    with millpond.dask.enable():
        yield engine


def test_tasks_compute_on_the_engine() -> None:
    def inner(n: int) -> tuple[bool, float]:
        ours = dask.base.get_scheduler() is millpond.dask.get
        return ours and millpond.is_worker(), float(da.ones(n, chunks=10).sum().compute())

    outer = [dask.delayed(inner)(n) for n in (20, 30, 40, 50)]
    assert dask.compute(*outer) == tuple((True, float(n)) for n in (20, 30, 40, 50))


def test_deeper_nesting_than_there_are_cpus() -> None:
    def count(depth: int) -> int:
        if not depth:
            return 0
        return 1 + int(dask.delayed(count)(depth - 1).compute())

    assert dask.delayed(count)(4).compute() == 4


def test_persisted_collections_inside_tasks() -> None:
    def inner() -> int:
        x = da.arange(1_000, chunks=100).persist()
        return int((x + x).sum().compute())

    assert dask.delayed(inner)().compute() == 999_000


def test_threads_compute_at_once() -> None:
    frame = pd.DataFrame({"a": range(1_000), "b": [i % 7 for i in range(1_000)]})

    def one(i: int) -> tuple[float, int]:
        df = dd.from_pandas(frame + i, npartitions=4)
        return (
            float((da.arange(100, chunks=9) * i).sum().compute()),
            int(df.groupby("b").a.sum().compute().sum()),
        )

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, range(8)))
    assert results == [(4950.0 * i, 499_500 + 1_000 * i) for i in range(8)]


def test_nesting_without_end_is_ended() -> None:
    def endless(depth: int) -> int:
        return int(dask.delayed(endless)(depth + 1).compute())

    with dask.config.set({"millpond.nesting-limit": 3}):
        with pytest.raises(RecursionError, match=r"nested 4 deep.* the limit is 3"):
            dask.delayed(endless)(0).compute()
        with pytest.raises(RecursionError, match=r"millpond\.nesting-limit"):
            dask.delayed(lambda: dask.delayed(endless)(0).persist().compute())().compute()
    assert dask.delayed(abs)(-1).compute() == 1
