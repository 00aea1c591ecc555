"""Dask's configuration: switching millpond on, and carrying the driver's settings to the tasks.

A Dask task may itself compute (nested computations) or read settings, so each task is run under
the settings of the driver that computed it. Only what differs from a fresh process's own
configuration travels: usually a few bytes.
"""

from __future__ import annotations

import functools
import pickle
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Self

from .entry import get

__all__ = [
    "Enabled",
    "apply_settings",
    "capture_settings",
    "copies_inputs",
    "disable",
    "enable",
]

#: Dask's own defaults need a distributed client or a shared disk for these two.
_METHODS = {"dataframe.shuffle.method": "tasks", "array.rechunk.method": "tasks"}

#: Settings that mean something only in the process that made them.
_LOCAL_SETTINGS = frozenset({"scheduler", "pool", "get", "callbacks", "admin.traceback.shorten"})


#: in a task: how many computations wait for it, one inside the other
_NESTING = "millpond.nesting"
#: how many there may be: each of them keeps a worker process
_NESTING_LIMIT = "millpond.nesting-limit"
_MOST_NESTED = 32

#: whether a task that writes into its inputs is run again with copies of them
_COPY_INPUTS = "millpond.copy-inputs"


class Enabled:
    """The effect of one `enable`; as a context manager, undone at the end of the block."""

    def __init__(self) -> None:
        import dask.config

        from .warming import warm_workers

        self._change: Any = dask.config.set({"scheduler": get, **_METHODS})
        warm_workers()

    def undo(self) -> None:
        """Give Dask's settings their former values. Calling it again does nothing."""
        change, self._change = self._change, None
        if self in _enabled:
            _enabled.remove(self)
        if change is not None:
            change.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


_enabled: list[Enabled] = []


def enable() -> Enabled:
    """Make millpond Dask's scheduler, and its shuffles and rechunks ordinary tasks.

    Sets the configuration keys ``scheduler``, ``dataframe.shuffle.method`` and
    ``array.rechunk.method``. Lasts until `disable`; ``with enable():`` limits it to a block.
    """
    enabled = Enabled()
    _enabled.append(enabled)
    return enabled


def disable() -> None:
    """Undo the latest `enable` that is still in force; without one, do nothing."""
    if _enabled:
        _enabled[-1].undo()


def capture_settings() -> bytes:
    """Return what a worker must set to see this process's Dask configuration, pickled.

    Raises:
        RecursionError: too many computations are nested; the text names the setting.
    """
    import dask.config

    depth = dask.config.get(_NESTING, 0) + 1
    limit = dask.config.get(_NESTING_LIMIT, _MOST_NESTED)
    if depth > limit:
        raise RecursionError(
            f"Dask computations are nested {depth} deep, each waiting in a worker for the next "
            f"one; the limit is {limit}. If that is meant, allow more by "
            f"dask.config.set({{{_NESTING_LIMIT!r}: ...}})"
        )

    changed = {
        path: value
        for path, value in _differences(dask.config.config, _fresh_configuration())
        if path not in _LOCAL_SETTINGS and _is_picklable(value)
    }
    return pickle.dumps({**changed, _NESTING: depth}, protocol=5)


def copies_inputs() -> bool:
    """Whether a task that tries to write into its inputs is to be run again with copies of them."""
    import dask.config

    return bool(dask.config.get(_COPY_INPUTS, True))


_applied: tuple[bytes, Any] | None = None
_apply_lock = threading.Lock()


def apply_settings(captured: bytes) -> None:
    """In a worker: compute with millpond, under the captured settings, from now on."""
    global _applied
    if _applied is not None and _applied[0] == captured:
        return
    import dask.config

    with _apply_lock:
        if _applied is not None:
            _applied[1].__exit__(None, None, None)
        settings = {"scheduler": get, **_METHODS, **pickle.loads(captured)}
        _applied = (captured, dask.config.set(settings))


def _fresh_configuration() -> dict[str, Any]:
    """What Dask's defaults, files and environment say, as a new process would read them."""
    import dask.config

    # Packages that are imported later add their defaults to the list.
    return _read_configuration(len(dask.config.defaults))


@functools.lru_cache(maxsize=1)
def _read_configuration(_packages: int) -> dict[str, Any]:
    import dask.config

    fresh: dict[str, Any] = {}
    dask.config.refresh(config=fresh)
    return fresh


def _differences(
    ours: Mapping[str, Any], fresh: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in ours.items():
        other = fresh.get(name)
        if isinstance(value, Mapping) and (value or isinstance(other, Mapping)):
            yield from _differences(
                value, other if isinstance(other, Mapping) else {}, f"{prefix}{name}."
            )
        elif name not in fresh or (value is not other and value != other):
            yield f"{prefix}{name}", value


def _is_picklable(value: object) -> bool:
    try:
        pickle.dumps(value, protocol=5)
    except Exception:  # noqa: BLE001 - a setting can be any object, and fail in any way
        return False
    return True
