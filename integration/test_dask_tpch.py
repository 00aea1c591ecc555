"""TPC-H's 22 queries on Dask's dataframe, in memory and with less store than data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dask
import pandas as pd
import pytest

import millpond
import millpond.dask
from demo import tpch
from demo.compare import difference
from demo.dask_queries import reader
from demo.data import Dataset, prepare
from demo.duck import Duck
from integration.conftest import MIB

#: 120,000 lines of orders, 18 MB in memory as Arrow arrays
SCALE_FACTOR = 0.02


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare(tmp_path_factory.mktemp("tpch") / "data", SCALE_FACTOR)


@pytest.fixture(scope="module")
def expected(
    dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], pd.DataFrame]:
    return Duck(dataset, tmp_path_factory.mktemp("duck")).answer


def wrong(
    names: list[str], dataset: Dataset, expected: Callable[[str], pd.DataFrame]
) -> dict[str, str]:
    """Return what is wrong with the answers, by query."""
    settings = {"dataframe.parquet.minimum-partition-size": MIB}  # several partitions each
    found = {}
    with millpond.dask.enable(), dask.config.set(settings):
        for name in names:
            answer = tpch.QUERIES[name](reader(dataset))
            found[name] = difference(answer, expected(name))
    return {name: text for name, text in found.items() if text is not None}


@pytest.mark.slow
@pytest.mark.usefixtures("engine")
def test_all_queries(dataset: Dataset, expected: Callable[[str], pd.DataFrame]) -> None:
    assert len(tpch.QUERIES) == 22
    assert not wrong(list(tpch.QUERIES), dataset, expected)


@pytest.mark.slow
def test_queries_with_less_store_than_data(
    start: Callable[..., millpond.Context],
    dataset: Dataset,
    expected: Callable[[str], pd.DataFrame],
    tmp_path: Path,
) -> None:
    """Those that join or group the largest tables whole."""
    limit = 4 * MIB
    start(object_store_memory=limit)
    assert not wrong(["q9", "q18"], dataset, expected)
    store = millpond.statistics().store
    assert store.spilled_bytes_total > 0
    assert store.peak <= limit
