"""Modin on millpond: an engine named "Millpond" for an unmodified Modin 0.37.

Select it with ``MODIN_ENGINE=millpond`` or ``modin.config.Engine.put("Millpond")``; the public
names are in `millpond.modin`. This package imports Modin only when Modin itself is imported.

How a Modin frame maps onto the engine:

==========================  ===================================================================
Modin                       millpond
==========================  ===================================================================
block partition             one object ref, plus the calls that wait to run on it
length, width               inline in the completion of the task that made the block: `extents`
short labels, dtypes        the same: `outlines`
new labels of a whole frame run by each reader of a block, which is not rewritten: `labels`
call queue                  one task, however long the queue
function of an operation    pickled once, unpickled once per worker: `functions`
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
