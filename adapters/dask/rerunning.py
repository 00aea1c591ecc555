"""Running a task that failed in a worker again in this process, where a debugger can look at it.

Dask's setting ``rerun_exceptions_locally``, as its own schedulers of processes have it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dask._task_spec import GraphNode
from dask.typing import Key

from .node import TASK_NOTE

__all__ = ["rerun_here"]


def rerun_here(
    error: Exception,
    nodes: Mapping[Key, GraphNode],
    compute: Callable[[list[Key]], Mapping[Key, Any]],
) -> None:
    """Call the function of the task that failed, with its inputs, in this process.

    Returns when the task, or its key, is not found, or when it does not fail here.

    Args:
        error: what the task raised in a worker.
        nodes: the graph.
        compute: returns the values of keys of the graph.

    Raises:
        Exception: what the task raises here.
    """
    while True:
        key = _failed_key(error, nodes)
        if key is None:
            return
        node = nodes[key]
        try:
            inputs = compute(list(node.dependencies))
        except Exception as earlier:  # noqa: BLE001 - an error of a call is named by its last task
            if _failed_key(earlier, nodes) == key:
                return
            error = earlier
            continue
        node(dict(inputs))
        return


def _failed_key(error: Exception, nodes: Mapping[Key, GraphNode]) -> Key | None:
    named = [note.removeprefix(TASK_NOTE) for note in getattr(error, "__notes__", ())]
    return next((key for key in nodes if repr(key) in named), None) if named else None
