"""What is known of a partition without looking into it.

Every task that makes partitions returns their outlines as one more small result, which the engine
carries inline in the message that the task is done. So lengths, short labels and dtypes cost
neither a task nor a look at the data, which may be on disk by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import pandas as pd

import millpond

#: Labels and dtypes are part of an outline up to this many of them.
_SHORT = 64


class Outline(NamedTuple):
    """The shape of one partition, and its labels and dtypes as far as they are short."""

    length: int
    width: int
    #: Labels of the rows; None if they are many, unless they are a range.
    rows: pd.Index[Any] | None = None
    #: Labels of the columns; None if they are many.
    columns: pd.Index[Any] | None = None
    #: One for each column; None if they are many.
    dtypes: tuple[Any, ...] | None = None

    def labels(self, axis: int) -> pd.Index[Any] | None:
        """Return the labels along ``axis``, if they are known."""
        return self.columns if axis else self.rows


def outline_of(value: Any) -> Outline:
    """Return the outline of a partition's value; 0 for an extent that it does not have."""
    if not isinstance(value, pd.DataFrame):
        rows = len(value) if hasattr(value, "__len__") else 0
        return Outline(rows, len(getattr(value, "columns", ())))
    rows, width = value.shape
    index = value.index
    short = rows <= _SHORT or isinstance(index, pd.RangeIndex)
    if width > _SHORT:
        return Outline(rows, width, index if short else None)
    dtypes = tuple(value.dtypes)
    return Outline(
        rows,
        width,
        index if short else None,
        value.columns,
        None if any(map(_is_long, dtypes)) else dtypes,
    )


def _is_long(dtype: Any) -> bool:
    return isinstance(dtype, pd.CategoricalDtype) and len(dtype.categories) > _SHORT


#: Data of a partition -> outlines of all results of the task that made it, and which is its own.
_sources: WeakKeyDictionary[millpond.ObjectRef[Any], tuple[millpond.ObjectRef[Any], int]] = (
    WeakKeyDictionary()
)


def remember(data: Iterable[millpond.ObjectRef[Any]], outlines: millpond.ObjectRef[Any]) -> None:
    """Note that one task made ``data``, and ``outlines`` of them in the same order."""
    for position, ref in enumerate(data):
        _sources[ref] = outlines, position


def known_outlines(data: Iterable[millpond.ObjectRef[Any]]) -> list[Outline | None]:
    """Return the outlines of partitions, once they are made; None for those of unknown origin.

    Raises:
        Exception: What a task that made one of them raised.
    """
    sources = [_sources.get(ref) for ref in data]
    refs = list(dict.fromkeys(source[0] for source in sources if source is not None))
    values = dict(zip(refs, millpond.get(refs), strict=True)) if refs else {}
    return [None if source is None else values[source[0]][source[1]] for source in sources]
