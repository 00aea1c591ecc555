"""Dask's persist protocol: start a computation, and return collections that hold its refs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask._expr import CompositeExpr, _ExprSequence
from dask.base import _rebuild_composite_collection, collections_to_expr
from dask.core import flatten
from dask.typing import Key

from .finishing import take_finishing
from .graph import materialize, select
from .persisted import Persisted
from .results import collect
from .submission import Submission

__all__ = ["persist_collections"]


def persist_collections(collections: Sequence[Any], *, optimize_graph: bool) -> list[Any]:
    """Do what `millpond.dask.persist` promises."""
    expr = collections_to_expr(list(collections), optimize_graph).optimize()
    parts = list(expr.operands) if isinstance(expr, _ExprSequence) else [expr]
    if len(parts) != len(collections):
        parts = [None] * len(collections)  # several collections share an expression
    keys = [list(flatten(part)) for part in expr.__dask_keys__()]
    chunks = _submit(expr, [key for part in keys for key in part])
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


def _submit(expr: Any, keys: list[Key]) -> dict[Key, Any]:
    """Return what stands for each key: its `Persisted`, or the value where that is here."""
    graph = select(materialize(expr), keys)
    finishing = take_finishing(graph, ())
    targets = {key: graph.resolve(key) for key in keys}
    wanted = {key for key in targets.values() if key in graph.tasks}
    with Submission(graph, wanted | finishing.needs) as work:
        work.submit()
        made: dict[Key, Any] = {key: Persisted(key, work.refs[key]) for key in wanted}
        # Stores into an array of this process: these happen now, as the caller expects.
        collect({key: work.refs[key] for key in finishing.needs}, finishing.arrived)
    made.update({key: finishing.values[key] for key in finishing.tasks})
    made.update(graph.literals)
    made.update({key: Persisted(key, ref) for key, ref in graph.refs.items()})
    return {key: made[target] for key, target in targets.items()}
