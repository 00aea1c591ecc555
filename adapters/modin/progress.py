"""The bar that ``modin.config.ProgressBar`` asks for, which Modin has for its own engines only."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from modin.config import ProgressBar

import millpond

#: Operations on all partitions of a frame, by their names in Modin's partition manager.
OPERATIONS = (
    "map_partitions",
    "lazy_map_partitions",
    "map_axis_partitions",
    "apply_func_to_select_indices",
    "apply_func_to_select_indices_along_full_axis",
    "apply_func_to_indices_both_axis",
    "n_ary_operation",
)


def watched(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operation that shows how much of its result is there, while the bar is wanted.

    Then it returns when all of it is, as it does on Modin's engines outside of notebooks.
    """

    @wraps(operation)
    def watching(*args: Any, **kwargs: Any) -> Any:
        partitions = operation(*args, **kwargs)
        if ProgressBar.get():
            _watch(partitions)
        return partitions

    return watching


def _watch(partitions: Any) -> None:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("Modin's progress bar needs tqdm: pip install tqdm") from error
    submitted = [ref for each in np.ravel(partitions) for ref in each.submitted()]
    pending = list(dict.fromkeys(submitted))
    with tqdm(total=len(pending), desc=f"Estimated completion of line {_line_of_user()}") as bar:
        while pending:
            ready, pending = millpond.wait(pending)
            bar.update(len(ready))


def _line_of_user() -> int:
    """Return which line of the program called Modin."""
    frame = sys._getframe()  # noqa: SLF001 - the way to look at the stack without its source
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("modin", "millpond"):
            break
        frame = frame.f_back
    return frame.f_lineno
