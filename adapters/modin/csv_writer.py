"""Writing a frame as one CSV file: rows become text side by side, and are written in order.

Modin's own way on Ray has tasks wait for their turn to append to the file, each of them with a
worker that cannot do anything else. Here the driver appends what the workers made. A few pieces
are made ahead, so neither the store nor the driver ever holds the text of a large frame.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from modin.config import CpuCount
from pandas.io.common import (  # type: ignore[import-not-found]  # not in the stubs
    get_handle,
    stringify_path,
)

from .arguments import Deferred
from .engine_wrapper import MillpondWrapper

#: Rows that become text in one task; fewer if they make too few tasks for the CPUs.
_ROWS_PER_PIECE = 200_000

#: Fewer rows than this are not worth a task of their own.
_FEWEST_ROWS = 5_000

#: Endings for which pandas compresses what it writes.
_COMPRESSED = (".gz", ".bz2", ".zip", ".xz", ".zst", ".tar")

#: What can be written piece by piece: no mark at the beginning, no state between characters.
_ENCODINGS = frozenset(("ascii", "latin-1", "utf-8"))


def can_write(kwargs: Mapping[str, Any]) -> bool:
    """Tell whether `write` can do what ``to_csv(**kwargs)`` of pandas would do."""
    path = stringify_path(kwargs["path_or_buf"])
    return (
        isinstance(path, str)
        and "://" not in path
        and (kwargs["encoding"] or "utf-8").lower() in _ENCODINGS
        and "r" not in kwargs["mode"]
        and not kwargs["storage_options"]
        and (
            kwargs["compression"] is None
            or (kwargs["compression"] == "infer" and not path.lower().endswith(_COMPRESSED))
        )
    )


def write(frame: Any, kwargs: Mapping[str, Any]) -> None:
    """Write a frame as pandas would.

    Args:
        frame: The partitioned frame below a Modin frame.
        kwargs: The arguments of ``pandas.DataFrame.to_csv``, for which `can_write` holds.

    Raises:
        OSError: The file cannot be written.
        Exception: What pandas raises about the arguments.
    """
    frame._propagate_index_objs(None)  # noqa: SLF001 - Modin has no public way
    mode = "".join(letter for letter in kwargs["mode"] if letter in "wax") + "b"
    texts = _texts(frame, dict(kwargs))
    first = next(texts)
    with get_handle(kwargs["path_or_buf"], mode, is_text=False) as opened:
        opened.handle.write(first)
        for text in texts:
            opened.handle.write(text)


def _texts(frame: Any, kwargs: dict[str, Any]) -> Iterator[Any]:
    """Yield the encoded text of all rows, piece by piece."""
    made: deque[Any] = deque()
    for number, (blocks, rows) in enumerate(_pieces(frame)):
        if number == 1:
            kwargs["header"] = False
        if len(made) > CpuCount.get():
            yield memoryview(MillpondWrapper.materialize(made.popleft()))
        made.append(MillpondWrapper.deploy(_text_of, (blocks, rows, kwargs)))
    while made:
        yield memoryview(MillpondWrapper.materialize(made.popleft()))


def _pieces(frame: Any) -> Iterator[tuple[list[Any | Deferred], slice]]:
    """Yield the blocks of each row of blocks, and which of their rows to write."""
    lengths = frame.row_lengths
    most = max(_FEWEST_ROWS, min(_ROWS_PER_PIECE, sum(lengths) // (2 * CpuCount.get()) + 1))
    manager = frame._partition_mgr_cls  # noqa: SLF001 - Modin has no public way
    for row, length in zip(manager.row_partitions(frame._partitions), lengths, strict=True):  # noqa: SLF001
        blocks = row.list_of_block_partitions
        few = len(blocks) == 1 and length <= most
        taken = [block.taken(run_queue=few) for block in blocks]
        for start in range(0, max(1, length), most):
            yield taken, slice(start, start + most)


def _text_of(blocks: list[pd.DataFrame], rows: slice, kwargs: Mapping[str, Any]) -> Any:
    """Return the rows as text, in an array: that is not copied on its way to the driver."""
    frame = blocks[0] if len(blocks) == 1 else pd.concat(blocks, axis=1)
    text = io.StringIO(newline="")
    options = {**kwargs, "path_or_buf": text, "mode": "w", "encoding": None}
    options["lineterminator"] = kwargs["lineterminator"] or os.linesep
    frame.iloc[rows].to_csv(**options)
    encoded = text.getvalue().encode(kwargs["encoding"] or "utf-8", kwargs["errors"])
    return np.frombuffer(encoded, dtype=np.uint8)
