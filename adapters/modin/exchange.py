"""Our frames as refs, for `modin.distributed.dataframe.pandas`."""

# ruff: noqa: SLF001 - Modin has no public way from a frame to its partitions

from __future__ import annotations

from typing import Any

from .dataframe import PandasOnMillpondDataframe


def is_ours(frame: Any) -> bool:
    """Tell whether a Modin frame or series has its partitions on millpond."""
    query_compiler = getattr(frame, "_query_compiler", None)
    inner = getattr(query_compiler, "_modin_frame", None)
    return isinstance(inner, PandasOnMillpondDataframe)


def unwrap_blocks(frame: Any, *, get_ip: bool) -> list[list[Any]]:
    """Return the refs of all blocks of a Modin frame or series, row by row.

    Args:
        frame: One for which `is_ours` holds.
        get_ip: Whether to return pairs of node address and ref.
    """
    inner = frame._query_compiler._modin_frame
    inner._propagate_index_objs(None)
    partitions = inner._partitions
    # All queued calls run side by side, before the first is waited for.
    for partition in partitions.flat:
        partition.drain_call_queue()
    return [[_unwrapped(partition, get_ip) for partition in row] for row in partitions]


def _unwrapped(partition: Any, get_ip: bool) -> Any:
    if hasattr(partition, "force_materialization"):
        partition = partition.force_materialization().list_of_block_partitions[0]
    (ref,) = partition.list_of_blocks
    return (partition.ip(materialize=False), ref) if get_ip else ref
