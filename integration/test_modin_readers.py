"""Readers and writers run in the workers, in several tasks, and do what pandas does."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from modin.db_conn import ModinDatabaseConnection

from integration.modin_support import (
    NO_DEFAULTING,
    assert_same,
    mpd,
    numbers_and_words,
    submitted,
)

pytestmark = NO_DEFAULTING
__all__ = ["mpd", "submitted"]

ROWS = 2_000
FILES = 4


@pytest.fixture
def frame() -> pd.DataFrame:
    return numbers_and_words(ROWS, words=("alpha", "beta", "gamma"))


class Sqlite(ModinDatabaseConnection):
    """What workers connect by; Modin itself knows two libraries, which need not be here."""

    def __init__(self, path: Path) -> None:
        super().__init__("sqlalchemy", str(path))
        self._dialect_is_microsoft_sql_cache = False

    def get_connection(self) -> sqlite3.Connection:
        return sqlite3.connect(self.get_string())


#: How pandas writes a file -> how it and Modin read it
FORMATS: dict[str, tuple[Callable[[pd.DataFrame, Path], Any], Callable[[Any, Path], Any]]] = {
    "csv": (
        lambda frame, path: frame.to_csv(path, index=False),
        lambda module, path: module.read_csv(path),
    ),
    "csv, some columns and types": (
        lambda frame, path: frame.to_csv(path, index=False),
        lambda module, path: module.read_csv(
            path, usecols=["ratio", "word"], dtype={"word": "category"}
        ),
    ),
    "csv with labels": (
        lambda frame, path: frame.to_csv(path),
        lambda module, path: module.read_csv(path, index_col=0),
    ),
    "compressed csv": (
        lambda frame, path: frame.to_csv(path, index=False, compression="gzip"),
        lambda module, path: module.read_csv(path, compression="gzip"),
    ),
    "table": (
        lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
        lambda module, path: module.read_table(path),
    ),
    "fixed width": (
        lambda frame, path: path.write_text(frame.to_string(index=False)),
        lambda module, path: module.read_fwf(path),
    ),
    "json": (
        lambda frame, path: frame.to_json(path, orient="records", lines=True),
        lambda module, path: module.read_json(path, lines=True),
    ),
    "row groups of parquet": (
        lambda frame, path: frame.to_parquet(path, row_group_size=ROWS // FILES),
        lambda module, path: module.read_parquet(path),
    ),
    "columns of parquet": (
        lambda frame, path: frame.to_parquet(path, row_group_size=ROWS // FILES),
        lambda module, path: module.read_parquet(path, columns=["word"]),
    ),
    "parquet with labels": (
        lambda frame, path: frame.set_index("number").to_parquet(path, row_group_size=500),
        lambda module, path: module.read_parquet(path),
    ),
    "feather": (
        lambda frame, path: frame.to_feather(path),
        lambda module, path: module.read_feather(path, columns=["number", "word"]),
    ),
}


def test_reads_side_by_side(
    mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path, submitted: Counter[str]
) -> None:
    for name, (write, read) in FORMATS.items():
        path = tmp_path / name
        write(frame, path)
        submitted.clear()
        try:
            ours = read(mpd, path)
            # Feather has no parts that could be read alone but columns, of which there are few.
            assert submitted["call_for_many"] >= (1 if name == "feather" else 2)
            assert_same(ours, read(pd, path))
        except Exception as error:
            error.add_note(f"format: {name}")
            raise


def test_parquet_reads_only_what_is_asked_for(
    mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path, submitted: Counter[str]
) -> None:
    path = tmp_path / "frame.parquet"
    frame.to_parquet(path, row_group_size=ROWS // FILES)
    ours = mpd.read_parquet(path, columns=["ratio"])
    assert submitted["call_for_many"] == FILES
    inner = ours._query_compiler._modin_frame
    outlines = inner._partition_mgr_cls.outlines(inner._partitions)
    assert [(each.length, each.width) for each in outlines.flat] == [(ROWS // FILES, 1)] * FILES


def test_sql(mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path, submitted: Counter[str]) -> None:
    path = tmp_path / "frame.sqlite"
    with sqlite3.connect(path) as connection:
        frame.to_sql("frame", connection, index=False)
    connection.close()
    ours = mpd.read_sql("select number, word from frame where ratio > 0.5", Sqlite(path))
    assert submitted["call_for_many"] == FILES
    assert_same(ours, frame.loc[frame["ratio"] > 0.5, ["number", "word"]].reset_index(drop=True))


def test_sql_written_side_by_side(
    mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path, submitted: Counter[str]
) -> None:
    address = f"sqlite:///{tmp_path / 'frame.sqlite'}"
    mpd.DataFrame(frame).to_sql("frame", address, index_label="row")
    assert submitted["map_axis"] == FILES
    # A table has no order, and that in which the tasks end is none.
    written = mpd.read_sql("select * from frame order by row", address)
    assert_same(written, frame.rename_axis("row").reset_index())


def test_sql_read_by_ranges_of_a_column(
    mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path, submitted: Counter[str]
) -> None:
    import modin.experimental.pandas as experimental

    address = f"sqlite:///{tmp_path / 'frame.sqlite'}"
    frame.to_sql("frame", address, index_label="row")
    ours = experimental.read_sql(
        "select * from frame",
        address,
        partition_column="row",
        lower_bound=0,
        upper_bound=ROWS - 1,
        max_sessions=FILES,
    )
    assert submitted["call_for_many"] == FILES
    assert_same(ours, frame.rename_axis("row").reset_index())


def test_text_read_by_a_parser_of_the_users_own(
    mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path, submitted: Counter[str]
) -> None:
    import modin.experimental.pandas as experimental

    path = tmp_path / "frame.txt"
    path.write_text(
        "".join(f"{n}|{word}\n" for n, word in zip(frame["number"], frame["word"], strict=True))
    )

    def parse(lines: Any, **_: Any) -> pd.DataFrame:
        pairs = [line.decode().rstrip().split("|") for line in lines]
        return pd.DataFrame({"n": [int(n) for n, _ in pairs], "word": [word for _, word in pairs]})

    def names(_lines: Any, **_: Any) -> list[str]:
        return ["n", "word"]

    expected = frame[["number", "word"]].set_axis(["n", "word"], axis=1)
    for columns in (["n", "word"], names):
        submitted.clear()
        ours = experimental.read_custom_text(path, columns, parse, is_quoting=False)
        assert submitted["call_for_many"] == FILES
        assert_same(ours, expected)


#: How many files of a format are written and read
GLOBS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "csv": ({"index": False}, {}),
    "parquet": ({}, {}),
    "json": ({}, {}),
    "pickle": ({}, {}),
    "xml": ({"index": False, "parser": "etree"}, {"parser": "etree"}),
}


def test_many_files_at_once(
    mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path, submitted: Counter[str]
) -> None:
    import modin.experimental.pandas as experimental

    ours = mpd.DataFrame(frame)
    for name, (written, read) in GLOBS.items():
        pattern = str(tmp_path / f"part*.{name}")
        submitted.clear()
        if name == "csv":  # Modin writes one file of it
            for number in range(FILES):
                part = frame[number * ROWS // FILES : (number + 1) * ROWS // FILES]
                part.to_csv(pattern.replace("*", str(number)), **written)
        else:
            getattr(ours.modin, f"to_{name}_glob")(pattern, **written)
            assert submitted["map_axis"] == FILES
        assert len(list(tmp_path.glob(f"*.{name}"))) == FILES
        again = getattr(experimental, f"read_{name}_glob")(pattern, **read)
        assert submitted["call_for_many"] >= FILES
        assert_same(again.reset_index(drop=True), frame)


def test_parquet_written_side_by_side(
    mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path, submitted: Counter[str]
) -> None:
    mpd.DataFrame(frame).to_parquet(tmp_path, compression="gzip", index=False)
    assert submitted["map_axis"] == FILES
    assert len(list(tmp_path.iterdir())) == FILES
    assert_same(mpd.read_parquet(tmp_path), frame)


def test_csv_written_side_by_side(
    mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path, submitted: Counter[str]
) -> None:
    mpd.DataFrame(frame).to_csv(tmp_path / "ours.csv")
    assert submitted["call"] == FILES
    assert (tmp_path / "ours.csv").read_text() == frame.to_csv()
