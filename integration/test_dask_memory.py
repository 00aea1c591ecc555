"""What the store holds while Dask computes on millpond, and afterwards: as little as can be."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import millpond
import millpond.dask
from integration.conftest import MIB, assert_store_empty
from millpond.adapters.dask.results import collect
from millpond.adapters.dask.tracebacks import keeping_nothing


@pytest.mark.usefixtures("engine")
def test_intermediates_are_released_as_soon_as_they_were_used() -> None:
    chunk, count = 4 * MIB, 60  # 240 MiB in all, and as much again for the sums

    def load(i: int) -> np.ndarray:
        return np.full(chunk // 8, float(i))

    def total(a: np.ndarray, b: np.ndarray) -> float:
        return float(a[0] + b[0])

    loaded = [dask.delayed(load)(i) for i in range(count)]
    moved = [dask.delayed(np.add)(a, 1) for a in loaded]
    sums = [dask.delayed(total)(a, b) for a, b in zip(loaded, moved, strict=True)]
    with millpond.dask.enable():
        assert sum(dask.compute(*sums)) == sum(2 * i + 1 for i in range(count))
    assert_store_empty()  # the last workers answer a moment before they let go of their arguments
    statistics = millpond.statistics().store
    assert statistics.peak < 20 * chunk
    assert statistics.spilled_bytes_total == 0


@pytest.mark.usefixtures("engine")
def test_results_hold_nothing_in_the_store() -> None:
    with millpond.dask.enable():
        array = da.ones((1_000, 1_000), chunks=300).compute()
        single = dask.delayed(np.ones)(MIB).compute()
        frame = dd.from_pandas(
            pd.DataFrame({"a": range(100_000), "s": ["text"] * 100_000}), npartitions=3
        ).compute()
    assert array.flags.writeable
    assert single.flags.writeable
    assert len(frame) == 100_000
    assert_store_empty()  # while the results are held


def test_results_larger_than_the_store(start: Callable[..., millpond.Context]) -> None:
    start(object_store_memory=32 * MIB)
    with millpond.dask.enable():
        result = da.arange(16 * MIB // 2, chunks=MIB // 2).compute()  # 64 MiB
    assert result[-1] == 16 * MIB // 2 - 1
    assert millpond.statistics().store.peak <= 32 * MIB


def test_a_single_result_larger_than_the_store(start: Callable[..., millpond.Context]) -> None:
    start(object_store_memory=32 * MIB)
    with millpond.dask.enable(), pytest.warns(millpond.ObjectStoreWarning, match="store"):
        result = dask.delayed(np.ones)(64 * MIB // 8).compute()
    assert result.flags.writeable
    assert result.sum() == 8 * MIB
    assert millpond.statistics().store.peak <= 32 * MIB
    assert_store_empty()


@pytest.mark.usefixtures("engine")
def test_results_that_this_process_has_no_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before the last of them, with the figures; the engine goes on."""
    real = millpond.available_memory
    monkeypatch.setattr(millpond, "available_memory", lambda: 20_000_000)
    chunks = da.ones(10_000_000, chunks=500_000)  # 20 chunks of 4 MB
    with millpond.dask.enable():
        with pytest.raises(millpond.OutOfMemoryError, match="20 MB are free") as raised:
            chunks.compute()
        assert "4 MB and 20 MB more to put them together" in str(raised.value)  # the fifth of 20
        assert_store_empty()  # while the error is held
        assert chunks.sum().compute() == 10_000_000
        with pytest.raises(millpond.OutOfMemoryError, match="needs 40 MB, and 20 MB"):
            dask.delayed(np.ones)(5_000_000).compute()
        monkeypatch.setattr(millpond, "available_memory", real)
        assert len(chunks.compute()) == 10_000_000
    assert_store_empty()


@pytest.mark.usefixtures("engine")
def test_an_error_that_is_kept_keeps_no_result_that_was_not_ready(tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    @millpond.remote
    def wait_for_gate() -> None:
        while not gate.exists():
            time.sleep(0.01)

    def refuse(key: object, value: object) -> None:
        raise ValueError(f"{key} is refused")

    refs = {"quick": millpond.put(1), "slow": wait_for_gate.remote()}
    slow = weakref.ref(refs["slow"])
    with pytest.raises(ValueError, match="quick is refused") as raised:
        keeping_nothing(collect)(refs, refuse)
    assert raised.traceback
    assert list(refs) == ["slow"]
    refs.clear()
    assert slow() is None
    gate.touch()
    assert_store_empty()


@pytest.mark.usefixtures("engine")
def test_persisted_chunks_live_as_long_as_their_collection() -> None:
    with millpond.dask.enable():
        x = da.ones((1_000, 1_000), chunks=250).persist()
        assert x.sum().compute() == 1_000_000
        held = millpond.statistics().store.used
        assert held >= 8_000_000
        y = (x + 1).persist()
        del x
        assert y.sum().compute() == 2_000_000
        assert millpond.statistics().store.used < 1.5 * held
        row = y[0].persist()
        del y
        assert row.compute().tolist() == [2.0] * 1_000
        del row
        assert_store_empty()

        frame = dd.from_pandas(pd.DataFrame({"a": np.arange(100_000)}), npartitions=4).persist()
        assert frame.merge(frame, on="a").a.sum().compute() == 4_999_950_000
        delayed = dask.delayed(sum)(frame.to_delayed()[0].a).persist()
        del frame
        assert delayed.compute() == sum(range(25_000))
        one, two = dask.persist(da.zeros(10, chunks=5), dask.delayed(abs)(-1))
        assert one.sum().compute() + two.compute() == 1
        del delayed, one, two
    assert_store_empty()


@pytest.mark.usefixtures("engine")
def test_persist_does_not_wait() -> None:
    def fail() -> None:
        raise LookupError("later")

    with millpond.dask.enable():
        broken = dask.delayed(fail)().persist()  # the error belongs to who asks for the value
        with pytest.raises(LookupError, match="later"):
            broken.compute()
        with pytest.raises(LookupError, match="later"):
            dask.delayed(str)(broken).compute()
        del broken
        gc.collect()


def test_data_larger_than_the_store(start: Callable[..., millpond.Context], tmp_path: Path) -> None:
    limit = 12 * MIB
    start(object_store_memory=limit)
    n, parts = 200_000, 8
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {f"v{i}": rng.random(n) for i in range(9)} | {"key": rng.permutation(n)}
    )  # 16 MB, and a shuffle holds it twice
    for i, part in enumerate(np.array_split(np.arange(n), parts)):
        frame.iloc[part].to_parquet(tmp_path / f"{i:03}.parquet")
    df = dd.read_parquet(tmp_path)
    other = frame[["key"]].assign(weight=rng.random(n))
    with millpond.dask.enable():
        indexed = df.set_index("key", npartitions=parts)
        ends = indexed.map_partitions(
            lambda part: pd.DataFrame({"first": [part.index[0]], "length": [len(part)]}),
            meta={"first": int, "length": int},
        ).compute()
        merged = df.merge(dd.from_pandas(other, npartitions=4), on="key", how="inner")
        totals = merged[["v0", "weight"]].sum().compute()
    assert ends["first"].is_monotonic_increasing
    assert ends["length"].sum() == n
    assert totals["v0"] == pytest.approx(frame["v0"].sum())
    assert totals["weight"] == pytest.approx(other["weight"].sum())
    statistics = millpond.statistics().store
    assert statistics.peak <= limit
    assert statistics.spilled_bytes_total > 0
    assert statistics.used == 0
