"""Sort lineitem with plain tasks: sample, cut into buckets, merge the buckets.

Classic external sort. A sample of the keys gives the bounds of the buckets; one task a file cuts it
into buckets (``num_returns``: each bucket is an object of its own); one task a bucket merges and
sorts what the files gave it. Sorted buckets stay in the object store, spilled as it needs, until
they are read again in order.
"""

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import millpond

from .checksum import summarise
from .data import Dataset

#: The price is nearly unique and random in the files, so every file feeds every bucket.
KEY = "l_extendedprice"

_SAMPLES_A_FILE = 1_000


@millpond.remote
def sample(path: Path) -> npt.NDArray[np.float64]:
    """Return some keys of a file, drawn at random."""
    keys = pq.read_table(path, columns=[KEY]).column(KEY).to_numpy()
    return np.random.default_rng(0).choice(keys, min(_SAMPLES_A_FILE, len(keys)), replace=False)


@millpond.remote
def partition(path: Path, bounds: npt.NDArray[np.float64]) -> tuple[pa.Table, ...]:
    """Cut a file into ``len(bounds) + 1`` tables; table i has the keys from bound i - 1 below i."""
    rows = pq.read_table(path)
    buckets = np.searchsorted(bounds, rows.column(KEY).to_numpy(), side="right")
    order = np.argsort(buckets, kind="stable")
    edges = np.searchsorted(buckets[order], np.arange(len(bounds) + 2))
    # take() copies: a slice would drag the whole file's buffers along.
    return tuple(rows.take(order[low:high]) for low, high in itertools.pairwise(edges))


@millpond.remote
def merge(*pieces: pa.Table) -> pa.Table:
    """Return the rows of all pieces in the order of their keys."""
    rows = pa.concat_tables(pieces)
    return rows.take(pc.sort_indices(rows, [(KEY, "ascending")])).combine_chunks()


@millpond.remote
def describe(rows: pa.Table) -> pd.DataFrame:
    """Describe a sorted bucket (`checksum.summarise`)."""
    return summarise(rows, KEY)


def sort(dataset: Dataset) -> pd.DataFrame:
    """Sort all columns of lineitem, then read every sorted bucket again to describe it."""
    files = dataset.files("lineitem")
    keys = np.sort(np.concatenate(millpond.get([sample.remote(path) for path in files])))
    # As many buckets as files, cut at equal distances in the sample.
    bounds = keys[[len(keys) * number // len(files) for number in range(1, len(files))]]

    cut = partition.options(num_returns=len(files))
    pieces = [cut.remote(path, bounds) for path in files]
    buckets = [merge.remote(*column) for column in zip(*pieces, strict=True)]
    # The pieces are the buckets' arguments now: without these refs each goes once it is merged.
    del pieces
    ranges: list[pd.DataFrame] = millpond.get([describe.remote(bucket) for bucket in buckets])
    return pd.concat(ranges)
