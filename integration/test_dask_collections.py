"""Every kind of Dask collection gives the answers of Dask's own synchronous scheduler."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import millpond
import millpond.dask
from millpond.adapters.dask.graph import materialize


@pytest.fixture(autouse=True)
def enabled(engine: millpond.Context) -> Iterator[millpond.Context]:
    with millpond.dask.enable():
        yield engine


def check(*collections: Any) -> None:
    ours = dask.compute(*collections)
    theirs = dask.compute(*collections, scheduler="sync")
    for our, their in zip(ours, theirs, strict=True):
        if isinstance(their, np.ndarray):
            np.testing.assert_allclose(our, their)
            assert our.dtype == their.dtype
        elif isinstance(their, pd.DataFrame):
            pd.testing.assert_frame_equal(our, their)
        elif isinstance(their, pd.Series):
            pd.testing.assert_series_equal(our, their)
        else:
            assert our == their


def test_delayed() -> None:
    @dask.delayed
    def inc(x: int) -> int:
        return x + 1

    values = [inc(i) for i in range(30)]
    quotient, rest = dask.delayed(divmod, nout=2)(17, 5)
    check(dask.delayed(sum)(values), quotient + rest, dask.delayed({"a": [values[3]], "b": 2}))
    assert dask.compute({"a": values[0], "b": (values[1], [3])}) == ({"a": 1, "b": (2, [3])},)


def test_bag() -> None:
    bag = db.from_sequence(range(500), npartitions=7)
    check(bag.map(lambda x: x * x).filter(lambda x: x % 3 == 0).sum(), bag.frequencies())
    grouped = dict(bag.groupby(lambda x: x % 4, shuffle="tasks").compute())
    assert {k: sorted(v) for k, v in grouped.items()} == {k: [*range(k, 500, 4)] for k in range(4)}
    check(bag.repartition(3).map_partitions(lambda part: [sum(part)]), bag.repartition(20))
    check(bag.take(5, compute=False), bag.to_delayed()[0])


def test_array() -> None:
    x = da.random.default_rng(1).random((300, 200), chunks=(70, 60))
    check(x, x.sum(axis=0), (x @ x.T)[:5], x.rechunk((300, 20)).std(axis=0), x[::3, 7])
    q, r = da.linalg.qr(x.rechunk((75, 200)))
    check(q @ r, da.linalg.svd(x.rechunk((75, 200)))[1], da.percentile(x[:, 0], [10, 50]))
    result = (x + 1).compute()
    result += 1  # results are the caller's own


def test_dataframe() -> None:
    n = 20_000
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {
            "key": rng.integers(0, 200, n),
            "value": rng.random(n),
            "text": rng.integers(0, 50, n).astype(str),
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, n, n), "s"),
        }
    )
    other = pd.DataFrame({"key": np.arange(200), "weight": rng.random(200)})
    df, right = dd.from_pandas(frame, npartitions=6), dd.from_pandas(other, npartitions=2)
    check(df, df.value.mean(), df.groupby("text").value.sum(), df[df.value > 0.5].key.nunique())
    check(df.set_index("when"), df.sort_values("value"))
    merged = df.merge(right, on="key").compute().sort_values(["when", "value"])
    expected = frame.merge(other, on="key").sort_values(["when", "value"])
    pd.testing.assert_frame_equal(
        merged.reset_index(drop=True), expected.reset_index(drop=True), check_dtype=False
    )
    result = df.compute()
    result.iloc[0, 0] = -1  # results are the caller's own


def test_partition_wise_steps_of_frames_are_one_task_each() -> None:
    df = dd.from_pandas(pd.DataFrame({"a": range(80), "b": 2.0}), npartitions=4)
    seen: list[int] = []
    one = (df.a * (1 - df.b) + df.a).sum()
    two = (df.a + df.b).max()

    def counting(dsk: Any, keys: Any, **_: Any) -> Any:
        seen.append(len(materialize(dsk)))
        return millpond.dask.get(dsk, keys)

    assert dask.compute(one, two, scheduler=counting) == (0.0, 81.0)
    assert dask.compute(one, two, scheduler="sync") == (0.0, 81.0)
    assert seen[0] < 30  # 46 without fusion


def test_more_partitions_than_one_stage_of_a_shuffle() -> None:
    frame = pd.DataFrame({"a": np.arange(2_000) % 97, "b": np.arange(2_000.0)})
    shuffled = dd.from_pandas(frame, npartitions=40).shuffle("a", npartitions=45)
    parts = dask.compute(*shuffled.to_delayed())
    assert len(parts) == 45
    owners = pd.concat([part.assign(part=i) for i, part in enumerate(parts)])
    assert set(owners.groupby("a").part.nunique()) == {1}
    pd.testing.assert_frame_equal(owners[["a", "b"]].sort_values("b"), frame, check_dtype=False)


@pytest.mark.filterwarnings("ignore:Computing mixed collections:UserWarning")
def test_mixed_collections_in_one_computation() -> None:
    array = da.arange(100, chunks=30)
    frame = dd.from_pandas(pd.DataFrame({"a": range(50)}), npartitions=3)
    bag = db.from_sequence(range(10), npartitions=2)
    single = dask.delayed(abs)(-3)
    assert dask.compute(array.sum(), frame.a.sum(), bag.sum(), single) == (4950, 1225, 45, 3)


def test_store_into_an_array_of_the_driver() -> None:
    source = da.arange(1_000, chunks=100).reshape((50, 20)) * 2
    target = np.zeros((50, 20))
    da.store(source, target)
    np.testing.assert_array_equal(target, np.arange(1_000).reshape((50, 20)) * 2)
    kept = source.persist()
    again = np.zeros((50, 20))
    da.store([kept, kept + 1], [again, target], lock=True)
    np.testing.assert_array_equal(again + 1, target)
    third = np.zeros((50, 20))
    stored = da.store(source, third, return_stored=True, compute=False)
    assert (stored + 1).sum().compute() == source.sum().compute() + 1_000
    np.testing.assert_array_equal(third, again)
    fourth = np.zeros((50, 20))
    stored = da.store(source, fourth, return_stored=True, compute=True)
    np.testing.assert_array_equal(stored.compute(), again)
    np.testing.assert_array_equal(fourth, again)


def test_store_into_a_file_that_the_driver_has_open(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    source = da.arange(1_000, chunks=100) + 1
    mapped = np.memmap(tmp_path / "mapped", dtype="i8", mode="w+", shape=1_000)
    da.store(source, mapped)
    mapped.flush()
    np.testing.assert_array_equal(np.fromfile(tmp_path / "mapped", "i8"), np.arange(1, 1_001))
    with h5py.File(tmp_path / "file.h5", "w") as file:
        dataset = file.create_dataset("numbers", shape=(1_000,), dtype="i8")
        with dask.config.set(scheduler="millpond"):
            da.store(source, dataset)
            np.testing.assert_array_equal(dataset[:], np.arange(1, 1_001))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # read in the driver, as it is told
                assert (da.from_array(dataset, chunks=250) + 1).sum().compute() == 501_500
    da.to_hdf5(tmp_path / "other.h5", {"/numbers": source})
    with h5py.File(tmp_path / "other.h5") as file:
        np.testing.assert_array_equal(file["numbers"][:], np.arange(1, 1_001))


@pytest.mark.parametrize("kind", ["memory", "fsspec", "files"])
def test_store_into_zarr(kind: str, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", minversion="3")
    if kind == "memory":
        store = zarr.storage.MemoryStore()
    elif kind == "fsspec":
        store = zarr.storage.FsspecStore.from_url(f"memory://{tmp_path}")
    else:
        store = zarr.storage.LocalStore(tmp_path / "array.zarr")
    target = zarr.create_array(store, shape=(40, 30), chunks=(10, 15), dtype="i8")
    source = da.arange(1_200, chunks=1_200).reshape((40, 30)).rechunk((10, 15)) + 1
    source.to_zarr(target)
    np.testing.assert_array_equal(target[:], np.arange(1, 1_201).reshape((40, 30)))


def test_a_peer_to_peer_graph_names_the_setting() -> None:
    frame = dd.from_pandas(pd.DataFrame({"a": range(50)}), npartitions=3)
    with (
        dask.config.set({"dataframe.shuffle.method": "p2p"}),
        pytest.raises(RuntimeError, match=r'"dataframe.shuffle.method": "tasks"'),
    ):
        frame.shuffle("a").compute()
