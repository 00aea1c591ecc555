"""Partitions as the engine sees them: refs, tasks, objects, errors, buffers."""

from __future__ import annotations

import gc
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

import millpond
from integration.conftest import MIB, assert_store_empty
from integration.modin_support import NO_DEFAULTING, assert_same, mpd

pytestmark = NO_DEFAULTING
__all__ = ["mpd"]


class OddError(Exception):
    """One with a constructor that does not take its args."""

    def __init__(self, first: int, second: str) -> None:
        super().__init__(f"{first} {second}")
        self.first = first


@pytest.fixture
def numbers() -> pd.DataFrame:
    return pd.DataFrame(np.arange(400_000, dtype="float64").reshape(-1, 4), columns=list("abcd"))


def partition_of(frame: Any) -> Any:
    return frame._query_compiler._modin_frame._partitions[0, 0]


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("get_ip", [False, True])
def test_unwrapped_partitions_make_the_frame_again(
    mpd: ModuleType, numbers: pd.DataFrame, axis: int | None, get_ip: bool
) -> None:
    from modin.distributed.dataframe.pandas import from_partitions, unwrap_partitions

    frame = mpd.DataFrame(numbers)
    unwrapped = unwrap_partitions(frame, axis=axis, get_ip=get_ip)
    first = unwrapped[0][0] if axis is None else unwrapped[0]
    ref = first[1] if get_ip else first
    assert isinstance(ref, millpond.ObjectRef)
    assert isinstance(millpond.get(ref), pd.DataFrame)
    assert_same(from_partitions(unwrapped, axis=axis), numbers)


@pytest.mark.usefixtures("mpd")
def test_refs_of_tasks_become_a_frame() -> None:
    from modin.distributed.dataframe.pandas import from_partitions

    @millpond.remote
    def make(start: int) -> pd.DataFrame:
        return pd.DataFrame({"n": range(start, start + 10)})

    frame = from_partitions([make.remote(i) for i in (0, 10, 20)], axis=0)
    assert frame["n"].sum() == sum(range(30))
    with pytest.raises(TypeError, match="ObjectRef"):
        from_partitions([pd.DataFrame()], axis=0)


def test_shapes_cost_no_objects(mpd: ModuleType, numbers: pd.DataFrame) -> None:
    frame = mpd.DataFrame(numbers)
    blocks = frame._query_compiler._modin_frame._partitions.size
    assert millpond.statistics().store.num_objects == blocks
    doubled = frame + frame
    assert len(doubled[doubled["a"] > -1]) == len(numbers)
    del doubled
    gc.collect()
    assert millpond.statistics().store.num_objects == blocks
    doubled = frame * 2
    doubled._query_compiler._modin_frame.wait_computations()
    assert millpond.statistics().store.num_objects == 2 * blocks


def test_slices_and_queued_calls_are_one_task(mpd: ModuleType, numbers: pd.DataFrame) -> None:
    part = partition_of(mpd.DataFrame(numbers))
    queued = part.mask(slice(10, 30), slice(None)).add_to_apply_calls(lambda df: df + 1)
    assert queued._stored is part._stored
    assert len(queued.call_queue) == 2
    result = queued.apply(lambda df, n: df * n, 3)
    assert not result.call_queue
    pd.testing.assert_frame_equal(result.to_pandas(), (numbers[10:30] + 1) * 3)
    assert (result.length(), result.width()) == (20, 4)
    # Read a second time, the queue has run for good.
    queued.apply(len)
    assert queued._stored is not part._stored


def test_lengths_that_are_still_computed_are_sliced_without_a_task(
    mpd: ModuleType, numbers: pd.DataFrame
) -> None:
    part = partition_of(mpd.DataFrame(numbers)).apply(lambda df: df[df["a"] > 100])
    rows = int((numbers["a"][:25_000] > 100).sum())
    assert not isinstance(part.length(materialize=False), int)
    masked = part.mask(slice(5, -5, 2), slice(1, 3))
    assert masked.length() == len(range(rows)[5:-5:2])
    assert masked.width() == 2
    assert part.length() == rows


def test_refs_nested_in_arguments_arrive_as_values(mpd: ModuleType, numbers: pd.DataFrame) -> None:
    part = partition_of(mpd.DataFrame(numbers))
    ref = millpond.put(10)

    def check(df: pd.DataFrame, nested: Any, *, named: Any) -> pd.DataFrame:
        assert nested == [(10, {"deep": 10})]
        assert named == {"n": 10}
        return df + named["n"]

    queued = part.add_to_apply_calls(check, [(ref, {"deep": ref})], named={"n": ref})
    result = queued.add_to_apply_calls(check, [(10, {"deep": ref})], named={"n": 10}).to_pandas()
    pd.testing.assert_frame_equal(result, numbers[: len(result)] + 20)


def test_arguments_are_those_of_the_call(mpd: ModuleType, numbers: pd.DataFrame) -> None:
    part = partition_of(mpd.DataFrame(numbers))
    setting = {"n": 1}
    first = part.apply(lambda df, setting: df + setting["n"], setting)
    setting["n"] = 2
    second = part.apply(lambda df, setting: df + setting["n"], setting)
    assert first.to_pandas().iloc[0, 0] == 1
    assert second.to_pandas().iloc[0, 0] == 2


def test_functions_may_capture_much_data(mpd: ModuleType, numbers: pd.DataFrame) -> None:
    table = np.arange(MIB)
    frame = mpd.DataFrame(numbers[["a"]])
    result = frame.apply(lambda column: column + table[-1])
    assert_same(result, numbers[["a"]] + table[-1])


def test_functions_may_capture_frames_of_modin(mpd: ModuleType, numbers: pd.DataFrame) -> None:
    small = numbers.head(10)
    captured = mpd.DataFrame(small)
    some = numbers["a"].head(200)
    result = mpd.Series(some).map(lambda value: value + captured["b"].sum())
    assert_same(result, some + small["b"].sum())


@pytest.mark.parametrize("error", [KeyError("k"), OddError(3, "x"), ValueError("mine")])
def test_errors_of_user_functions_keep_their_type(mpd: ModuleType, error: Exception) -> None:
    def fail(_: Any) -> Any:
        raise error

    frame = mpd.DataFrame({"a": range(1000)})
    with pytest.raises(type(error)) as caught:
        frame["a"].map(fail).modin.to_pandas()
    assert type(caught.value) is type(error)
    assert caught.value.args == error.args
    assert "in fail" in str(caught.value.__cause__)


def test_functions_that_write_get_private_copies(mpd: ModuleType, numbers: pd.DataFrame) -> None:
    def overwrite(df: pd.DataFrame, other: np.ndarray) -> pd.DataFrame:
        df["a"].to_numpy()[:] = 0
        other[0] = 5
        return df + other[0]

    frame = mpd.DataFrame(numbers)
    part = partition_of(frame)
    other = millpond.put(np.zeros(MIB))
    written = part.apply(overwrite, other).to_pandas()
    assert (written["a"] == 5).all()
    assert_same(frame, numbers)
    assert millpond.get(other)[0] == 0


def test_a_users_value_error_is_not_repeated(mpd: ModuleType, tmp_path: Any) -> None:
    log = tmp_path / "calls"

    def fail(_: pd.DataFrame, text: str) -> pd.DataFrame:
        with log.open("a") as file:
            file.write("x")
        raise ValueError(text)

    part = partition_of(mpd.DataFrame({"a": range(100)}))
    with pytest.raises(ValueError, match="mine"):
        part.apply(fail, "mine").to_pandas()
    assert log.read_text() == "x"
    # One that talks of read-only data may mean ours: it is repeated once, never more.
    frame = mpd.DataFrame({"a": range(100)})
    text = "assignment destination is read-only"
    with pytest.raises(ValueError, match="read-only"):
        frame._query_compiler._modin_frame.apply_full_axis(0, lambda df: fail(df, text)).to_pandas()
    assert log.read_text() == "xxx"


def test_blocks_are_freed_without_the_cyclic_collector(
    mpd: ModuleType, numbers: pd.DataFrame
) -> None:
    frame = mpd.DataFrame(numbers)
    assert len(frame) == len(numbers)
    gc.collect()
    gc.disable()
    try:
        before = millpond.statistics().store.num_objects
        chosen = frame[frame["a"] > 50]
        merged = chosen.merge(frame, on="a")
        totals = merged.groupby("b_x").sum().reset_index()
        assert totals.dtypes.iloc[0] == "float64"
        del chosen, merged, totals
        assert millpond.statistics().store.num_objects == before
    finally:
        gc.enable()


def test_labels_are_computed_once(mpd: ModuleType, numbers: pd.DataFrame) -> None:
    frame = mpd.DataFrame(numbers)
    grouped = frame.groupby("a", as_index=False)[["b"]].agg(["sum", "mean"])
    assert len(grouped.columns) == 3
    inner = grouped.copy()._query_compiler._modin_frame
    assert inner.has_materialized_columns
    with pytest.raises(ValueError, match="Length mismatch"):
        grouped.set_axis(["one"], axis=1)


def test_nothing_is_left_in_the_store(mpd: ModuleType, numbers: pd.DataFrame) -> None:
    frame = mpd.DataFrame(numbers)
    frame["e"] = frame["a"] % 10
    result = frame.merge(frame.groupby("e")[["a"]].sum().reset_index(), on="e").sort_values("b")
    assert len(result) == len(numbers)
    del frame, result
    assert_store_empty()
