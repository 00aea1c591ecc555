"""Readers and writers: Modin's own, with their tasks on the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from modin.core.io import (
    BaseIO,
    CSVDispatcher,
    ExcelDispatcher,
    FeatherDispatcher,
    FWFDispatcher,
    JSONDispatcher,
    SQLDispatcher,
)
from modin.core.storage_formats.pandas.parsers import (
    PandasCSVParser,
    PandasExcelParser,
    PandasFeatherParser,
    PandasFWFParser,
    PandasJSONParser,
    PandasParquetParser,
    PandasSQLParser,
)
from modin.experimental.core.io import (
    ExperimentalCSVGlobDispatcher,
    ExperimentalCustomTextDispatcher,
    ExperimentalGlobDispatcher,
    ExperimentalSQLDispatcher,
)
from modin.experimental.core.storage_formats.pandas.parsers import (
    ExperimentalCustomTextParser,
    ExperimentalPandasCSVGlobParser,
    ExperimentalPandasJsonParser,
    ExperimentalPandasParquetParser,
    ExperimentalPandasPickleParser,
    ExperimentalPandasXmlParser,
)

from . import csv_writer, session, sizing
from .block_partition import PandasOnMillpondDataframePartition
from .dataframe import PandasOnMillpondDataframe
from .engine_wrapper import MillpondWrapper
from .file_sizes import frame_bytes
from .parquet import OnceWrittenParquetDispatcher
from .query_compiler import PandasOnMillpondQueryCompiler

#: What Modin's dispatchers need to know of an engine.
_PARTS = {
    "frame_cls": PandasOnMillpondDataframe,
    "frame_partition_cls": PandasOnMillpondDataframePartition,
    "query_compiler_cls": PandasOnMillpondQueryCompiler,
    "base_io": BaseIO,
}


def _dispatcher(*classes: type, **more: Any) -> Any:
    """Return Modin's ``classes`` with our engine mixed in; ``more`` are further attributes."""
    return type("", (MillpondWrapper, *classes), _PARTS | more)


def _sized(read: Callable[..., Any], kind: str) -> Any:
    """Return ``read``, preceded by a look at the size of what it reads."""

    def read_sized(*args: Any, **kwargs: Any) -> Any:
        session.ensure_started()
        sizing.expect(frame_bytes(kind, kwargs))
        return read(*args, **kwargs)

    return staticmethod(read_sized)


class PandasOnMillpondIO(BaseIO):  # type: ignore[misc]  # Modin is not annotated
    """Everything that Modin can read and write in parallel on Dask, wired in the same way."""

    frame_cls = PandasOnMillpondDataframe
    frame_partition_cls = PandasOnMillpondDataframePartition
    query_compiler_cls = PandasOnMillpondQueryCompiler

    read_csv = _sized(_dispatcher(PandasCSVParser, CSVDispatcher).read, "csv")
    read_fwf = _sized(_dispatcher(PandasFWFParser, FWFDispatcher).read, "fwf")
    read_json = _sized(_dispatcher(PandasJSONParser, JSONDispatcher).read, "json")
    read_parquet = _sized(
        _dispatcher(PandasParquetParser, OnceWrittenParquetDispatcher).read, "parquet"
    )
    read_feather = _sized(_dispatcher(PandasFeatherParser, FeatherDispatcher).read, "feather")
    read_excel = _dispatcher(PandasExcelParser, ExcelDispatcher).read
    read_sql = _dispatcher(PandasSQLParser, SQLDispatcher).read
    to_parquet = _dispatcher(OnceWrittenParquetDispatcher).write
    to_sql = _dispatcher(SQLDispatcher).write

    # Methods of modin.experimental that pandas does not have.
    read_csv_glob = _sized(
        _dispatcher(ExperimentalPandasCSVGlobParser, ExperimentalCSVGlobDispatcher).read, "csv"
    )
    read_parquet_glob = _dispatcher(
        ExperimentalPandasParquetParser, ExperimentalGlobDispatcher
    ).read
    read_json_glob = _dispatcher(ExperimentalPandasJsonParser, ExperimentalGlobDispatcher).read
    read_xml_glob = _dispatcher(ExperimentalPandasXmlParser, ExperimentalGlobDispatcher).read
    read_pickle_glob = _dispatcher(ExperimentalPandasPickleParser, ExperimentalGlobDispatcher).read
    read_custom_text = _dispatcher(
        ExperimentalCustomTextParser, ExperimentalCustomTextDispatcher
    ).read
    read_sql_distributed = _dispatcher(ExperimentalSQLDispatcher, base_read=read_sql).read
    to_parquet_glob = _dispatcher(ExperimentalGlobDispatcher, base_write=BaseIO.to_parquet).write
    to_json_glob = _dispatcher(ExperimentalGlobDispatcher, base_write=BaseIO.to_json).write
    to_xml_glob = _dispatcher(ExperimentalGlobDispatcher, base_write=BaseIO.to_xml).write
    to_pickle_glob = _dispatcher(ExperimentalGlobDispatcher, base_write=BaseIO.to_pickle).write

    @classmethod
    def to_csv(cls, qc: Any, **kwargs: Any) -> Any:
        """Write a frame as CSV; into a plain local file in parallel."""
        frame = qc._modin_frame  # noqa: SLF001 - Modin has no public way
        if len(frame) and csv_writer.can_write(kwargs):
            return csv_writer.write(frame, kwargs)
        return super().to_csv(qc, **kwargs)

    @classmethod
    def from_dask(cls, dask_obj: Any) -> Any:
        """Make a query compiler of a Dask frame on millpond."""
        # Here because it imports Dask.
        from .dask_exchange import from_dask

        return from_dask(dask_obj)._query_compiler  # noqa: SLF001 - Modin has no public way

    @classmethod
    def to_dask(cls, modin_obj: Any) -> Any:
        """Make a Dask frame on millpond of a Modin frame or series."""
        from .dask_exchange import to_dask

        return to_dask(modin_obj)

    @classmethod
    def from_map(
        cls, func: Callable[..., Any], iterable: Iterable[Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Build a frame with one row of blocks for each item: what ``func`` returns for it."""
        function = MillpondWrapper.sendable(func)
        partitions = [
            [
                cls.frame_partition_cls(
                    MillpondWrapper.deploy(function, (item, *args), kwargs, return_pandas_df=True)
                )
            ]
            for item in iterable
        ]
        return cls.query_compiler_cls(cls.frame_cls(np.array(partitions)))
