"""The cases, by group. Importing this package fills the catalogue, in the order of the report."""

from . import startup, tasks, actors, objects, transfer, refs, shuffle, sort, dask, tpch  # noqa: F401, I001
