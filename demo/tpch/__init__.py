"""TPC-H's 22 queries: as a user of ``dask.dataframe`` writes them, and in SQL for the answers.

Each query is a function of one argument, which reads a table by its name, and returns a frame of
pandas with TPC-H's columns in TPC-H's order. Parameters are those of TPC-H's validation. Not
covered: the data (``demo.data``) and who computes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from . import q01_to_q11, q12_to_q22

__all__ = ["QUERIES", "Query", "sql"]

Query = Callable[[Callable[[str], Any]], pd.DataFrame]

#: By name, "q1" to "q22".
QUERIES: dict[str, Query] = {
    f"q{number}": getattr(q01_to_q11 if number <= 11 else q12_to_q22, f"q{number}")
    for number in range(1, 23)
}


def sql(name: str) -> str:
    """Return a query in SQL, by its name."""
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text()
