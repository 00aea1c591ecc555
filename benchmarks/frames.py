"""Modin on an engine of choice, and how to wait for what it computes."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def modin_on(engine: str) -> ModuleType:
    """Return ``modin.pandas`` on an engine, by Modin's name for it.

    Raises:
        ImportError: Modin is not installed.
    """
    import modin.config

    modin.config.Engine.put(engine)
    import modin.pandas

    name = modin.config.Engine.get()
    if name != engine:
        raise RuntimeError(f"Modin computes on {name}, it should be {engine}")
    pandas: ModuleType = modin.pandas
    return pandas


def finish(value: Any) -> Any:
    """Wait until a frame or series is computed; it stays where it is. Return it."""
    if hasattr(value, "_query_compiler"):
        from modin.utils import execute

        execute(value)
    return value


def to_pandas(value: Any) -> Any:
    """Return a frame or series of pandas, whatever computed it."""
    return value.modin.to_pandas() if hasattr(value, "_query_compiler") else value
