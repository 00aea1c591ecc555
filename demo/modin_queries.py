"""The jobs in pandas code, run by Modin, whose setting chooses the engine."""

from typing import cast

import modin.pandas as mpd
import pandas as pd

from .columns import Q1, Q3, Q5
from .data import Columns, Dataset


def q1(dataset: Dataset) -> pd.DataFrame:
    """Pricing summary report: one pass and a small groupby."""
    lineitem = _read(dataset, "lineitem", Q1)
    lineitem = lineitem[lineitem["l_shipdate"] <= pd.Timestamp("1998-09-02")]
    lineitem["disc_price"] = lineitem["l_extendedprice"] * (1 - lineitem["l_discount"])
    lineitem["charge"] = lineitem["disc_price"] * (1 + lineitem["l_tax"])
    groups = lineitem.groupby(["l_returnflag", "l_linestatus"])
    sums = groups[["l_quantity", "l_extendedprice", "disc_price", "charge", "l_discount"]].sum()
    answer = _to_pandas(sums)
    count: pd.Series[int] = groups.size().modin.to_pandas()
    answer["avg_qty"] = answer["l_quantity"] / count
    answer["avg_price"] = answer["l_extendedprice"] / count
    answer["avg_disc"] = answer.pop("l_discount") / count
    answer["count_order"] = count
    names = {
        "l_quantity": "sum_qty",
        "l_extendedprice": "sum_base_price",
        "disc_price": "sum_disc_price",
        "charge": "sum_charge",
    }
    return answer.rename(columns=names).sort_index().reset_index()


def q3(dataset: Dataset) -> pd.DataFrame:
    """Shipping priority: two large joins, many groups, the ten greatest."""
    date = pd.Timestamp("1995-03-15")
    customer = _read(dataset, "customer", Q3)
    orders = _read(dataset, "orders", Q3)
    lineitem = _read(dataset, "lineitem", Q3)
    customer = customer[customer["c_mktsegment"] == "BUILDING"][["c_custkey"]]
    orders = orders[orders["o_orderdate"] < date]
    lineitem = lineitem[lineitem["l_shipdate"] > date]
    selected = orders.merge(customer, left_on="o_custkey", right_on="c_custkey")
    joined = lineitem.merge(selected, left_on="l_orderkey", right_on="o_orderkey")
    joined["revenue"] = joined["l_extendedprice"] * (1 - joined["l_discount"])
    groups = joined.groupby(["l_orderkey", "o_orderdate", "o_shippriority"])[["revenue"]].sum()
    ordered = groups.reset_index().sort_values(["revenue", "o_orderdate"], ascending=[False, True])
    best = _to_pandas(ordered.head(10))
    return best[["l_orderkey", "revenue", "o_orderdate", "o_shippriority"]].reset_index(drop=True)


def q5(dataset: Dataset) -> pd.DataFrame:
    """Local supplier volume: five joins and a small groupby."""
    region = _read(dataset, "region", Q5)
    nation = _read(dataset, "nation", Q5)
    supplier = _read(dataset, "supplier", Q5)
    customer = _read(dataset, "customer", Q5)
    orders = _read(dataset, "orders", Q5)
    lineitem = _read(dataset, "lineitem", Q5)
    region = region[region["r_name"] == "ASIA"]
    nation = nation.merge(region, left_on="n_regionkey", right_on="r_regionkey")
    supplier = supplier.merge(nation, left_on="s_nationkey", right_on="n_nationkey")
    orders = orders[
        (orders["o_orderdate"] >= pd.Timestamp("1994-01-01"))
        & (orders["o_orderdate"] < pd.Timestamp("1995-01-01"))
    ]
    orders = orders.merge(customer, left_on="o_custkey", right_on="c_custkey")
    joined = lineitem.merge(orders, left_on="l_orderkey", right_on="o_orderkey").merge(
        supplier, left_on=["l_suppkey", "c_nationkey"], right_on=["s_suppkey", "s_nationkey"]
    )
    joined["revenue"] = joined["l_extendedprice"] * (1 - joined["l_discount"])
    groups = joined.groupby("n_name")[["revenue"]].sum()
    return _to_pandas(groups).sort_values("revenue", ascending=False).reset_index()


def _read(dataset: Dataset, table: str, columns: Columns) -> mpd.DataFrame:
    return mpd.read_parquet(str(dataset.root / table), columns=list(columns[table]))


def _to_pandas(frame: mpd.DataFrame) -> pd.DataFrame:
    return cast("pd.DataFrame", frame.modin.to_pandas())
