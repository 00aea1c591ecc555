"""Modin frames as Dask frames and back, over the same objects in the store."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from dask._task_spec import Alias, DataNode, Task
from dask.core import flatten
from dask.dataframe.dask_expr import from_graph
from dask.dataframe.dask_expr.io.io import FromGraph
from dask.utils import ensure_dict

from ..dask import persist
from ..dask.futures import Future, future_of_value, ref_in
from .engine_wrapper import MillpondWrapper
from .exchange import Block, as_modin, frame_of, name_of, rows_of, series_of
from .labels import joined


def to_dask(frame: Any) -> Any:
    """Return a Modin frame or series as one of Dask, without copying its data.

    It has a partition for each row of Modin's partitions, and holds them in the store. Only
    millpond can compute with it: see `millpond.dask.enable`. Text stays what it is in pandas,
    where Dask's own readers make it Arrow's.

    Args:
        frame: A Modin frame or series on millpond.

    Returns:
        A Dask frame or series. Its divisions are known if all labels of the rows are and increase.

    Raises:
        TypeError: It is something else, or on another engine.
    """
    rows, name = rows_of(frame), name_of(frame)
    prefix = f"from-modin-{uuid4().hex}"
    layer = {(prefix, i): _node((prefix, i), row, name) for i, row in enumerate(rows)}
    return from_graph(layer, _meta(frame, rows[0], name), _divisions(rows), list(layer), "modin")


def from_dask(collection: Any) -> Any:
    """Return a Dask frame or series as one of Modin, without copying its data.

    What is not computed yet is started on millpond; nobody waits for it. Partitions that are in the
    store already, those of persisted frames or out of `to_dask`, are shared.

    Args:
        collection: A Dask frame or series.

    Raises:
        TypeError: It is something else.
    """
    kind = getattr(collection, "ndim", 0)
    if kind not in (1, 2) or not hasattr(collection, "expr") or not hasattr(collection, "_meta"):
        raise TypeError(f"from_dask takes a Dask frame or series, not {type(collection)}")
    rows = _stored(collection)
    if rows is None:
        (persisted,) = persist([collection])
        graph = ensure_dict(persisted.__dask_graph__())
        keys = list(flatten(persisted.__dask_keys__()))
        rows = [[Block(future_of_value(key, _value(graph, key)).ref, {})] for key in keys]
    if kind == 1:
        return as_modin(series_of(rows, collection.name), series=True)
    return as_modin(frame_of(rows))


def _node(key: Any, blocks: list[Block], name: tuple[Any] | None) -> DataNode | Task:
    """Return the node of Dask's graph that stands for a row of blocks."""
    futures = [Future((*key, i), block.ref) for i, block in enumerate(blocks)]
    if len(blocks) == 1 and not blocks[0].labels and name is None:
        return DataNode(key, futures[0])
    return Task(key, joined, futures, [block.labels for block in blocks], name)


def _blocks(node: Any) -> list[Block] | None:
    """Return what `_node` stands for, or a persisted partition; None of anything else."""
    if isinstance(node, Task) and node.func is joined:
        futures, labels, _ = node.args
        return [Block(*pair) for pair in zip([each.ref for each in futures], labels, strict=True)]
    ref = ref_in(node.value if isinstance(node, DataNode) else node)
    return None if ref is None else [Block(ref, {})]


def _stored(collection: Any) -> list[list[Block]] | None:
    """Return the partitions of a Dask frame, if all of them are in the store."""
    if not isinstance(collection.expr, FromGraph):
        return None
    layer = collection.expr.operand("layer")
    rows = [_blocks(layer.get(key)) for key in collection.expr.operand("keys")]
    return None if None in rows else [row for row in rows if row is not None]


def _value(graph: dict[Any, Any], key: Any) -> Any:
    node = graph[key]
    while isinstance(node, Alias):
        node = graph[node.target]
    return node.value if isinstance(node, DataNode) else node


def _meta(frame: Any, blocks: list[Block], name: tuple[Any] | None) -> Any:
    """Return an empty pandas frame or series like the partitions."""
    refs, labels = [block.ref for block in blocks], [block.labels for block in blocks]
    meta = MillpondWrapper.materialize(MillpondWrapper.deploy(_empty, (refs, labels, name)))
    if name is not None:
        return meta.astype(frame.dtype)
    wanted = {column: dtype for column, dtype in frame.dtypes.items() if column in meta.columns}
    return meta.astype(wanted)


def _empty(*row: Any) -> Any:
    return joined(*row).iloc[:0]


def _divisions(rows: list[list[Block]]) -> tuple[Any, ...]:
    """Return the first label of each row of blocks, and the last one of all."""
    labels = [blocks[0].rows for blocks in rows]
    known = [each for each in labels if each is not None and len(each)]
    unknown = (None,) * (len(rows) + 1)
    if len(known) < len(rows) or any(each.nlevels > 1 for each in known):
        return unknown
    whole = known[0].append(known[1:])
    if not (whole.is_monotonic_increasing and whole.is_unique):
        return unknown
    return (*(each[0] for each in known), whole[-1])
