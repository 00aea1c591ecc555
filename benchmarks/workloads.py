"""What the benchmarks run inside workers, importable by name from any process.

Every new worker and actor imports this module, so it imports nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def noop(*_arguments: object) -> None:
    """Do nothing: what is left is the engine."""


def last_item(array: NDArray[np.float64]) -> float:
    """Touch one page of a large argument, so that it must really be there."""
    return float(array[-1])


def count_arguments(*arguments: object) -> int:
    """Take any number of arguments, already resolved to values, and return how many there were."""
    return len(arguments)


def submit_from_worker(engine_name: str, count: int) -> int:
    """Submit `count` no-op tasks from inside a task and wait for all of them."""
    from .engines import inside_worker

    with inside_worker(engine_name) as engine:
        refs = engine.submit_many(engine.remote(noop), count)
        return len(engine.get(refs))


def call_from_worker(engine_name: str, handle: Any, count: int) -> int:
    """Call another process's `Counter` `count` times without waiting in between."""
    from .engines import inside_worker

    with inside_worker(engine_name) as engine:
        add = engine.method(handle, "add")
        last: int = max(engine.get([add() for _ in range(count)]))
        return last


def income(row: Any) -> float:
    """Compute with a row of a frame, as users do where they do not think of columns."""
    return float(row["fare"] + row["tip"]) if row["distance"] > 1 else 0.0


class Counter:
    """The smallest actor with state."""

    def __init__(self) -> None:
        self._count = 0

    def add(self) -> int:
        """Add one; return the new count."""
        self._count += 1
        return self._count
