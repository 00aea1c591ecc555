"""The jobs of the demonstration: what each reads, runs, and how its answer is checked."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

import pandas as pd

from .columns import Q1, Q3, Q5, SORT
from .compare import difference, sort_difference
from .data import Columns, Dataset
from .duck import Duck


@dataclass(frozen=True)
class Job:
    """One row of the demonstration's table."""

    #: What the user types to choose it; its first part is the front door: dask, modin or tasks.
    name: str
    #: What it does, for the table.
    title: str
    #: What it reads.
    columns: Columns
    #: The module of this package and the function in it that do the work.
    module: str
    function: str
    #: For a sort, the column it sorts by.
    sort_key: str | None = None

    @property
    def front(self) -> str:
        """Return the front door that it uses: dask, modin or tasks."""
        return self.name.partition("-")[0]

    def load(self) -> Callable[[Dataset], pd.DataFrame]:
        """Import the module that does the work, and its front door with it."""
        module = import_module(f".{self.module}", __package__)
        return cast("Callable[[Dataset], pd.DataFrame]", getattr(module, self.function))

    def difference(self, answer: pd.DataFrame, duck: Duck) -> str | None:
        """Return how the answer differs from DuckDB's, or None."""
        if self.sort_key is not None:
            return sort_difference(self.sort_key, answer, duck)
        return difference(answer, duck.answer(self.function))


JOBS = (
    Job("dask-q1", "Dask Q1", Q1, "dask_queries", "q1"),
    Job("dask-q3", "Dask Q3", Q3, "dask_queries", "q3"),
    Job("dask-q5", "Dask Q5", Q5, "dask_queries", "q5"),
    Job("dask-shuffle", "Dask set_index", SORT, "dask_queries", "shuffle", "l_partkey"),
    Job("modin-q1", "Modin Q1", Q1, "modin_queries", "q1"),
    Job("modin-q3", "Modin Q3", Q3, "modin_queries", "q3"),
    Job("modin-q5", "Modin Q5", Q5, "modin_queries", "q5"),
    Job("tasks-sort", "Tasks external sort", SORT, "external_sort", "sort", "l_extendedprice"),
)
