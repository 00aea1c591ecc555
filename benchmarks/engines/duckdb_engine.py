"""DuckDB, as a database's external sort."""

# ruff: noqa: D102 - the interface documents the methods

from __future__ import annotations

from pathlib import Path

import duckdb

from .. import sorting
from .interface import Engine, Settings

#: A line is one column, taken as it is: the separator is in no record.
_READ = """
    read_csv('{source}', columns = {{'line': 'VARCHAR'}}, auto_detect = false, header = false,
             delim = '\x01', quote = '', escape = '')
"""
_SORT = """
    COPY (SELECT line FROM {lines} ORDER BY line)
    TO '{target}' (FORMAT csv, HEADER false, DELIM '\x01', QUOTE '', ESCAPE '')
"""


class DuckdbEngine(Engine):
    """One query in this process, from a file of lines to a file of lines."""

    def start(self, settings: Settings) -> None:
        """Do nothing: every sort has a database of its own."""

    def stop(self) -> None:
        """Do nothing."""

    def sort(self, work: sorting.Work) -> list[Path]:
        target = work.directory / "sorted"
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{work.memory}B",
            "threads": work.cpus,
            "temp_directory": str(work.directory),
            # What it asks for itself where memory is short; the order is given below anyway.
            "preserve_insertion_order": False,
        }
        with duckdb.connect(config=config) as database:
            lines = _READ.format(source=work.source)
            database.execute(_SORT.format(lines=lines, target=target))
        return [target]
