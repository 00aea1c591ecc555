"""Finds which part of a value cannot be pickled, for the text of the error."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import cloudpickle

__all__ = ["describe_offender"]

_MAX_DEPTH = 12
_MAX_CHILDREN = 1000


def describe_offender(value: Any, what: str, error: Exception) -> str:
    """Return a sentence that names the innermost part of ``value`` that fails to pickle."""
    path, offender = "", value
    for _ in range(_MAX_DEPTH):
        for step, child in _children(offender):
            if not _pickles(child):
                path, offender = path + step, child
                break
        else:
            break
    where = f" at {path}" if path else ""
    return (
        f"{what} cannot be pickled: {_short(offender)} (type {type(offender).__qualname__})"
        f"{where}: {type(error).__name__}: {error}"
    )


def _short(value: Any) -> str:
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
            yield f"[{key!r}]", item
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, item in enumerate(list(value)[:_MAX_CHILDREN]):
            yield f"[{index}]", item
    elif inspect.isfunction(value):
        closure = inspect.getclosurevars(value)
        for name, item in {**closure.nonlocals, **closure.globals}.items():
            yield f".<variable {name}>", item
        for index, item in enumerate(value.__defaults__ or ()):
            yield f".__defaults__[{index}]", item
    elif inspect.ismethod(value):
        yield ".__self__", value.__self__
    elif isinstance(value, type):
        for name, item in list(vars(value).items())[:_MAX_CHILDREN]:
            if inspect.isfunction(item):
                yield f".{name}", item
    elif isinstance(getattr(value, "__dict__", None), dict):
        for name, item in list(vars(value).items())[:_MAX_CHILDREN]:
            yield f".{name}", item
