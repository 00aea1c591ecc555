"""Modin frames as Dask frames, Arrow tables and refs, and back, over the same objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import millpond
import millpond.dask
import millpond.modin
from integration.modin_support import NO_DEFAULTING, assert_same, mpd

pytestmark = NO_DEFAULTING
__all__ = ["mpd"]

ROWS = 40_000


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "n": np.arange(ROWS),
            "x": np.linspace(0, 1, ROWS),
            "day": pd.date_range("2021-05-01", periods=ROWS, freq="min"),
            "kind": pd.Categorical(np.resize(["a", "b"], ROWS)),
            "word": np.resize(["one", "two", None], ROWS),
        }
    )


@pytest.fixture
def by_dask(mpd: ModuleType) -> Iterator[None]:
    with millpond.dask.enable():
        yield


def refs_in(modin_frame: Any) -> list[millpond.ObjectRef[Any]]:
    inner = modin_frame._query_compiler._modin_frame
    return [block.stored for block in inner._partitions.flat]


#: What has labels, kinds of labels, and partitions of every sort.
FRAMES: dict[str, Callable[[Any], Any]] = {
    "as it was made": lambda f: f,
    "column": lambda f: f["x"],
    "without a name": lambda f: f["x"] * f["n"],
    "filtered": lambda f: f[f["x"] > 0.5],
    "without rows": lambda f: f[f["x"] > 5],
    "renamed columns": lambda f: f.rename(columns={"n": "number"}),
    "another range": lambda f: f[f["n"] % 3 == 0].reset_index(drop=True),
    "dates for labels": lambda f: f.set_index("day"),
    "sorted": lambda f: f.sort_values("x", ascending=False),
    "grouped": lambda f: f.groupby("kind", observed=True)[["n", "x"]].sum(),
    "joined": lambda f: f.merge(f[["n", "x"]], on="n"),
    "a column more": lambda f: f.assign(y=f["x"] * 2),
    "a part": lambda f: f.iloc[100:200, [0, 2]],
    "made longer": lambda f: type(f)(f).head(10),
}


@pytest.mark.usefixtures("by_dask")
@pytest.mark.parametrize("way", ["dask", "arrow", "refs"])
def test_there_and_back(mpd: ModuleType, frame: pd.DataFrame, way: str) -> None:
    ours = mpd.DataFrame(frame)
    for name, make in FRAMES.items():
        modin_value, expected = make(ours), make(frame)
        try:
            if way == "dask":
                there = millpond.modin.to_dask(modin_value)
                computed = there.compute()
                back = millpond.modin.from_dask(there)
            elif way == "arrow":
                there = millpond.modin.to_arrow(modin_value)
                if expected.ndim == 1:
                    expected = expected.to_frame().rename(columns=str)
                computed = there.to_pandas()
                back = millpond.modin.from_arrow(there)
            else:
                there = millpond.modin.to_refs(modin_value)
                computed = pd.concat(millpond.get(there))
                back = millpond.modin.from_refs(there) if expected.ndim > 1 else modin_value
            # Labels that are a range in pieces need not be one in the end.
            how = {"check_index_type": "equiv", "check_freq": False}
            assert_same(computed, expected, **how)
            assert_same(back, expected, **how)
        except Exception as error:
            error.add_note(f"frame: {name}")
            raise


@pytest.mark.usefixtures("by_dask")
def test_dask_and_modin_share_the_objects(mpd: ModuleType, frame: pd.DataFrame) -> None:
    ours = mpd.DataFrame(frame)
    before = millpond.statistics().store
    theirs = millpond.modin.to_dask(ours)
    assert isinstance(theirs, dd.DataFrame)
    assert theirs["x"].sum().compute() == pytest.approx(frame["x"].sum())
    back = millpond.modin.from_dask(theirs)
    again = millpond.modin.to_dask(back)
    assert len(millpond.modin.from_dask(again)) == ROWS
    assert refs_in(back) == refs_in(ours)
    assert refs_in(millpond.modin.from_dask(again)) == refs_in(ours)
    after = millpond.statistics().store
    assert (after.used, after.num_objects) == (before.used, before.num_objects)
    # Nor was there a copy for a while.
    assert after.peak - before.peak < frame["x"].nbytes
    # Dask alone keeps the objects, and then Modin alone.
    del ours, back, again
    assert theirs["n"].max().compute() == ROWS - 1
    alone = millpond.modin.from_dask(theirs)
    del theirs
    assert_same(alone, frame)


@pytest.mark.usefixtures("by_dask")
def test_labels_alone_are_not_worth_a_copy(
    mpd: ModuleType, frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame.to_parquet(tmp_path / "frame.parquet", row_group_size=ROWS // 4)
    ours = mpd.read_parquet(tmp_path / "frame.parquet").rename(columns={"n": "number"})
    assert len(ours) == ROWS
    theirs = millpond.modin.to_dask(ours)
    # Modin's readers leave the labels of the rows to be set later, and so does renaming.
    assert theirs.divisions == (*(i * ROWS // 4 for i in range(4)), ROWS - 1)
    assert theirs.loc[50:60, "number"].compute().tolist() == list(range(50, 61))
    back = millpond.modin.from_dask(theirs)
    assert refs_in(back) == refs_in(ours)
    assert_same(back, frame.rename(columns={"n": "number"}))


@pytest.mark.usefixtures("by_dask")
def test_results_of_dask_become_a_frame(mpd: ModuleType, frame: pd.DataFrame) -> None:
    theirs = dd.from_pandas(frame[["n", "x"]], npartitions=3)
    lazy = millpond.modin.from_dask(theirs[theirs["x"] > 0.25])
    expected = frame.loc[frame["x"] > 0.25, ["n", "x"]]
    assert_same(lazy, expected)
    column = millpond.modin.from_dask(theirs["x"] + 1)
    assert type(column) is mpd.Series
    assert_same(column, frame["x"] + 1)
    assert_same(column[column > 1.5].sum(), (frame["x"] + 1)[frame["x"] > 0.5].sum())
    persisted = theirs.assign(y=theirs["n"] * 2).persist()
    shared = millpond.modin.from_dask(persisted)
    held = {each.ref for each in millpond.dask.futures_of(persisted)}
    assert set(refs_in(shared)) == held
    assert_same(shared["y"].sum(), 2 * frame["n"].sum())


@pytest.mark.usefixtures("by_dask")
def test_modins_own_names(mpd: ModuleType, frame: pd.DataFrame) -> None:
    from modin.pandas.io import from_arrow, from_dask, to_dask

    theirs = to_dask(mpd.DataFrame(frame))
    assert_same(from_dask(theirs), frame)
    assert_same(from_arrow(pa.Table.from_pandas(frame)), frame)


@pytest.mark.usefixtures("by_dask")
def test_an_error_shows_where_it_is_used(mpd: ModuleType) -> None:
    def fail(_: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        millpond.modin.to_dask(mpd.DataFrame({"a": range(1000)})["a"].map(fail)).compute()


def test_memory_of_arrow_tables_is_that_of_the_store(mpd: ModuleType, frame: pd.DataFrame) -> None:
    table = millpond.modin.to_arrow(mpd.DataFrame(frame))
    assert table.column("x").num_chunks == 4
    arenas = [
        tuple(int(bound, 16) for bound in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "memfd:millpond" in line
    ]
    for name in ("n", "x", "day", "word"):
        for chunk in table.column(name).chunks:
            data = chunk.buffers()[-1]
            assert any(start <= data.address < end for start, end in arenas)
    # Nothing but the table holds what it is made of.
    gone = millpond.statistics().store.num_objects
    del table, chunk, data
    assert millpond.statistics().store.num_objects < gone


def test_arrow_tables_of_pieces_and_labels(mpd: ModuleType) -> None:
    for expected in (
        pd.DataFrame({"a": range(100)}, index=pd.RangeIndex(5, 205, 2, name="step")),
        pd.DataFrame({"a": range(100)}, index=pd.Index(map(str, range(100)), name="text")),
        pd.DataFrame({"a": [None] * 90 + ["late"] * 10, "b": [1.5, None] * 50}),
        pd.DataFrame({"a": []}),
    ):
        table = millpond.modin.to_arrow(mpd.DataFrame(expected))
        pd.testing.assert_frame_equal(table.to_pandas(), expected)
        plain = pa.Table.from_pandas(expected)
        assert_same(millpond.modin.from_arrow(plain), plain.to_pandas())
        sliced = plain.slice(3, 20)
        assert_same(millpond.modin.from_arrow(sliced), sliced.to_pandas())
    bare = pa.table({"n": [1, None, 3], "s": ["x", "y", None]})
    assert_same(millpond.modin.from_arrow(bare), bare.to_pandas())
    without = millpond.modin.to_arrow(mpd.DataFrame({"a": [1]}, index=["k"]), preserve_index=False)
    assert without.column_names == ["a"]
    with pytest.raises(pa.ArrowInvalid):
        millpond.modin.to_arrow(mpd.DataFrame({"a": [1, "x"]}))


def test_wide_arrow_tables_are_cut_as_modin_cuts_frames(mpd: ModuleType) -> None:
    numbers = np.arange(200 * 90).reshape(200, 90)
    labels = pd.Index(map(str, range(200)), name="text")
    levels = pd.MultiIndex.from_product([["a", "b", "c"], range(30)], names=["letter", "number"])
    rows = pd.MultiIndex.from_product([range(20), range(10)], names=["ten", "one"])
    for expected in (
        pd.DataFrame(numbers),
        pd.DataFrame(numbers, labels, [f"column {i}" for i in range(90)]),
        pd.DataFrame(numbers, rows, levels),
    ):
        table = pa.Table.from_pandas(expected)
        ours = millpond.modin.from_arrow(table)
        assert_same(ours, table.to_pandas())
        inner = ours._query_compiler._modin_frame
        alike = mpd.DataFrame(expected)._query_compiler._modin_frame
        assert inner._partitions.shape == alike._partitions.shape == (4, 3)
        assert inner.column_widths == alike.column_widths == [32, 32, 26]
        assert_same(ours[ours.columns[40:50]].sum(), expected[expected.columns[40:50]].sum())
    unnamed = pa.table([pa.array([i]) for i in range(40)], names=["same"] * 40)
    assert_same(millpond.modin.from_arrow(unnamed), unnamed.to_pandas())
    assert_same(millpond.modin.from_arrow(pa.table({})), pa.table({}).to_pandas())


def test_refs_are_those_of_the_blocks(mpd: ModuleType, frame: pd.DataFrame) -> None:
    from modin.distributed.dataframe.pandas import unwrap_partitions

    ours = mpd.DataFrame(frame)
    used = millpond.statistics().store.used
    refs = millpond.modin.to_refs(ours)
    assert refs == refs_in(ours) == [row[0] for row in unwrap_partitions(ours)]
    again = millpond.modin.from_refs(refs)
    assert refs_in(again) == refs
    assert_same(again["x"].sum(), frame["x"].sum())
    assert millpond.statistics().store.used == used
    # A name that is set in place is one that the blocks do not have.
    ours.index.name = "row"
    assert millpond.get(millpond.modin.to_refs(ours)[1]).index.name == "row"
    name, *_ = millpond.get(millpond.modin.to_refs(ours["x"]))
    assert name.name == "x"


@pytest.mark.usefixtures("mpd")
def test_refs_of_running_tasks() -> None:
    @millpond.remote
    def make(start: int) -> pd.DataFrame:
        return pd.DataFrame({"n": range(start, start + 10)}, index=range(start, start + 10))

    ours = millpond.modin.from_refs([make.remote(i) for i in (0, 10, 20)])
    assert_same(ours, pd.DataFrame({"n": range(30)}))


def test_what_cannot_be_exchanged_is_named(mpd: ModuleType) -> None:
    other = mpd.DataFrame({"a": [1]}).move_to("Python_Test")
    for function in (millpond.modin.to_dask, millpond.modin.to_arrow, millpond.modin.to_refs):
        for wrong in (pd.DataFrame({"a": [1]}), other):
            with pytest.raises(TypeError, match="on millpond"):
                function(wrong)
    with pytest.raises(TypeError, match="Dask frame"):
        millpond.modin.from_dask(pd.DataFrame())
    with pytest.raises(TypeError, match=r"pyarrow\.Table"):
        millpond.modin.from_arrow(pd.DataFrame())
    with pytest.raises(ValueError, match="refs"):
        millpond.modin.from_refs([])
    with pytest.raises(TypeError, match="ObjectRef"):
        millpond.modin.from_refs([pd.DataFrame()])
    with pytest.raises(AttributeError, match="to_nothing"):
        millpond.modin.to_nothing(other)
