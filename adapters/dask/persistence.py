"""Dask's persist protocol: start a computation, and return collections that hold its refs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask._expr import CompositeExpr, _ExprSequence
from dask.base import _rebuild_composite_collection, collections_to_expr
from dask.core import flatten
from dask.typing import Key

from .annotations import ambient_hints, materialize_annotated
from .finishing import take_finishing
from .futures import Future
from .graph import select
from .results import collect
from .submission import Submission
from .tracebacks import keeping_nothing

__all__ = ["persist_collections", "start"]


def persist_collections(
    collections: Sequence[Any], *, optimize_graph: bool, **keywords: Any
) -> list[Any]:
    """Do what `millpond.dask.persist` promises."""
    expr = collections_to_expr(list(collections), optimize_graph).optimize()
    parts = list(expr.operands) if isinstance(expr, _ExprSequence) else [expr]
    if len(parts) != len(collections):
        parts = [None] * len(collections)  # several collections share an expression
    keys = [list(flatten(part)) for part in expr.__dask_keys__()]
    chunks = start(expr, [key for part in keys for key in part], **keywords)
    rebuilt = []
    for collection, part, part_keys in zip(collections, parts, keys, strict=True):
        if isinstance(part, CompositeExpr):
            rebuilt.append(
                _rebuild_composite_collection(collection, part, chunks, cull_to_child_keys=True)
            )
        else:
            rebuild, state = collection.__dask_postpersist__()
            rebuilt.append(rebuild({key: chunks[key] for key in part_keys}, *state))
    return rebuilt


@keeping_nothing
def start(dsk: Any, keys: list[Key], **keywords: Any) -> dict[Key, Any]:
    """Start computing a graph; return for each key its `Future`, or the value where it is here.

    Args:
        dsk: what Dask hands over.
        keys: the wanted keys.
        **keywords: hints for all tasks, as in `dask.annotate`.
    """
    nodes, hints_of = materialize_annotated(dsk, ambient_hints(keywords))
    graph = select(nodes, keys, hints_of)
    finishing = take_finishing(graph, ())
    targets = {key: graph.resolve(key) for key in keys}
    wanted = {key for key in targets.values() if key in graph.tasks}
    made: dict[Key, Any] = {}
    with Submission(graph, wanted | finishing.needs) as work:
        work.submit()
        for key, value in work.values.items():
            made[key] = value
            finishing.arrived(key, value)
        made.update({key: Future(key, work.refs[key]) for key in wanted if key in work.refs})
        # Stores into an array of this process: these happen now, as the caller expects.
        needed = {key: work.refs[key] for key in finishing.needs if key in work.refs}
        collect(needed, finishing.arrived)
    made.update({key: finishing.values[key] for key in finishing.tasks})
    made.update(graph.literals)
    made.update({key: Future(key, ref) for key, ref in graph.refs.items()})
    return {key: made[target] for key, target in targets.items()}
