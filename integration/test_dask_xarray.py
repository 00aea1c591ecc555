"""xarray on millpond: files read and written in chunks, groupby, resample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest

import millpond
import millpond.dask

xr = pytest.importorskip("xarray")

pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata")


@pytest.fixture(autouse=True)
def enabled(engine: millpond.Context) -> Iterator[millpond.Context]:
    with millpond.dask.enable():
        yield engine


@pytest.fixture
def dataset() -> xr.Dataset:
    times = pd.date_range("2020-01-01", periods=60)
    values = np.random.default_rng(0).random((60, 50))
    return xr.Dataset({"t": (("time", "x"), values)}, coords={"time": times, "x": np.arange(50)})


@pytest.mark.parametrize("engine_name", ["h5netcdf", "netcdf4"])
def test_many_files_are_read_and_written(
    engine_name: str, dataset: xr.Dataset, tmp_path: Path
) -> None:
    pytest.importorskip({"h5netcdf": "h5netcdf", "netcdf4": "netCDF4"}[engine_name])
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.nc")
        part = dataset.isel(time=slice(20 * i, 20 * i + 20)).chunk(time=5)
        part.to_netcdf(paths[-1], engine=engine_name)
    chunks = {"time": 5}
    with xr.open_mfdataset(paths, engine=engine_name, combine="by_coords", chunks=chunks) as many:
        xr.testing.assert_allclose(many.t.mean().compute(), dataset.t.mean())
        by_month = many.groupby("time.month").mean().compute()
        xr.testing.assert_allclose(by_month, dataset.groupby("time.month").mean())
        weekly = many.resample(time="7D").sum().compute()
        xr.testing.assert_allclose(weekly, dataset.resample(time="7D").sum())


def test_zarr_and_a_store_that_comes_later(dataset: xr.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    pytest.importorskip("netCDF4")
    lazy = dataset.chunk(time=10)
    lazy.to_zarr(tmp_path / "z")
    xr.testing.assert_allclose(xr.open_zarr(tmp_path / "z").compute(), dataset)
    later = lazy.to_netcdf(tmp_path / "later.nc", compute=False)
    later.compute()
    with xr.open_dataset(tmp_path / "later.nc") as stored:
        xr.testing.assert_allclose(stored.compute(), dataset)


def test_persisted_datasets(dataset: xr.Dataset) -> None:
    lazy = (dataset.chunk(time=10) + 1).persist()
    assert len(millpond.dask.futures_of(lazy)) == 6
    xr.testing.assert_allclose(lazy.mean().compute(), (dataset + 1).mean())
    (one,) = dask.compute(lazy.t[3])
    xr.testing.assert_allclose(one, dataset.t[3] + 1)
