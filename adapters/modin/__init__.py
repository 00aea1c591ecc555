"""Modin on millpond: an engine named "Millpond" for an unmodified Modin 0.37.

Select it with ``MODIN_ENGINE=millpond`` or ``modin.config.Engine.put("Millpond")``. Public names,
also found as ``millpond.modin``: `ENGINE`, `from_arrow`, `from_dask`, `from_refs`, `to_arrow`,
`to_dask`, `to_refs`. This package imports Modin only when Modin itself is imported, or one of these
is used.

How a Modin frame maps onto the engine:

==========================  ===================================================================
Modin                       millpond
==========================  ===================================================================
block partition             one object ref, plus the calls that wait to run on it
length, width               inline in the completion of the task that made the block: `extents`
short labels, dtypes        the same: `outlines`
new labels of a whole frame run by each reader of a block, which is not rewritten: `labels`
call queue                  one task, however long the queue
function of an operation    code pickled once, unpickled once per worker: `functions`
dtypes of arithmetic        tried once for each combination: `binary_dtypes`
describe, apply to rows     all CPUs, where Modin uses one: `query_compiler`
groupby                     needs no labels of rows: `query_compiler`
columns in another order    chosen by each reader of a block: `labels`, `dataframe`
to_csv                      text made side by side, written in order: `csv_writer`
Dask, Arrow, refs           share the blocks: `exchange`, `dask_exchange`, `arrow_exchange`
progress bar                ours, as Modin's is for its own engines: `progress`
refs nested in arguments    top-level arguments of the task, so no task blocks on one: `arguments`
number of partitions        one for each CPU, more when data is large for the store: `sizing`
frame that nobody uses      freed at once, not when Python collects cycles: `back_references`
==========================  ===================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..later import imported_later
from .registration import ENGINE

if TYPE_CHECKING:
    from .arrow_exchange import from_arrow, to_arrow
    from .dask_exchange import from_dask, to_dask
    from .exchange import from_refs, to_refs

__all__ = [
    "ENGINE",
    "from_arrow",
    "from_dask",
    "from_refs",
    "to_arrow",
    "to_dask",
    "to_refs",
]

#: Those that import Modin.
__getattr__ = imported_later(
    __name__,
    {
        "from_arrow": ".arrow_exchange",
        "from_dask": ".dask_exchange",
        "from_refs": ".exchange",
        "to_arrow": ".arrow_exchange",
        "to_dask": ".dask_exchange",
        "to_refs": ".exchange",
    },
)
