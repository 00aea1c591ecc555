"""Tasks of ``dask.array.store`` that write into an object of the driver.

In a worker they would write into a copy of it, and the data would silently be lost; so they
run in the driver (``finishing``), with what uses their results. Dask fuses such a task with
those that make its chunk, which are to stay in the workers: `open_store` takes it out again.
"""

from __future__ import annotations

from typing import Any

from dask._expr import ProhibitReuse
from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef, _execute_subgraph
from dask.typing import Key

__all__ = ["open_store", "stores_in_driver"]

#: those of zarr's storages, old and new, that many processes can write into
_FILE_STORES = frozenset(
    {
        "DirectoryStore",
        "FSStore",
        "FsspecStore",
        "LocalStore",
        "NestedDirectoryStore",
        "ObjectStore",
    }
)


def stores_in_driver(task: Task, literals: dict[Key, Any]) -> bool:
    """Whether a task writes into an object of this process that no worker could write into."""
    if not _stores(task):
        return False
    target = task.args[1]
    if isinstance(target, DataNode):
        target = target.value
    elif isinstance(target, Alias | TaskRef):
        key = target.target if isinstance(target, Alias) else target.key
        if key not in literals:
            return False  # a task opens the target, in a worker
        target = literals[key]
    return not _is_files(target)


def _is_files(target: Any) -> bool:
    """Whether a target is a zarr array in files: anything else may be memory of this process."""
    if not type(target).__module__.startswith("zarr"):
        return False
    store = getattr(target, "store", None)
    protocol = getattr(getattr(store, "fs", None), "protocol", ())
    return type(store).__name__ in _FILE_STORES and "memory" not in protocol


def _stores(task: GraphNode) -> bool:
    return isinstance(task, Task) and getattr(task.func, "__name__", "") == "load_store_chunk"


def open_store(task: GraphNode) -> dict[Key, GraphNode]:
    """Return the tasks that a fused or wrapped task consists of, if it stores; else nothing.

    The last of them has the key of the task; each may be fused or wrapped itself.
    """
    if _is_wrapped(task) and _holds_store(task):
        return {task.key: task.args[0].substitute({}, key=task.key)}
    if not (_is_fused(task) and _holds_store(task)):
        return {}
    inner, outkey, inkeys = task.args[:3]
    keys: dict[Key, Key] = {name: ("part", task.key, name) for name in inner}
    keys[outkey] = task.key
    known: dict[Key, Any] = {**keys, **dict(zip(inkeys, task.args[3:], strict=True))}
    return {keys[name]: node.substitute(known, key=keys[name]) for name, node in inner.items()}


def _is_fused(task: GraphNode) -> bool:
    return isinstance(task, Task) and task.func is _execute_subgraph


def _is_wrapped(task: GraphNode) -> bool:
    """Whether Dask only gave a task another name, which it does to stores that come later."""
    return (
        isinstance(task, Task)
        and task.func is ProhibitReuse._identity  # noqa: SLF001 - Dask has no public name for it
        and len(task.args) == 1
        and isinstance(task.args[0], Task)
    )


def _holds_store(task: GraphNode) -> bool:
    if _is_wrapped(task):
        return _holds_store(task.args[0])
    if _is_fused(task):
        return any(map(_holds_store, task.args[0].values()))
    return _stores(task)
