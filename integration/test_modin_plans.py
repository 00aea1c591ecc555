"""How often blocks are read: what one task can do is one task, and nothing is read for labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import modin.config
import modin.pandas
import numpy as np
import pandas as pd
import pytest

import millpond
from integration.conftest import MIB
from integration.modin_support import NO_DEFAULTING, assert_same, mpd, submitted
from millpond.adapters.modin.labels import runs_of

pytestmark = NO_DEFAULTING
__all__ = ["mpd", "submitted"]

ROWS = 4_000
BLOCKS = 4


@pytest.fixture
def frame() -> pd.DataFrame:
    random = np.random.default_rng(11)
    return pd.DataFrame(
        {
            "k": random.choice(["a", "b", "c"], ROWS),
            "x": random.random(ROWS),
            "n": random.integers(0, 100, ROWS),
            "day": pd.date_range("2021-05-01", periods=ROWS, freq="min"),
        }
    )


def test_a_filter_reads_each_block_once(
    mpd: ModuleType, frame: pd.DataFrame, submitted: Counter[str]
) -> None:
    ours = mpd.DataFrame(frame)
    chosen = ours[ours["x"] > 0.5]
    assert submitted == {"transform": BLOCKS}
    assert_same(chosen, frame[frame["x"] > 0.5])


def test_columns_are_combined_by_one_task_for_each_block(
    mpd: ModuleType, frame: pd.DataFrame, submitted: Counter[str]
) -> None:
    ours = mpd.DataFrame(frame)
    price = ours["x"] * (1 - ours["n"])
    assert submitted == {"transform": BLOCKS}
    assert_same(price, frame["x"] * (1 - frame["n"]))
    # What several need is computed before, once, from the second time on.
    half = ours["x"] / 2
    assert_same(half + half, frame["x"])
    small = ours["n"] < 50
    for _ in range(3):
        assert_same(ours[small], frame[frame["n"] < 50])
    assert_same(ours[~small & (half > 0.1)], frame[(frame["n"] >= 50) & (frame["x"] > 0.2)])


def test_columns_in_another_order_need_no_task(
    mpd: ModuleType, frame: pd.DataFrame, submitted: Counter[str]
) -> None:
    for order in (["n", "k"], ["day", "n", "x", "k"], ["x", "k", "x"]):
        chosen = mpd.DataFrame(frame)[order]
        assert not submitted
        assert_same(chosen, frame[order])
        submitted.clear()
    ours, expected = mpd.DataFrame(frame), frame.copy()
    for each in (ours, expected):
        each["y"] = each["x"] * 2
        each["z"] = each["n"] + 1
    submitted.clear()
    order = ["n", "y", "z", "x", "k"]
    chosen = ours[order]
    assert not submitted
    assert_same(chosen, expected[order])
    assert_same(chosen.rename(columns={"y": "why"})["why"].sum(), expected["y"].sum())
    assert_same(chosen[chosen["z"] > 50].iloc[5:20], expected[order][expected["z"] > 50].iloc[5:20])


def test_rows_in_another_order(mpd: ModuleType, frame: pd.DataFrame) -> None:
    rows = np.arange(ROWS)[::-1]
    assert_same(mpd.DataFrame(frame).iloc[rows, [2, 0]], frame.iloc[rows, [2, 0]])


def test_groups_need_no_labels_of_rows(mpd: ModuleType, frame: pd.DataFrame) -> None:
    ours, expected = mpd.DataFrame(frame), frame[frame["x"] > 0.5]
    chosen = ours[ours["x"] > 0.5]
    assert_same(chosen.groupby("k")[["n", "x"]].sum(), expected.groupby("k")[["n", "x"]].sum())
    assert_same(chosen.groupby("k")[["n", "x"]].mean(), expected.groupby("k")[["n", "x"]].mean())
    assert_same(chosen.groupby("k").size(), expected.groupby("k").size())
    assert_same(chosen.groupby("k").agg({"n": "max"}), expected.groupby("k").agg({"n": "max"}))
    assert_same(chosen[["n", "k"]].groupby("k").max(), expected[["n", "k"]].groupby("k").max())
    assert not chosen._query_compiler._modin_frame.has_materialized_index
    # Dates Modin may leave to pandas, and keys of another frame have labels of their own.
    some = [1, 2, 7, 8]
    assert_same(
        chosen.iloc[some].groupby("k")[["day"]].mean(),
        expected.iloc[some].groupby("k")[["day"]].mean(),
    )
    assert_same(chosen.groupby(ours["n"] % 3).size(), expected.groupby(frame["n"] % 3).size())


def test_row_groups_are_not_cut_and_joined_after_they_were_read(
    start: Callable[..., millpond.Context],
    submitted: Counter[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups, rows = 7, 1_500_000
    plain = pd.DataFrame(np.arange(4 * rows).reshape(rows, 4) / 4, columns=list("abcd"))
    plain.to_parquet(tmp_path / "frame.parquet", row_group_size=-(-rows // groups))
    modin.config.Engine.put("Millpond")
    partitions = modin.config.NPartitions
    with modin.config.context(NPartitions=2):  # and so what it was afterwards
        monkeypatch.setattr(partitions, "_value_source", modin.config.ValueSource.DEFAULT)
        start(object_store_memory=24 * MIB)
        ours = modin.pandas.read_parquet(tmp_path / "frame.parquet")
        assert partitions.get() > 1.5 * groups, "Modin would cut them"
    assert submitted == {"call_for_many": groups}
    assert ours._query_compiler._modin_frame._partitions.shape == (groups, 1)
    assert_same(ours["c"].sum(), plain["c"].sum())


def test_groups_of_no_rows(mpd: ModuleType, frame: pd.DataFrame) -> None:
    ours, expected = mpd.DataFrame(frame), frame[frame["x"] > 2]
    # Modin leaves these to pandas, whatever the engine.
    with pytest.warns(UserWarning, match="defaulting to pandas"):
        assert_same(ours[ours["x"] > 2].groupby("k")["n"].sum(), expected.groupby("k")["n"].sum())


def test_runs_of_columns() -> None:
    assert runs_of([0, 1, 3, 2, 4, 0], [2, 2, 1]) == [
        (0, [0, 1]),
        (1, [1, 0]),
        (2, [0]),
        (0, [0]),
    ]
    assert runs_of([], [3]) == []
