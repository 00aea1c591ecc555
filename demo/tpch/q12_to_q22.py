"""TPC-H's queries 12 to 22 in ``dask.dataframe``."""

from collections.abc import Callable
from typing import Any

import pandas as pd

__all__ = ["q12", "q13", "q14", "q15", "q16", "q17", "q18", "q19", "q20", "q21", "q22"]

Read = Callable[[str], Any]


def q12(read: Read) -> pd.DataFrame:
    """Shipping modes and order priority."""
    orders, lineitem = read("orders"), read("lineitem")
    lineitem = lineitem[
        lineitem.l_shipmode.isin(["MAIL", "SHIP"])
        & (lineitem.l_commitdate < lineitem.l_receiptdate)
        & (lineitem.l_shipdate < lineitem.l_commitdate)
        & (lineitem.l_receiptdate >= pd.Timestamp("1994-01-01"))
        & (lineitem.l_receiptdate < pd.Timestamp("1995-01-01"))
    ]
    joined = orders.merge(lineitem, left_on="o_orderkey", right_on="l_orderkey")
    joined["high_line_count"] = joined.o_orderpriority.isin(["1-URGENT", "2-HIGH"]).astype(int)
    joined["low_line_count"] = 1 - joined.high_line_count
    counts = joined.groupby("l_shipmode")[["high_line_count", "low_line_count"]].sum()
    answer: pd.DataFrame = counts.compute()
    return answer.sort_index().reset_index()


def q13(read: Read) -> pd.DataFrame:
    """Customer distribution: an outer join, and a groupby of a groupby."""
    orders = read("orders")
    orders = orders[~orders.o_comment.str.contains("special.*requests")]
    joined = read("customer")[["c_custkey"]].merge(
        orders[["o_orderkey", "o_custkey"]], left_on="c_custkey", right_on="o_custkey", how="left"
    )
    counts = joined.groupby("c_custkey").o_orderkey.count().rename("c_count").reset_index()
    customers: pd.Series[int] = counts.groupby("c_count").size().compute()
    answer = customers.rename("custdist").reset_index()
    return answer.sort_values(["custdist", "c_count"], ascending=False).reset_index(drop=True)


def q14(read: Read) -> pd.DataFrame:
    """Promotion effect: the share of some in a sum."""
    lineitem = read("lineitem")
    lineitem = lineitem[
        (lineitem.l_shipdate >= pd.Timestamp("1995-09-01"))
        & (lineitem.l_shipdate < pd.Timestamp("1995-10-01"))
    ]
    joined = lineitem.merge(read("part"), left_on="l_partkey", right_on="p_partkey")
    revenue = joined.l_extendedprice * (1 - joined.l_discount)
    promoted = revenue.where(joined.p_type.str.startswith("PROMO"), 0.0)
    share = 100 * promoted.sum() / revenue.sum()
    return pd.DataFrame({"promo_revenue": [share.compute()]})


def q15(read: Read) -> pd.DataFrame:
    """Top supplier: a groupby used twice."""
    lineitem = read("lineitem")
    lineitem = lineitem[
        (lineitem.l_shipdate >= pd.Timestamp("1996-01-01"))
        & (lineitem.l_shipdate < pd.Timestamp("1996-04-01"))
    ]
    lineitem["total_revenue"] = lineitem.l_extendedprice * (1 - lineitem.l_discount)
    revenue = lineitem.groupby("l_suppkey").total_revenue.sum().reset_index()
    # Sums of floats depend on their order in the last digits, so equal ones may differ there.
    best = revenue[revenue.total_revenue >= revenue.total_revenue.max() * (1 - 1e-12)]
    joined = read("supplier").merge(best, left_on="s_suppkey", right_on="l_suppkey")
    names = ["s_suppkey", "s_name", "s_address", "s_phone", "total_revenue"]
    answer: pd.DataFrame = joined[names].compute()
    return answer.sort_values("s_suppkey").reset_index(drop=True)


def q16(read: Read) -> pd.DataFrame:
    """Parts/supplier relationship: distinct values in many groups."""
    part, supplier = read("part"), read("supplier")
    part = part[
        (part.p_brand != "Brand#45")
        & ~part.p_type.str.startswith("MEDIUM POLISHED")
        & part.p_size.isin([49, 14, 23, 45, 19, 3, 36, 9])
    ]
    well_spoken_of = supplier[~supplier.s_comment.str.contains("Customer.*Complaints")]
    joined = (
        read("partsupp")
        .merge(part, left_on="ps_partkey", right_on="p_partkey")
        .merge(well_spoken_of[["s_suppkey"]], left_on="ps_suppkey", right_on="s_suppkey")
    )
    names = ["p_brand", "p_type", "p_size"]
    distinct = joined[[*names, "ps_suppkey"]].drop_duplicates()
    counts: pd.Series[int] = distinct.groupby(names).size().compute()
    answer = counts.rename("supplier_cnt").reset_index()
    answer = answer.sort_values(["supplier_cnt", *names], ascending=[False, True, True, True])
    return answer.reset_index(drop=True)


def q17(read: Read) -> pd.DataFrame:
    """Small-quantity-order revenue: a mean of each part, over all of the largest table."""
    part, lineitem = read("part"), read("lineitem")
    part = part[(part.p_brand == "Brand#23") & (part.p_container == "MED BOX")][["p_partkey"]]
    chosen = lineitem.merge(part, left_on="l_partkey", right_on="p_partkey")
    means = chosen.groupby("l_partkey").l_quantity.mean().rename("mean").reset_index()
    joined = chosen.merge(means, on="l_partkey")
    small = joined[joined.l_quantity < 0.2 * joined["mean"]]
    yearly = (small.l_extendedprice.sum() / 7).compute()
    return pd.DataFrame({"avg_yearly": [yearly]})


def q18(read: Read) -> pd.DataFrame:
    """Large volume customer: all orders are groups, of which few are large."""
    lineitem, orders, customer = read("lineitem"), read("orders"), read("customer")
    sums = lineitem.groupby("l_orderkey").l_quantity.sum(split_out=orders.npartitions)
    large = sums.rename("sum_qty").reset_index()
    large = large[large.sum_qty > 300]
    joined = orders.merge(large, left_on="o_orderkey", right_on="l_orderkey").merge(
        customer[["c_custkey", "c_name"]], left_on="o_custkey", right_on="c_custkey"
    )
    names = ["c_name", "c_custkey", "o_orderkey", "o_orderdate", "o_totalprice", "sum_qty"]
    answer: pd.DataFrame = joined[names].compute()
    answer = answer.sort_values(["o_totalprice", "o_orderdate"], ascending=[False, True])
    return answer.head(100).reset_index(drop=True)


def q19(read: Read) -> pd.DataFrame:
    """Discounted revenue: a condition on both sides of a join."""
    lineitem, part = read("lineitem"), read("part")
    lineitem = lineitem[
        lineitem.l_shipmode.isin(["AIR", "AIR REG"])
        & (lineitem.l_shipinstruct == "DELIVER IN PERSON")
    ]
    joined = lineitem.merge(part, left_on="l_partkey", right_on="p_partkey")
    cases = [
        ("Brand#12", ["SM CASE", "SM BOX", "SM PACK", "SM PKG"], 1, 5),
        ("Brand#23", ["MED BAG", "MED BOX", "MED PKG", "MED PACK"], 10, 10),
        ("Brand#34", ["LG CASE", "LG BOX", "LG PACK", "LG PKG"], 20, 15),
    ]
    fits = [
        (joined.p_brand == brand)
        & joined.p_container.isin(containers)
        & joined.l_quantity.between(quantity, quantity + 10)
        & joined.p_size.between(1, size)
        for brand, containers, quantity, size in cases
    ]
    chosen = joined[fits[0] | fits[1] | fits[2]]
    revenue = (chosen.l_extendedprice * (1 - chosen.l_discount)).sum().compute()
    return pd.DataFrame({"revenue": [revenue]})


def q20(read: Read) -> pd.DataFrame:
    """Potential part promotion: sums by pairs of keys, joined by both."""
    part, nation, lineitem = read("part"), read("nation"), read("lineitem")
    part = part[part.p_name.str.startswith("forest")][["p_partkey"]]
    lineitem = lineitem[
        (lineitem.l_shipdate >= pd.Timestamp("1994-01-01"))
        & (lineitem.l_shipdate < pd.Timestamp("1995-01-01"))
    ]
    shipped = lineitem.merge(part, left_on="l_partkey", right_on="p_partkey")
    sums = shipped.groupby(["l_partkey", "l_suppkey"]).l_quantity.sum().reset_index()
    stock = read("partsupp").merge(
        sums, left_on=["ps_partkey", "ps_suppkey"], right_on=["l_partkey", "l_suppkey"]
    )
    ample = stock[stock.ps_availqty > 0.5 * stock.l_quantity][["ps_suppkey"]].drop_duplicates()
    canadian = nation[nation.n_name == "CANADA"][["n_nationkey"]]
    supplier = (
        read("supplier")
        .merge(canadian, left_on="s_nationkey", right_on="n_nationkey")
        .merge(ample, left_on="s_suppkey", right_on="ps_suppkey")
    )
    answer: pd.DataFrame = supplier[["s_name", "s_address"]].compute()
    return answer.sort_values("s_name").reset_index(drop=True)


def q21(read: Read) -> pd.DataFrame:
    """Suppliers who kept orders waiting: counts of suppliers by order, of all and of the late."""
    lineitem, orders, nation = read("lineitem"), read("orders"), read("nation")
    names = ["l_orderkey", "l_suppkey"]
    late = lineitem[lineitem.l_receiptdate > lineitem.l_commitdate][names]
    parts = orders.npartitions
    # Orders of several suppliers, of whom one alone was late.
    suppliers = lineitem[names].drop_duplicates(split_out=parts).groupby("l_orderkey")
    several = suppliers.size(split_out=parts).rename("suppliers").reset_index()
    latecomers = late.drop_duplicates(split_out=parts).groupby("l_orderkey")
    alone = latecomers.size(split_out=parts).rename("late").reset_index()
    failed = several[several.suppliers > 1].merge(alone[alone.late == 1], on="l_orderkey")
    saudi = read("supplier").merge(
        nation[nation.n_name == "SAUDI ARABIA"], left_on="s_nationkey", right_on="n_nationkey"
    )[["s_suppkey", "s_name"]]
    joined = (
        late.merge(saudi, left_on="l_suppkey", right_on="s_suppkey")
        .merge(
            orders[orders.o_orderstatus == "F"][["o_orderkey"]],
            left_on="l_orderkey",
            right_on="o_orderkey",
        )
        .merge(failed[["l_orderkey"]], on="l_orderkey")
    )
    counts: pd.Series[int] = joined.groupby("s_name").size().compute()
    answer = counts.rename("numwait").reset_index()
    answer = answer.sort_values(["numwait", "s_name"], ascending=[False, True])
    return answer.head(100).reset_index(drop=True)


def q22(read: Read) -> pd.DataFrame:
    """Global sales opportunity: customers without orders, above the mean of all."""
    customer = read("customer")
    customer["cntrycode"] = customer.c_phone.str.slice(0, 2)
    codes = ["13", "31", "23", "29", "30", "18", "17"]
    chosen = customer[customer.cntrycode.isin(codes)][["c_custkey", "c_acctbal", "cntrycode"]]
    mean = chosen[chosen.c_acctbal > 0].c_acctbal.mean()
    rich = chosen[chosen.c_acctbal > mean]
    ordering = read("orders")[["o_custkey"]].drop_duplicates(split_out=True)
    joined = rich.merge(ordering, left_on="c_custkey", right_on="o_custkey", how="left")
    joined = joined[joined.o_custkey.isna()]
    sums = joined.groupby("cntrycode").agg(
        numcust=("c_acctbal", "size"), totacctbal=("c_acctbal", "sum")
    )
    answer: pd.DataFrame = sums.compute()
    return answer.sort_index().reset_index()
