"""The jobs in ``dask.dataframe``, whose setting chooses the scheduler."""

from typing import Any

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from .checksum import empty_summary, summarise
from .columns import Q1, Q3, Q5, SORT
from .data import Columns, Dataset

SHUFFLE_KEY = "l_partkey"


def q1(dataset: Dataset) -> pd.DataFrame:
    """Pricing summary report: one pass and a small groupby."""
    lineitem = _read(dataset, "lineitem", Q1)
    lineitem = lineitem[lineitem.l_shipdate <= pd.Timestamp("1998-09-02")]
    lineitem["disc_price"] = lineitem.l_extendedprice * (1 - lineitem.l_discount)
    lineitem["charge"] = lineitem.disc_price * (1 + lineitem.l_tax)
    groups = lineitem.groupby(["l_returnflag", "l_linestatus"]).agg(
        sum_qty=("l_quantity", "sum"),
        sum_base_price=("l_extendedprice", "sum"),
        sum_disc_price=("disc_price", "sum"),
        sum_charge=("charge", "sum"),
        avg_qty=("l_quantity", "mean"),
        avg_price=("l_extendedprice", "mean"),
        avg_disc=("l_discount", "mean"),
        count_order=("l_quantity", "size"),
    )
    answer: pd.DataFrame = groups.compute()
    return answer.sort_index().reset_index()


def q3(dataset: Dataset) -> pd.DataFrame:
    """Shipping priority: two large joins, many groups, the ten greatest."""
    date = pd.Timestamp("1995-03-15")
    customer = _read(dataset, "customer", Q3)
    orders = _read(dataset, "orders", Q3)
    lineitem = _read(dataset, "lineitem", Q3)
    customer = customer[customer.c_mktsegment == "BUILDING"][["c_custkey"]]
    orders = orders[orders.o_orderdate < date]
    lineitem = lineitem[lineitem.l_shipdate > date]
    joined = customer.merge(orders, left_on="c_custkey", right_on="o_custkey").merge(
        lineitem, left_on="o_orderkey", right_on="l_orderkey"
    )
    joined["revenue"] = joined.l_extendedprice * (1 - joined.l_discount)
    groups = joined.groupby(["l_orderkey", "o_orderdate", "o_shippriority"]).revenue.sum(
        split_out=orders.npartitions
    )
    # Every group is whole in its partition, so the ten greatest of each suffice.
    best: pd.DataFrame = groups.reset_index().nlargest(10, "revenue").compute()
    best = best.sort_values(["revenue", "o_orderdate"], ascending=[False, True])
    return best[["l_orderkey", "revenue", "o_orderdate", "o_shippriority"]].reset_index(drop=True)


def q5(dataset: Dataset) -> pd.DataFrame:
    """Local supplier volume: five joins and a small groupby."""
    region = _read(dataset, "region", Q5)
    nation = _read(dataset, "nation", Q5)
    supplier = _read(dataset, "supplier", Q5)
    customer = _read(dataset, "customer", Q5)
    orders = _read(dataset, "orders", Q5)
    lineitem = _read(dataset, "lineitem", Q5)
    orders = orders[
        (orders.o_orderdate >= pd.Timestamp("1994-01-01"))
        & (orders.o_orderdate < pd.Timestamp("1995-01-01"))
    ][["o_orderkey", "o_custkey"]]
    nations = nation.merge(
        region[region.r_name == "ASIA"], left_on="n_regionkey", right_on="r_regionkey"
    )[["n_nationkey", "n_name"]]
    suppliers = supplier.merge(nations, left_on="s_nationkey", right_on="n_nationkey")
    joined = (
        customer.merge(orders, left_on="c_custkey", right_on="o_custkey")
        .merge(lineitem, left_on="o_orderkey", right_on="l_orderkey")
        .merge(
            suppliers,
            left_on=["l_suppkey", "c_nationkey"],
            right_on=["s_suppkey", "s_nationkey"],
        )
    )
    joined["revenue"] = joined.l_extendedprice * (1 - joined.l_discount)
    answer: pd.DataFrame = joined.groupby("n_name").revenue.sum().reset_index().compute()
    return answer.sort_values("revenue", ascending=False).reset_index(drop=True)


def shuffle(dataset: Dataset) -> pd.DataFrame:
    """Sort all columns of lineitem by a key that is random in the files, and describe each range.

    Only the description comes back to this process: the sorted table does not fit.
    """
    lineitem = _read(dataset, "lineitem", SORT).set_index(SHUFFLE_KEY)
    ranges: pd.DataFrame = lineitem.map_partitions(_summarise, meta=empty_summary()).compute()
    return ranges.reset_index(drop=True)


def _summarise(partition: pd.DataFrame) -> pd.DataFrame:
    return summarise(pa.Table.from_pandas(partition.reset_index()), SHUFFLE_KEY)


def _read(dataset: Dataset, table: str, columns: Columns) -> Any:
    return dd.read_parquet(dataset.pattern(table), columns=list(columns[table]))
