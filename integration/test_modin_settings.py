"""Settings of Modin that engines have to heed: backends, ranges, waiting, and the progress bar."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest

import millpond
from integration.modin_support import NO_DEFAULTING, assert_same, mpd

pytestmark = NO_DEFAULTING
__all__ = ["mpd"]

ROWS = 4_000


@pytest.fixture
def frame() -> pd.DataFrame:
    random = np.random.default_rng(9)
    return pd.DataFrame({"k": random.integers(0, 50, ROWS), "x": random.random(ROWS)})


def is_made(modin_frame: Any) -> bool:
    """Tell whether all blocks are there, without waiting for any."""
    blocks = list(modin_frame._query_compiler._modin_frame._partitions.flat)
    refs = [block.stored for block in blocks]
    queued = any(block.call_queue for block in blocks)
    return not queued and len(millpond.wait(refs, num_returns=len(refs), timeout=0)[0]) == len(refs)


def test_backends(mpd: ModuleType, frame: pd.DataFrame) -> None:
    import modin.config

    ours = mpd.DataFrame(frame)
    assert ours.get_backend() == "Millpond"
    plain = ours.move_to("Pandas")
    assert plain.get_backend() == "Pandas"
    assert plain.set_backend("Millpond", inplace=True) is None
    assert_same(plain, frame)
    # One operation on both runs where the first of them is.
    assert_same(ours + ours.move_to("Pandas").move_to("Millpond"), frame + frame)
    with modin.config.context(Backend="Pandas"):
        assert mpd.DataFrame(frame).get_backend() == "Pandas"
    assert mpd.DataFrame(frame).get_backend() == "Millpond"


def test_range_partitioning(mpd: ModuleType, frame: pd.DataFrame) -> None:
    import modin.config

    ours, other = mpd.DataFrame(frame), frame.groupby("k", as_index=False)["x"].max()
    with modin.config.context(RangePartitioning=True):
        assert_same(ours.groupby("k").sum(), frame.groupby("k").sum())
        assert_same(ours.groupby("k").size(), frame.groupby("k").size())
        assert_same(ours.sort_values("x"), frame.sort_values("x"))
        merged = ours.merge(mpd.DataFrame(other), on="k")
        expected = frame.merge(other, on="k")
        columns = list(expected)
        assert_same(
            merged.sort_values(columns).reset_index(drop=True),
            expected.sort_values(columns).reset_index(drop=True),
        )
        assert ours["k"].nunique() == frame["k"].nunique()


def test_reading_without_waiting(mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path) -> None:
    import modin.config

    frame.to_csv(tmp_path / "frame.csv", index=False)
    frame.to_parquet(tmp_path / "frame.parquet", row_group_size=ROWS // 4)
    with modin.config.context(AsyncReadMode=True):
        assert_same(mpd.DataFrame(frame), frame)
        assert_same(mpd.read_csv(tmp_path / "frame.csv"), pd.read_csv(tmp_path / "frame.csv"))
        assert_same(mpd.read_parquet(tmp_path / "frame.parquet"), frame)
        broken = tmp_path / "broken.csv"
        broken.write_text("a,b\n" + "1,2\n" * 500 + "1,2,3,4\n" + "1,2\n" * 500)
        late = mpd.read_csv(broken)
        with pytest.raises(pd.errors.ParserError):
            late.modin.to_pandas()


def test_benchmark_mode_waits(mpd: ModuleType, frame: pd.DataFrame) -> None:
    import modin.config

    ours = mpd.DataFrame(frame)
    with modin.config.context(BenchmarkMode=True):
        assert is_made(ours.sort_values("x"))
        assert is_made(ours.groupby("k").sum())
        assert is_made(ours + ours)


class Bar:
    """Stands for tqdm, which need not be installed."""

    made: list[Self] = []  # noqa: RUF012 - all of them

    def __init__(self, *, total: int, desc: str) -> None:
        self.total, self.desc, self.seen = total, desc, 0
        self.made.append(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True

    def update(self, count: int) -> None:
        self.seen += count


def test_progress_bar(
    mpd: ModuleType, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    import modin.config

    module = ModuleType("tqdm.auto")
    module.tqdm = Bar  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tqdm", ModuleType("tqdm"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", module)
    monkeypatch.setattr(Bar, "made", [])
    ours = mpd.DataFrame(frame)
    assert_same(ours.sort_values("x"), frame.sort_values("x"))
    assert not Bar.made
    # Modin's bar for frames that it cuts comes from another module of tqdm.
    with modin.config.context(ProgressBar=True):
        line = sys._getframe().f_lineno + 1
        total = (ours + ours).sum()
        assert_same(total, (frame + frame).sum())
    assert Bar.made
    for bar in Bar.made:
        assert bar.seen == bar.total > 0
        assert bar.closed
    assert Bar.made[0].desc == f"Estimated completion of line {line}"
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with modin.config.context(ProgressBar=True), pytest.raises(ImportError, match="pip install"):
        ours + ours
