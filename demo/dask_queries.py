"""The jobs in ``dask.dataframe``, whose setting chooses the scheduler."""

from collections.abc import Callable
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from .checksum import empty_summary, summarise
from .data import Dataset
from .tpch import QUERIES

SHUFFLE_KEY = "l_partkey"


def q1(dataset: Dataset) -> pd.DataFrame:
    """Pricing summary report: one pass and a small groupby."""
    return QUERIES["q1"](reader(dataset))


def q3(dataset: Dataset) -> pd.DataFrame:
    """Shipping priority: two large joins, many groups, the ten greatest."""
    return QUERIES["q3"](reader(dataset))


def q5(dataset: Dataset) -> pd.DataFrame:
    """Local supplier volume: five joins and a small groupby."""
    return QUERIES["q5"](reader(dataset))


def shuffle(dataset: Dataset) -> pd.DataFrame:
    """Sort all columns of lineitem by a key that is random in the files, and describe each range.

    Only the description comes back to this process: the sorted table does not fit.
    """
    lineitem = reader(dataset)("lineitem").set_index(SHUFFLE_KEY)
    ranges: pd.DataFrame = lineitem.map_partitions(_summarise, meta=empty_summary()).compute()
    return ranges.reset_index(drop=True)


def _summarise(partition: pd.DataFrame) -> pd.DataFrame:
    return summarise(pa.Table.from_pandas(partition.reset_index()), SHUFFLE_KEY)


def reader(dataset: Dataset) -> Callable[[str], Any]:
    """Return a function that opens a table by its name; Dask reads the columns that are used."""
    return lambda table: dd.read_parquet(dataset.pattern(table))
