"""Checksums of sorted lineitem: what each range of a sort must hold, and DuckDB's word on it.

A sort spreads its answer over many partitions that do not fit into memory together. Each partition
is therefore described by its range of keys, its number of rows, whether it is in order, and a
checksum over its rows; DuckDB computes the same for the same ranges. The checksum hashes a row as a
whole (keys, money, date and lengths of texts together, modulo a prime), so that rows lost, doubled,
moved to another range or torn apart between columns all change it; the order of rows does not.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_PRIME = 2_147_483_647
#: Column expression in SQL -> its odd multiplier. Products stay far below 2**63.
_TERMS = {
    "l_orderkey": 2_654_435_761,
    "l_linenumber": 97_003_241,
    "l_partkey": 40_503_017,
    "l_suppkey": 73_856_093,
    "cast(round(l_extendedprice * 100) as bigint)": 19_349_663,
    "date_diff('day', timestamp '1970-01-01', l_shipdate)": 83_492_791,
    "length(l_shipinstruct)": 67_867_979,
    "length(l_comment)": 49_979_687,
}

ROW_HASH_SQL = f"(({' + '.join(f'{term} * {k}' for term, k in _TERMS.items())}) % {_PRIME})"

_MILLISECONDS_A_DAY = 86_400_000


def summarise(partition: pa.Table, key: str) -> pd.DataFrame:
    """Describe one sorted partition of lineitem in one row, or none if it is empty.

    Columns: ``low`` and ``high`` (first and last key), ``rows``, ``ordered`` (keys never fall),
    ``checksum`` (sum of the rows' hashes), ``quantity`` (sum, float).
    """
    if partition.num_rows == 0:
        return empty_summary()
    keys = partition.column(key).to_numpy()
    return pd.DataFrame(
        {
            "low": [float(keys[0])],
            "high": [float(keys[-1])],
            "rows": [partition.num_rows],
            "ordered": [bool((keys[1:] >= keys[:-1]).all())],
            "checksum": [int(_row_hashes(partition).sum())],
            "quantity": [float(pc.sum(partition.column("l_quantity")).as_py())],
        }
    )


def empty_summary() -> pd.DataFrame:
    """Return what `summarise` gives for no rows; its types are the types of every summary."""
    return pd.DataFrame(
        {
            "low": pd.Series(dtype="float64"),
            "high": pd.Series(dtype="float64"),
            "rows": pd.Series(dtype="int64"),
            "ordered": pd.Series(dtype="bool"),
            "checksum": pd.Series(dtype="int64"),
            "quantity": pd.Series(dtype="float64"),
        }
    )


def _row_hashes(rows: pa.Table) -> npt.NDArray[np.int64]:
    cents = np.rint(rows.column("l_extendedprice").to_numpy() * 100).astype(np.int64)
    shipped = rows.column("l_shipdate").cast(pa.timestamp("ms")).cast(pa.int64()).to_numpy()
    values: Sequence[npt.NDArray[np.int64]] = [
        rows.column("l_orderkey").to_numpy(),
        rows.column("l_linenumber").to_numpy().astype(np.int64),
        rows.column("l_partkey").to_numpy(),
        rows.column("l_suppkey").to_numpy(),
        cents,
        shipped // _MILLISECONDS_A_DAY,
        pc.utf8_length(rows.column("l_shipinstruct")).to_numpy().astype(np.int64),
        pc.utf8_length(rows.column("l_comment")).to_numpy().astype(np.int64),
    ]
    total = np.zeros(rows.num_rows, dtype=np.int64)
    for value, multiplier in zip(values, _TERMS.values(), strict=True):
        total += value * multiplier
    hashes: npt.NDArray[np.int64] = total % _PRIME
    return hashes
