"""The demonstration: TPC-H through Dask, Modin and plain tasks, in a store a quarter of the data.

Run it with ``make demo`` or ``python -m demo``. Every job runs in a process of its own, so that its
memory is its own, and every answer is compared with DuckDB's on the same files.
"""
