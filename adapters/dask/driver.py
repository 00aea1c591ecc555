"""Units that run in the driver, because they or their results cannot be pickled.

Open files, generators, h5py's datasets: what no other process can be given. Such a unit runs on
the thread that computes, one at a time and in Dask's order; all others still run in workers. A
warning tells once for each kind of task. Not covered: finalizers and stores, which run in the
driver by design (``finishing``).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

from dask._task_spec import Task
from dask.typing import Key
from dask.utils import key_split

import millpond
from millpond.errors import SerializationError

from .batches import BATCH_MARK
from .copies import private_copy
from .futures import ref_in
from .node import Times, run_here
from .units import Unit

__all__ = ["DriverUnits", "is_of_batch", "note_unpicklable", "unpicklable_result"]

#: prefixes of the keys of tasks whose results cannot be pickled: these run here from the start
_unpicklable: set[str] = set()
_MAX_UNPICKLABLE = 1024
_warned: set[str] = set()

_RESULT_ERROR = re.compile(r"the result of task (.+?)(?: \[\d+\])? cannot be pickled: ")


def note_unpicklable(prefix: str, reason: str) -> None:
    """Warn, the first time, that tasks of one kind run in this process."""
    if prefix in _warned:
        return
    if len(_warned) < _MAX_UNPICKLABLE:
        _warned.add(prefix)
    warnings.warn(
        f"Dask tasks {prefix!r} run in the driver, one at a time: {reason}",
        RuntimeWarning,
        stacklevel=2,
    )


def is_of_batch(error: SerializationError) -> bool:
    """Whether some result of a batch could not be sent; of which task, it does not say."""
    found = _RESULT_ERROR.match(str(error))
    return found is not None and found[1].endswith(BATCH_MARK)


def unpicklable_result(error: SerializationError) -> bool:
    """Whether a task's result could not be sent, which running it in the driver would cure."""
    found = _RESULT_ERROR.match(str(error))
    if found is None or found[1] in _unpicklable or len(_unpicklable) >= _MAX_UNPICKLABLE:
        return False
    _unpicklable.add(found[1])
    note_unpicklable(found[1], str(error))
    return True


class DriverUnits:
    """What the driver runs, and the values that it made."""

    def __init__(self) -> None:
        #: what was made here and is still needed, by key
        self.values: dict[Key, Any] = {}

    @staticmethod
    def must_run(unit: Unit) -> bool:
        """Whether a unit is known to make something that cannot be pickled."""
        return bool(_unpicklable) and key_split(unit.key) in _unpicklable

    def run(self, unit: Unit, source: Callable[[Key], Any]) -> Times:
        """Execute a unit here and keep its values; return when its tasks ran.

        Args:
            unit: what to run.
            source: gives each input, by its key: a ref, or a value.

        Raises:
            Exception: what the task, or one that it depends on, raised.
        """
        known = {
            name: self.values[target] if target in self.values else _with_values(source(target))
            for name, target in unit.inputs.items()
        }
        local = Unit(
            [_with_values(task) for task in unit.tasks], unit.inputs, unit.picks, unit.hints
        )
        made, times = run_here(local, known)
        for keys, value in zip(unit.outputs, made, strict=True):
            for key in keys:
                self.values[key] = value
        return times


def _with_values(value: Any) -> Any:
    """Return an argument, or an equal one in which values have taken the places of refs."""
    ref = ref_in(value)
    if ref is not None:
        return private_copy(millpond.get(ref))
    kind = type(value)
    if kind in (list, tuple, set):
        items = [_with_values(item) for item in value]
        return value if all(map(_is, items, value)) else kind(items)
    if kind is dict:
        items = [_with_values(item) for item in value.values()]
        same = all(map(_is, items, value.values()))
        return value if same else dict(zip(value, items, strict=True))
    return _task_with_values(value) if isinstance(value, Task) else value


def _task_with_values(task: Task) -> Task:
    arguments, keywords = _with_values(task.args), _with_values(task.kwargs)
    if arguments is task.args and keywords is task.kwargs:
        return task
    if type(task) is Task:
        return Task(task.key, task.func, *arguments, **keywords)
    return type(task)(*arguments)  # a container


def _is(one: object, other: object) -> bool:
    return one is other
