"""Warnings that Dask tasks give on millpond are given in the driver."""

from __future__ import annotations

import re
import warnings

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.diagnostics import CacheProfiler

import millpond
import millpond.dask

pytestmark = pytest.mark.usefixtures("enabled")


@pytest.fixture
def enabled(engine: millpond.Context) -> object:
    with millpond.dask.enable():
        yield engine


class OddWarning(UserWarning):
    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(f"{code}: {detail}")


def doubtful(i: int) -> int:
    warnings.warn(f"doubts about {i % 2}", FutureWarning, stacklevel=1)
    return i


def test_a_warning_is_given_where_it_was_and_once() -> None:
    with pytest.warns(FutureWarning, match="doubts") as seen:
        assert dask.delayed(sum)([dask.delayed(doubtful)(i) for i in range(10)]).compute() == 45
    assert sorted(str(w.message) for w in seen) == ["doubts about 0", "doubts about 1"]
    assert {w.filename for w in seen} == {__file__}
    assert {w.lineno for w in seen} == {doubtful.__code__.co_firstlineno + 1}


def test_filters_of_the_driver_decide() -> None:
    value = dask.delayed(doubtful)(1)
    with pytest.raises(FutureWarning, match="doubts about 1"):  # as everywhere in these tests
        value.compute()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        warnings.filterwarnings("ignore", message="doubts")
        assert value.compute() == 1
    assert not seen
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        assert [value.compute(), value.compute()] == [1, 1]
    assert len(seen) == 1


def test_warnings_of_intermediate_results_and_their_pieces() -> None:
    def halves(frame: pd.DataFrame) -> pd.DataFrame:
        warnings.warn("rounded", RuntimeWarning, stacklevel=1)
        return frame // 2

    frame = pd.DataFrame({"a": np.arange(100), "b": np.arange(100)})
    shuffled = dd.from_pandas(frame, npartitions=4).map_partitions(halves, meta=frame).shuffle("a")
    with pytest.warns(RuntimeWarning, match="rounded") as seen:
        result = shuffled.b.sum().compute()
    assert result == (frame.b // 2).sum()
    assert len(seen) == 1
    ones = da.ones((400, 400), chunks=200).map_blocks(lambda x: x / 0, dtype=float)
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert np.isinf(ones.compute()).all()


def test_callbacks_get_the_results_themselves() -> None:
    with CacheProfiler(metric=lambda value: value) as cache, pytest.warns(FutureWarning):
        assert dask.delayed(abs)(dask.delayed(doubtful)(-3)).compute() == 3
    assert sorted(task.metric for task in cache.results) == [-3, 3]


def test_a_warning_that_does_not_pickle_is_given_by_its_text() -> None:
    def odd() -> int:
        warnings.warn(OddWarning(7, detail="lead"), stacklevel=1)
        return 1

    with pytest.warns(UserWarning, match=re.escape("7: lead")):
        assert dask.delayed(odd)().compute() == 1


def test_taking_too_much_of_a_bag_warns() -> None:
    bag = db.from_sequence(range(4), npartitions=2)
    with pytest.warns(UserWarning, match="Insufficient elements"):
        assert bag.take(100) == (0, 1)


def test_warnings_of_persisted_results_come_with_what_uses_them() -> None:
    value = dask.delayed(doubtful)(1).persist()
    with pytest.warns(FutureWarning, match="doubts about 1"):
        assert dask.delayed(abs)(value).compute() == 1


def test_nested_computations_pass_warnings_on_once() -> None:
    def outer() -> object:
        return dask.delayed(sum)([dask.delayed(doubtful)(i) for i in (1, 3)]).compute()

    with pytest.warns(FutureWarning) as seen:
        assert dask.delayed(outer)().compute() == 4
    assert [str(w.message) for w in seen] == ["doubts about 1"]


def test_a_failed_task_leaves_no_warnings_to_the_next() -> None:
    def fail(i: int) -> None:
        raise ValueError(i)

    value = dask.delayed(doubtful)(1)  # of two consumers: it is an object of its own
    with pytest.raises(ValueError, match="1"):
        dask.compute(dask.delayed(fail)(value), dask.delayed(fail)(value))
    assert dask.compute(*[dask.delayed(abs)(-i) for i in range(8)]) == tuple(range(8))
