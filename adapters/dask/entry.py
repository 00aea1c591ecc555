"""What Dask calls: `get`, and `get.persist` beside it.

Kept apart from the work so that registering the scheduler imports nothing: the rest of the
adapter is imported at the first computation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["get", "persist"]


def get(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """Compute ``keys`` of a Dask graph on millpond: Dask's scheduler function.

    Args:
        dsk: a graph: an expression, a high-level graph or a mapping, legacy tuples included.
        keys: one key, or a list of keys and lists, nested to any depth.
        **kwargs: ``callbacks``, ``cache`` (values by key that the graph lacks) and
            ``rerun_exceptions_locally`` as in Dask's own schedulers; ``priority``, ``retries``,
            ``resources``, ``memory`` and ``workers`` as in `dask.annotate`, for all tasks; settings
            of other schedulers are accepted and ignored, as those schedulers do.

    Returns:
        The value of a single key; for a list, a tuple of the same shape. Values are private
        objects of the caller: no memory of the object store is held by them.

    Raises:
        Exception: whatever a task raised, in its original type, with the remote traceback as
            its cause and the task's key as a note. The rest of the computation is cancelled.
        KeyError: the graph misses a wanted key.
        ValueError: the graph misses a key that a task uses.
        RuntimeError: the graph needs Dask's peer-to-peer shuffle; the text names the setting.
        millpond.errors.OutOfMemoryError: this process has no memory for the results; the text says
            how much of it they need, and how much there is.
        millpond.errors.ResourceError: an annotation asks for what this machine has not.
    """
    from .scheduler import compute

    return compute(dsk, keys, **kwargs)


def persist(collections: Sequence[Any], *, optimize_graph: bool = True, **kwargs: Any) -> list[Any]:
    """Start computing collections and return them backed by references: Dask's persist protocol.

    It returns at once. Each chunk lives in millpond's object store as long as a collection
    (or a computation that uses it) holds it, and may be spilled meanwhile. A task's error is
    raised by the computation that uses its chunk.

    Args:
        collections: Dask collections.
        optimize_graph: let Dask optimize before.
        **kwargs: annotations of all tasks, as in `get`; settings of other schedulers are ignored.

    Returns:
        Equivalent collections, in the same order.
    """
    from .persistence import persist_collections

    return persist_collections(collections, optimize_graph=optimize_graph, **kwargs)


# Dask looks for ``schedule.persist``; without it persist() would block and fetch every value.
get.persist = persist  # type: ignore[attr-defined]
