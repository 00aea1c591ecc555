"""Finds which part of a value cannot be pickled, for the text of the error."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import cloudpickle

__all__ = ["describe_offender", "short"]

_MAX_DEPTH = 12
_MAX_CHILDREN = 1000


def describe_offender(value: Any, what: str, error: Exception) -> str:
    """Return a sentence that names the innermost part of ``value`` that fails to pickle."""
    path, offender = "", value
    seen: set[int] = set()
    for _ in range(_MAX_DEPTH):
        seen.add(id(offender))
        for step, child in _children(offender):
            if id(child) not in seen and not _pickles(child):
                path, offender = path + step, child
                break
        else:
            break
    where = f" at {path}" if path else ""
    return (
        f"{what} cannot be pickled: {short(offender)} (type {type(offender).__qualname__})"
        f"{where}: {type(error).__name__}: {error}"
    )


def short(value: Any) -> str:
    """Return a value's repr, cut to 100 characters, even if its repr raises."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a broken __repr__ must not hide the pickling error
        text = object.__repr__(value)
    return text if len(text) <= 100 else text[:97] + "..."


def _pickles(value: Any) -> bool:
    try:
        cloudpickle.dumps(value, 5)
    except Exception:  # noqa: BLE001 - any exception of a reducer means "does not pickle"
        # A ref only pickles inside the engine; it is never the offender.
        return type(value).__name__ == "ObjectRef"
    return True


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value with the step that leads to each."""
    if isinstance(value, dict):
        for key, item in list(value.items())[:_MAX_CHILDREN]:
            yield f"[{short(key)}]", item
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, item in enumerate(list(value)[:_MAX_CHILDREN]):
            yield f"[{index}]", item
    elif inspect.isfunction(value):
        yield from _variables(value)
    elif inspect.ismethod(value):
        yield ".__self__", value.__self__
    elif isinstance(value, type):
        yield from ((f".{n}", item) for n, item in vars(value).items() if inspect.isfunction(item))
    elif isinstance(getattr(value, "__dict__", None), dict):
        for name, item in list(vars(value).items())[:_MAX_CHILDREN]:
            yield f".{name}", item


def _variables(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function refers to: closure, globals, defaults."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f".<variable {name}>", cell.cell_contents
        except ValueError:  # the cell is empty as yet
            continue
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield f".<variable {name}>", function.__globals__[name]
    for index, item in enumerate(function.__defaults__ or ()):
        yield f".__defaults__[{index}]", item
