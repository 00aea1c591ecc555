"""Names of a module that import what they need when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["imported_later"]


def imported_later(module: str, sources: Mapping[str, str]) -> Callable[[str], Any]:
    """Return what a module is to have as its ``__getattr__``.

    Args:
        module: Its ``__name__``.
        sources: Name -> the module that has it, relative to ``module`` if it begins with a dot.
    """

    def find(name: str) -> Any:
        if name not in sources:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(import_module(sources[name], module), name)

    return find
