"""TPC-H queries 1, 3 and 5 as plain pandas code, in memory and with less store than data."""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import millpond
from integration.conftest import MIB
from integration.modin_support import NO_DEFAULTING, assert_same, mpd

pytestmark = NO_DEFAULTING
__all__ = ["mpd"]

TABLES = ("lineitem", "orders", "customer", "supplier", "nation", "region")

Read = Callable[[str], Any]


@pytest.fixture(scope="module")
def tpch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the tables at scale factor 0.05: 300,000 lineitems, 50 MB in memory."""
    folder = tmp_path_factory.mktemp("tpch")
    tool = str(Path(sysconfig.get_path("scripts"), "tpchgen-cli"))
    options = ["--quiet", "--scale-factor", "0.05", "--tables", ",".join(TABLES)]
    subprocess.run([tool, "parquet", *options, "--output-dir", str(folder)], check=True)
    for table in TABLES:
        path = folder / f"{table}.parquet"
        data = pq.read_table(path)
        fields = [pa.field(field.name, _plain(field.type)) for field in data.schema]
        pq.write_table(data.cast(pa.schema(fields)), path, row_group_size=20_000)
    return folder


def _plain(dtype: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal(dtype):
        return pa.float64()
    if pa.types.is_date(dtype):
        return pa.timestamp("ms")
    return pa.string() if pa.types.is_string_view(dtype) else dtype


def q1(read: Read) -> Any:
    lines = read("lineitem")
    lines = lines[lines["l_shipdate"] <= pd.Timestamp("1998-09-02")]
    lines["disc_price"] = lines["l_extendedprice"] * (1 - lines["l_discount"])
    lines["charge"] = lines["disc_price"] * (1 + lines["l_tax"])
    totals = {
        "l_quantity": ["sum", "mean"],
        "l_extendedprice": ["sum", "mean"],
        "disc_price": "sum",
        "charge": "sum",
        "l_discount": "mean",
        "l_orderkey": "count",
    }
    return lines.groupby(["l_returnflag", "l_linestatus"]).agg(totals)


def q3(read: Read) -> Any:
    date = pd.Timestamp("1995-03-15")
    customer, orders, lines = read("customer"), read("orders"), read("lineitem")
    customer = customer[customer["c_mktsegment"] == "BUILDING"][["c_custkey"]]
    orders = orders[orders["o_orderdate"] < date]
    lines = lines[lines["l_shipdate"] > date]
    joined = orders.merge(customer, left_on="o_custkey", right_on="c_custkey")
    joined = lines.merge(joined, left_on="l_orderkey", right_on="o_orderkey")
    joined["revenue"] = joined["l_extendedprice"] * (1 - joined["l_discount"])
    groups = joined.groupby(["l_orderkey", "o_orderdate", "o_shippriority"])[["revenue"]].sum()
    ordered = groups.reset_index().sort_values(["revenue", "o_orderdate"], ascending=[False, True])
    return ordered.head(10).reset_index(drop=True)


def q5(read: Read) -> Any:
    region, nation, orders = read("region"), read("nation"), read("orders")
    region = region[region["r_name"] == "ASIA"]
    nation = nation.merge(region, left_on="n_regionkey", right_on="r_regionkey")
    supplier = read("supplier").merge(nation, left_on="s_nationkey", right_on="n_nationkey")
    first, last = pd.Timestamp("1994-01-01"), pd.Timestamp("1995-01-01")
    orders = orders[(orders["o_orderdate"] >= first) & (orders["o_orderdate"] < last)]
    orders = orders.merge(read("customer"), left_on="o_custkey", right_on="c_custkey")
    joined = read("lineitem").merge(orders, left_on="l_orderkey", right_on="o_orderkey")
    joined = joined.merge(
        supplier, left_on=["l_suppkey", "c_nationkey"], right_on=["s_suppkey", "s_nationkey"]
    )
    joined["revenue"] = joined["l_extendedprice"] * (1 - joined["l_discount"])
    return joined.groupby("n_name")[["revenue"]].sum().sort_values("revenue", ascending=False)


def check_all(mpd: ModuleType, tpch: Path) -> None:
    for query in (q1, q3, q5):
        ours = query(lambda table: mpd.read_parquet(tpch / f"{table}.parquet"))
        expected = query(lambda table: pd.read_parquet(tpch / f"{table}.parquet"))
        # Modin orders the columns of an aggregation by their place in the frame.
        assert_same(ours, expected, check_like=True)


@pytest.mark.filterwarnings("ignore:.*SettingWithCopy.*")
def test_queries_in_memory(mpd: ModuleType, tpch: Path) -> None:
    check_all(mpd, tpch)
    assert millpond.statistics().store.spilled_bytes_total == 0


@pytest.mark.slow
def test_queries_with_a_quarter_of_the_memory(
    start: Callable[..., millpond.Context], tpch: Path
) -> None:
    import modin.config
    import modin.pandas

    limit = 24 * MIB
    modin.config.Engine.put("Millpond")
    start(object_store_memory=limit)
    check_all(modin.pandas, tpch)
    store = millpond.statistics().store
    assert store.spilled_bytes_total > 0
    assert store.peak <= limit
