"""Reading and writing files in partitions, against the same files read by pandas."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from integration.modin_support import NO_DEFAULTING, assert_same, mpd, numbers_and_words

pytestmark = NO_DEFAULTING
__all__ = ["mpd"]

ROWS = 3_000


@pytest.fixture
def frame() -> pd.DataFrame:
    words = numbers_and_words(ROWS, words=("alpha", "beta", "gamma, delta"))
    return words.assign(day=pd.date_range("2021-05-01", periods=ROWS, freq="min"))


def test_csv(mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "frame.csv"
    frame.to_csv(path, index=False)
    how: dict[str, list[str]] = {"parse_dates": ["day"]}
    assert_same(mpd.read_csv(path, **how), pd.read_csv(path, **how))
    assert_same(mpd.read_csv(str(path), usecols=["word", "ratio"]), frame[["ratio", "word"]])
    assert_same(
        mpd.read_csv(path, skiprows=10, header=None), pd.read_csv(path, skiprows=10, header=None)
    )
    assert_same(mpd.read_csv(path, nrows=17), pd.read_csv(path, nrows=17))
    # Modin leaves it to pandas to say what is wrong.
    with pytest.raises(FileNotFoundError), pytest.warns(UserWarning, match="No such file"):
        mpd.read_csv(tmp_path / "missing.csv")


@pytest.mark.parametrize(
    "options",
    [
        {"index": False},
        {"header": False, "sep": ";"},
        {"columns": ["word", "day"], "date_format": "%Y", "lineterminator": "\r\n"},
        {"mode": "wb+", "index": False},
        {"mode": "a", "encoding": "latin-1", "index_label": "row"},
    ],
)
def test_csv_written_in_parallel_and_in_order(
    mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path, options: dict[str, Any]
) -> None:
    much = pd.concat([frame] * 9, ignore_index=True)
    much.loc[17, "word"] = "h\xf6lzern\n"
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    for _ in range(2):
        mpd.DataFrame(much).to_csv(ours, **options)
        much.to_csv(theirs, **options)
        assert ours.read_bytes() == theirs.read_bytes()
    # All rows in one block: a part of it for each task.
    mpd.DataFrame(much)[:6000].to_csv(ours, index=False)
    assert_same(mpd.read_csv(ours, parse_dates=["day"]), much[:6000])


def test_csv_that_cannot_be_written(mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="non-existent directory"):
        mpd.DataFrame(frame).to_csv(tmp_path / "missing" / "frame.csv")
    with pytest.raises(UnicodeEncodeError):
        mpd.DataFrame(frame.assign(word="\u20ac")).to_csv(tmp_path / "x.csv", encoding="ascii")
    with pytest.raises(KeyError, match="no such"):
        mpd.DataFrame(frame).to_csv(tmp_path / "x.csv", columns=["no such"])


def test_parquet_one_file(mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "frame.parquet"
    frame.to_parquet(path, row_group_size=700)
    assert_same(mpd.read_parquet(path), frame)
    assert_same(mpd.read_parquet(path, columns=["word", "ratio"]), frame[["word", "ratio"]])


def test_parquet_folder_written_in_parallel(
    mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    mpd.DataFrame(frame).to_parquet(folder)
    assert len(list(folder.iterdir())) > 1
    assert_same(mpd.read_parquet(folder), frame)
    assert_same(mpd.read_parquet(folder), pd.read_parquet(folder))


def test_parquet_with_arrow_types(mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "frame.parquet"
    frame.to_parquet(path)
    ours = mpd.read_parquet(path, dtype_backend="pyarrow")
    expected = pd.read_parquet(path, dtype_backend="pyarrow")
    assert_same(ours, expected)
    assert_same(ours[ours["ratio"] > 0.5], expected[expected["ratio"] > 0.5])
    assert_same(ours.groupby("word")[["ratio"]].sum(), expected.groupby("word")[["ratio"]].sum())


def test_json_lines(mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "frame.json"
    frame.to_json(path, orient="records", lines=True)
    assert_same(
        mpd.read_json(path, orient="records", lines=True),
        pd.read_json(path, orient="records", lines=True),
    )


def test_feather(mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "frame.feather"
    frame.to_feather(path)
    assert_same(mpd.read_feather(path), frame)


def test_fixed_width(mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "frame.txt"
    path.write_text(frame[["number", "ratio"]].to_string(index=False))
    assert_same(mpd.read_fwf(path), pd.read_fwf(path))


def test_sql(mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "frame.sqlite") as connection:
        frame.to_sql("frame", connection, index=False)
        # A connection cannot be sent to workers: Modin reads through this one, in the driver.
        with pytest.warns(UserWarning, match="Defaulting to pandas"):
            ours = mpd.read_sql("select number, ratio from frame", connection)
        assert_same(ours, frame[["number", "ratio"]])
    connection.close()


def test_an_error_in_a_reader_is_the_readers_own(mpd: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "broken.csv"
    path.write_text("a,b\n" + "1,2\n" * 500 + "1,2,3,4\n" + "1,2\n" * 500)
    with pytest.raises(pd.errors.ParserError):
        mpd.read_csv(path).modin.to_pandas()


@pytest.mark.usefixtures("mpd")
def test_from_map() -> None:
    from modin.pandas.io import from_map

    frame = from_map(lambda start, width: {"n": range(start, start + width)}, [0, 10, 20], 10)
    assert_same(frame.reset_index(drop=True), pd.DataFrame({"n": range(30)}))
