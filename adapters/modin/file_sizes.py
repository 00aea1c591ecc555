"""How large a file will be as a frame, before it is read: an estimate that is rather too high."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from glob import glob
from pathlib import Path
from typing import Any

import pyarrow as pa

#: Bytes in memory for one byte of a file of text, or of Arrow's compressed format.
_EXPANSION = {"csv": 2.0, "fwf": 2.0, "json": 2.0, "feather": 4.0}

#: Bytes in memory for a value that is not of a fixed width, such as a short string in pandas.
_VARIABLE_WIDTH = 40

#: Of how many files of a data set to read the footers.
_SAMPLED_FILES = 8

#: Under which of these names Modin passes what to read.
_SOURCE_NAMES = ("filepath_or_buffer", "path", "path_or_buf")


def frame_bytes(kind: str, arguments: Mapping[str, Any]) -> float:
    """Return about how many bytes a frame read from local files takes; 0 if there is no telling.

    Args:
        kind: ``"parquet"``, ``"csv"``, ``"fwf"``, ``"json"`` or ``"feather"``.
        arguments: What Modin passes to the reader by name.
    """
    source = next((arguments[name] for name in _SOURCE_NAMES if name in arguments), None)
    try:
        files = [path for path in _local_files(source) if path.is_file()]
        if kind == "parquet":
            return _parquet_bytes(files, arguments.get("columns"))
        return _EXPANSION[kind] * sum(path.stat().st_size for path in files)
    except (OSError, ValueError, pa.ArrowException):
        # The reader will say what is wrong with it.
        return 0


def _local_files(source: Any) -> Iterable[Path]:
    """Yield the files of a path, a directory, a glob pattern, or several; none of a URL."""
    if isinstance(source, (list, tuple, set)):
        for each in source:
            yield from _local_files(each)
    elif isinstance(source, (str, os.PathLike)):
        name = os.fsdecode(source)
        # Patterns may be absolute, which Path.glob refuses.
        for path in map(Path, glob(name) or [name]):  # noqa: PTH207
            yield from path.rglob("*") if path.is_dir() else (path,)


def _parquet_bytes(files: Collection[Path], columns: Collection[str] | None) -> float:
    sizes = {path: path.stat().st_size for path in files if not path.name.startswith((".", "_"))}
    sample = list(sizes)[:_SAMPLED_FILES]
    sampled = sum(_footer_bytes(path, columns) for path in sample)
    weight = sum(sizes[path] for path in sample)
    return sampled * sum(sizes.values()) / weight if weight else 0.0


def _footer_bytes(path: Path, columns: Collection[str] | None) -> int:
    # Here because a program that reads no Parquet starts faster without.
    import pyarrow.parquet as pq

    footer = pq.read_metadata(path)
    fields = footer.schema.to_arrow_schema()
    wanted = [field for field in fields if columns is None or field.name in columns]
    return frame_bytes_of_fields(wanted, footer.num_rows)


def frame_bytes_of_fields(fields: Iterable[pa.Field[Any]], rows: int) -> int:
    """Return about how many bytes a frame with the columns of these fields of Arrow takes."""
    return rows * sum(_width(field.type) for field in fields)


def _width(dtype: pa.DataType) -> int:
    # Shorter ones, such as booleans and 32-bit numbers, often become wider in pandas.
    return 8 if pa.types.is_primitive(dtype) else _VARIABLE_WIDTH
