"""DuckDB's answers: the queries in SQL, and the contents of ranges of keys.

The queries are TPC-H's with its validation parameters, over the converted files.
"""

from pathlib import Path

import duckdb
import pandas as pd

from .checksum import ROW_HASH_SQL
from .data import Dataset

QUERIES = {
    "q1": """
        SELECT l_returnflag, l_linestatus,
               sum(l_quantity) AS sum_qty,
               sum(l_extendedprice) AS sum_base_price,
               sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price,
               sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge,
               avg(l_quantity) AS avg_qty,
               avg(l_extendedprice) AS avg_price,
               avg(l_discount) AS avg_disc,
               count(*) AS count_order
        FROM lineitem
        WHERE l_shipdate <= timestamp '1998-09-02'
        GROUP BY l_returnflag, l_linestatus
        ORDER BY l_returnflag, l_linestatus
    """,
    "q3": """
        SELECT l_orderkey, sum(l_extendedprice * (1 - l_discount)) AS revenue,
               o_orderdate, o_shippriority
        FROM customer, orders, lineitem
        WHERE c_mktsegment = 'BUILDING' AND c_custkey = o_custkey AND l_orderkey = o_orderkey
              AND o_orderdate < timestamp '1995-03-15' AND l_shipdate > timestamp '1995-03-15'
        GROUP BY l_orderkey, o_orderdate, o_shippriority
        ORDER BY revenue DESC, o_orderdate
        LIMIT 10
    """,
    "q5": """
        SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue
        FROM customer, orders, lineitem, supplier, nation, region
        WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND l_suppkey = s_suppkey
              AND c_nationkey = s_nationkey AND s_nationkey = n_nationkey
              AND n_regionkey = r_regionkey AND r_name = 'ASIA'
              AND o_orderdate >= timestamp '1994-01-01' AND o_orderdate < timestamp '1995-01-01'
        GROUP BY n_name
        ORDER BY revenue DESC
    """,
}


class Duck:
    """A DuckDB connection with a view for each table of a data set."""

    def __init__(self, dataset: Dataset, scratch: Path) -> None:
        """Open the views; ``scratch`` takes what DuckDB itself has to spill."""
        self._connection = duckdb.connect(config={"temp_directory": str(scratch)})
        for table in ("lineitem", "orders", "customer", "supplier", "nation", "region"):
            self._connection.execute(
                f"CREATE VIEW {table} AS FROM read_parquet('{dataset.pattern(table)}')"
            )

    def answer(self, query: str) -> pd.DataFrame:
        """Return the answer to one of `QUERIES`."""
        return self._connection.execute(QUERIES[query]).df()

    def ranges(self, key: str, summary: pd.DataFrame) -> pd.DataFrame:
        """Return rows, checksum and quantity of each range [low, high] of the summary, in order."""
        bounds = summary[["low", "high"]].reset_index(drop=True)
        self._connection.register("bounds", bounds)
        # The keys of ranges may not overlap (checked by the caller), so each row joins one at most.
        return self._connection.execute(
            f"""
            SELECT count(*) AS rows, cast(sum({ROW_HASH_SQL}) AS bigint) AS checksum,
                   sum(l_quantity) AS quantity
            FROM lineitem JOIN bounds ON {key} >= low AND {key} <= high
            GROUP BY low ORDER BY low
            """  # noqa: S608 - the key is a column name of this program
        ).df()

    def count(self) -> int:
        """Return the number of rows of lineitem."""
        return int(self._connection.execute("SELECT count(*) FROM lineitem").fetchall()[0][0])
