"""TPC-H's queries 1 to 11 in ``dask.dataframe``."""

from collections.abc import Callable
from typing import Any

import pandas as pd

__all__ = ["q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9", "q10", "q11"]

Read = Callable[[str], Any]


def q1(read: Read) -> pd.DataFrame:
    """Pricing summary report: one pass and a small groupby."""
    lineitem = read("lineitem")
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


def q2(read: Read) -> pd.DataFrame:
    """Minimum cost supplier: a groupby joined back to what it groups."""
    part, nation, region = read("part"), read("nation"), read("region")
    part = part[(part.p_size == 15) & part.p_type.str.endswith("BRASS")][["p_partkey", "p_mfgr"]]
    nation = nation.merge(
        region[region.r_name == "EUROPE"], left_on="n_regionkey", right_on="r_regionkey"
    )[["n_nationkey", "n_name"]]
    supplier = read("supplier").merge(nation, left_on="s_nationkey", right_on="n_nationkey")
    offers = (
        read("partsupp")
        .merge(part, left_on="ps_partkey", right_on="p_partkey")
        .merge(supplier, left_on="ps_suppkey", right_on="s_suppkey")
    )
    least = offers.groupby("p_partkey").ps_supplycost.min().rename("least").reset_index()
    best = offers.merge(least, on="p_partkey")
    best = best[best.ps_supplycost == best.least]
    names = ["s_acctbal", "s_name", "n_name", "p_partkey", "p_mfgr"]
    answer: pd.DataFrame = best[[*names, "s_address", "s_phone", "s_comment"]].compute()
    order = ["s_acctbal", "n_name", "s_name", "p_partkey"]
    answer = answer.sort_values(order, ascending=[False, True, True, True])
    return answer.head(100).reset_index(drop=True)


def q3(read: Read) -> pd.DataFrame:
    """Shipping priority: two large joins, many groups, the ten greatest."""
    date = pd.Timestamp("1995-03-15")
    customer, orders, lineitem = read("customer"), read("orders"), read("lineitem")
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


def q4(read: Read) -> pd.DataFrame:
    """Order priority checking: which rows of a large table occur in another one."""
    orders, lineitem = read("orders"), read("lineitem")
    orders = orders[
        (orders.o_orderdate >= pd.Timestamp("1993-07-01"))
        & (orders.o_orderdate < pd.Timestamp("1993-10-01"))
    ]
    late = lineitem[lineitem.l_commitdate < lineitem.l_receiptdate][["l_orderkey"]]
    # Not how="leftsemi": with a small left side Dask broadcasts that, and gives rows repeatedly.
    late = late.drop_duplicates(split_out=orders.npartitions)
    chosen = orders.merge(late, left_on="o_orderkey", right_on="l_orderkey")
    counts: pd.Series[int] = chosen.groupby("o_orderpriority").size().compute()
    return counts.sort_index().rename("order_count").reset_index()


def q5(read: Read) -> pd.DataFrame:
    """Local supplier volume: five joins and a small groupby."""
    region, nation, orders = read("region"), read("nation"), read("orders")
    orders = orders[
        (orders.o_orderdate >= pd.Timestamp("1994-01-01"))
        & (orders.o_orderdate < pd.Timestamp("1995-01-01"))
    ][["o_orderkey", "o_custkey"]]
    nation = nation.merge(
        region[region.r_name == "ASIA"], left_on="n_regionkey", right_on="r_regionkey"
    )[["n_nationkey", "n_name"]]
    supplier = read("supplier").merge(nation, left_on="s_nationkey", right_on="n_nationkey")
    joined = (
        read("customer")
        .merge(orders, left_on="c_custkey", right_on="o_custkey")
        .merge(read("lineitem"), left_on="o_orderkey", right_on="l_orderkey")
        .merge(
            supplier, left_on=["l_suppkey", "c_nationkey"], right_on=["s_suppkey", "s_nationkey"]
        )
    )
    joined["revenue"] = joined.l_extendedprice * (1 - joined.l_discount)
    answer: pd.DataFrame = joined.groupby("n_name").revenue.sum().reset_index().compute()
    return answer.sort_values("revenue", ascending=False).reset_index(drop=True)


def q6(read: Read) -> pd.DataFrame:
    """Forecasting revenue change: one pass, one number."""
    lineitem = read("lineitem")
    lineitem = lineitem[
        (lineitem.l_shipdate >= pd.Timestamp("1994-01-01"))
        & (lineitem.l_shipdate < pd.Timestamp("1995-01-01"))
        & lineitem.l_discount.between(0.05, 0.07)
        & (lineitem.l_quantity < 24)
    ]
    revenue = (lineitem.l_extendedprice * lineitem.l_discount).sum().compute()
    return pd.DataFrame({"revenue": [revenue]})


def q7(read: Read) -> pd.DataFrame:
    """Volume shipping between two nations."""
    nation, lineitem = read("nation"), read("lineitem")
    nation = nation[nation.n_name.isin(["FRANCE", "GERMANY"])][["n_nationkey", "n_name"]]
    lineitem = lineitem[
        (lineitem.l_shipdate >= pd.Timestamp("1995-01-01"))
        & (lineitem.l_shipdate <= pd.Timestamp("1996-12-31"))
    ]
    supplier = read("supplier").merge(nation, left_on="s_nationkey", right_on="n_nationkey")
    supplier = supplier.rename(columns={"n_name": "supp_nation"})[["s_suppkey", "supp_nation"]]
    customer = read("customer").merge(nation, left_on="c_nationkey", right_on="n_nationkey")
    customer = customer.rename(columns={"n_name": "cust_nation"})[["c_custkey", "cust_nation"]]
    orders = read("orders").merge(customer, left_on="o_custkey", right_on="c_custkey")
    joined = lineitem.merge(supplier, left_on="l_suppkey", right_on="s_suppkey").merge(
        orders, left_on="l_orderkey", right_on="o_orderkey"
    )
    joined = joined[joined.supp_nation != joined.cust_nation]
    joined["l_year"] = joined.l_shipdate.dt.year
    joined["revenue"] = joined.l_extendedprice * (1 - joined.l_discount)
    names = ["supp_nation", "cust_nation", "l_year"]
    answer: pd.DataFrame = joined.groupby(names).revenue.sum().reset_index().compute()
    return answer.sort_values(names).reset_index(drop=True)


def q8(read: Read) -> pd.DataFrame:
    """National market share: seven joins."""
    part, region, nation, orders = read("part"), read("region"), read("nation"), read("orders")
    part = part[part.p_type == "ECONOMY ANODIZED STEEL"][["p_partkey"]]
    orders = orders[
        (orders.o_orderdate >= pd.Timestamp("1995-01-01"))
        & (orders.o_orderdate <= pd.Timestamp("1996-12-31"))
    ]
    american = nation.merge(
        region[region.r_name == "AMERICA"], left_on="n_regionkey", right_on="r_regionkey"
    )[["n_nationkey"]]
    customer = read("customer").merge(american, left_on="c_nationkey", right_on="n_nationkey")
    supplier = read("supplier").merge(nation, left_on="s_nationkey", right_on="n_nationkey")
    joined = (
        read("lineitem")
        .merge(part, left_on="l_partkey", right_on="p_partkey")
        .merge(orders, left_on="l_orderkey", right_on="o_orderkey")
        .merge(customer[["c_custkey"]], left_on="o_custkey", right_on="c_custkey")
        .merge(supplier[["s_suppkey", "n_name"]], left_on="l_suppkey", right_on="s_suppkey")
    )
    joined["o_year"] = joined.o_orderdate.dt.year
    joined["volume"] = joined.l_extendedprice * (1 - joined.l_discount)
    joined["share"] = joined.volume.where(joined.n_name == "BRAZIL", 0.0)
    sums: pd.DataFrame = joined.groupby("o_year")[["share", "volume"]].sum().compute()
    return (sums["share"] / sums["volume"]).sort_index().rename("mkt_share").reset_index()


def q9(read: Read) -> pd.DataFrame:
    """Product type profit measure: most of the largest table takes part."""
    part, supplier = read("part"), read("supplier")
    part = part[part.p_name.str.contains("green", regex=False)][["p_partkey"]]
    supplier = supplier.merge(read("nation"), left_on="s_nationkey", right_on="n_nationkey")
    joined = (
        read("lineitem")
        .merge(part, left_on="l_partkey", right_on="p_partkey")
        .merge(
            read("partsupp"),
            left_on=["l_partkey", "l_suppkey"],
            right_on=["ps_partkey", "ps_suppkey"],
        )
        .merge(supplier[["s_suppkey", "n_name"]], left_on="l_suppkey", right_on="s_suppkey")
        .merge(read("orders"), left_on="l_orderkey", right_on="o_orderkey")
    )
    joined["o_year"] = joined.o_orderdate.dt.year
    revenue = joined.l_extendedprice * (1 - joined.l_discount)
    joined["sum_profit"] = revenue - joined.ps_supplycost * joined.l_quantity
    joined = joined.rename(columns={"n_name": "nation"})
    sums = joined.groupby(["nation", "o_year"]).sum_profit.sum().reset_index()
    answer: pd.DataFrame = sums.compute()
    return answer.sort_values(["nation", "o_year"], ascending=[True, False]).reset_index(drop=True)


def q10(read: Read) -> pd.DataFrame:
    """Returned item reporting: many groups with wide keys, the twenty greatest."""
    orders, lineitem = read("orders"), read("lineitem")
    orders = orders[
        (orders.o_orderdate >= pd.Timestamp("1993-10-01"))
        & (orders.o_orderdate < pd.Timestamp("1994-01-01"))
    ][["o_orderkey", "o_custkey"]]
    lineitem = lineitem[lineitem.l_returnflag == "R"]
    joined = lineitem.merge(orders, left_on="l_orderkey", right_on="o_orderkey")
    joined["revenue"] = joined.l_extendedprice * (1 - joined.l_discount)
    # The names and addresses are joined to the sums: only few are needed.
    sums = joined.groupby("o_custkey").revenue.sum().reset_index().nlargest(20, "revenue")
    customer = read("customer").merge(
        read("nation")[["n_nationkey", "n_name"]], left_on="c_nationkey", right_on="n_nationkey"
    )
    best = customer.merge(sums, left_on="c_custkey", right_on="o_custkey")
    names = ["c_custkey", "c_name", "revenue", "c_acctbal", "n_name", "c_address", "c_phone"]
    answer: pd.DataFrame = best[[*names, "c_comment"]].compute()
    return answer.sort_values("revenue", ascending=False).reset_index(drop=True)


def q11(read: Read) -> pd.DataFrame:
    """Important stock identification: groups beside the total of all of them."""
    nation, supplier = read("nation"), read("supplier")
    german = supplier.merge(
        nation[nation.n_name == "GERMANY"], left_on="s_nationkey", right_on="n_nationkey"
    )[["s_suppkey"]]
    stock = read("partsupp").merge(german, left_on="ps_suppkey", right_on="s_suppkey")
    stock["value"] = stock.ps_supplycost * stock.ps_availqty
    values = stock.groupby("ps_partkey").value.sum().reset_index()
    # 0.0001 at scale factor 1, which has 10,000 suppliers.
    least = stock.value.sum() / supplier.s_suppkey.count()
    answer: pd.DataFrame = values[values.value > least].compute()
    answer = answer.sort_values(["value", "ps_partkey"], ascending=[False, True])
    return answer.reset_index(drop=True)
