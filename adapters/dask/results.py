"""Bringing results back to the process that asked for them.

Each result is copied out of the store as soon as it is ready and its reference dropped, so
results do not fill the store while the rest is computed, and may together be larger than it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dask.typing import Key

import millpond

from .copies import private_copy

__all__ = ["collect"]

#: seconds between looks at which results are ready: errors are seen no later than this
_FIRST_INTERVAL = 0.02
_LONGEST_INTERVAL = 0.5


def collect(refs: dict[Key, millpond.ObjectRef[Any]], arrived: Callable[[Key, Any], None]) -> None:
    """Call ``arrived(key, value)`` for every ref as its value gets ready; empty ``refs``.

    Raises:
        Exception: the first error that any of them ends with.
    """
    keys_of: dict[millpond.ObjectRef[Any], list[Key]] = {}
    for key, ref in refs.items():
        keys_of.setdefault(ref, []).append(key)
    refs.clear()
    interval = _FIRST_INTERVAL
    try:
        while keys_of:
            ready = list(keys_of)
            if len(ready) > 1:
                ready, _ = millpond.wait(ready, num_returns=len(ready), timeout=interval)
                interval = min(interval * 1.5, _LONGEST_INTERVAL)
            while ready:
                _deliver(ready.pop(), keys_of, arrived)
    finally:
        # A traceback keeps this frame: it must not keep the results with it.
        keys_of.clear()
        ready = []


def _deliver(
    ref: millpond.ObjectRef[Any],
    keys_of: dict[millpond.ObjectRef[Any], list[Key]],
    arrived: Callable[[Key, Any], None],
) -> None:
    value = private_copy(millpond.get(ref))
    for key in keys_of.pop(ref):
        arrived(key, value)
