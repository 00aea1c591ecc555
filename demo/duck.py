"""DuckDB's answers: the queries in SQL, and the contents of ranges of keys.

The queries are TPC-H's with its validation parameters, over the converted files.
"""

from pathlib import Path

import duckdb
import pandas as pd

from . import tpch
from .checksum import ROW_HASH_SQL
from .data import TABLES, Dataset


class Duck:
    """A DuckDB connection with a view for each table of a data set."""

    def __init__(self, dataset: Dataset, scratch: Path) -> None:
        """Open the views; ``scratch`` takes what DuckDB itself has to spill."""
        self._connection = duckdb.connect(config={"temp_directory": str(scratch)})
        for table in TABLES:
            self._connection.execute(
                f"CREATE VIEW {table} AS FROM read_parquet('{dataset.pattern(table)}')"
            )

    def answer(self, query: str) -> pd.DataFrame:
        """Return the answer to one of TPC-H's queries, such as ``q1``."""
        return self._connection.execute(tpch.sql(query)).df()

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
