"""Calls of functions that may write to their arguments.

What the engine gives to a task is a read-only view of the object store. Most functions do not
mind. The others are called again, with private copies.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

_COPIED = (np.ndarray, pd.DataFrame, pd.Series, pd.Index)


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``function``, once more with private copies if it failed on a read-only buffer.

    Raises:
        Exception: What the function raises; with copies of its arguments, whatever it raises.
    """
    with warnings.catch_warnings():
        # Modin itself calls what pandas has deprecated; the user can do nothing about it.
        warnings.filterwarnings("ignore", category=FutureWarning)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if not _is_about_read_only(error):
                raise
        return function(*map(_private, args), **{key: _private(kwargs[key]) for key in kwargs})


def run(
    calls: Iterable[tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]], value: Any
) -> Any:
    """Return ``value`` after all ``calls``, each with the result of the one before."""
    for function, args, kwargs in calls:
        value = call(function, value, *args, **kwargs)
    return value


class CallOnce:
    """A function for Modin code that itself calls again after a failure on a read-only buffer.

    That second call raises the first one's error again, instead of repeating the user's work.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._failure: ValueError | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as `call` does."""
        if self._failure is not None:
            # Not kept: its traceback holds this object and the views that the task was given.
            failure, self._failure = self._failure, None
            raise failure
        try:
            return call(self._function, *args, **kwargs)
        except ValueError as error:
            if _is_about_read_only(error):
                self._failure = error
            raise


def _is_about_read_only(error: BaseException | None) -> bool:
    # numpy: "assignment destination is read-only"; Cython: "buffer source array is read-only".
    # Libraries may raise an error of their own from it.
    while error is not None:
        if isinstance(error, ValueError) and "read-only" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _private(value: Any) -> Any:
    return value.copy() if isinstance(value, _COPIED) else value
