"""Callbacks that read a clock, told of another time than the present.

Dask's profilers take the time when they are called. Here they are called when this process
learns that a task has ended, and are to note when it ran. So their methods are called with a
clock of ours in the place of the one they imported; nothing of Dask's is changed by that.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

__all__ = ["on_clock"]

_CLOCK = "default_timer"


def on_clock(method: Any, clock: Callable[[], float]) -> Any:
    """Return ``method``, reading ``clock`` for the time; None if it reads no time.

    Args:
        method: a method of a callback, whose module imports `timeit.default_timer` by that name.
        clock: returns seconds as `timeit.default_timer` counts them.
    """
    function = getattr(method, "__func__", None)
    if type(function) is not FunctionType or _CLOCK not in function.__code__.co_names:
        return None
    if function.__globals__.get(_CLOCK) is not timeit.default_timer:
        return None
    made = FunctionType(
        function.__code__,
        {**function.__globals__, _CLOCK: clock},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    return MethodType(made, method.__self__)
