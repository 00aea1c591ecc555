"""Plain pandas: what Modin's engines have to be faster than."""

# ruff: noqa: D102 - the interface documents the methods

from __future__ import annotations

from types import ModuleType

import pandas as pd

from .interface import Engine, Settings


class PandasEngine(Engine):
    """pandas, in the driver, on one core."""

    def start(self, settings: Settings) -> None:
        pass

    def stop(self) -> None:
        pass

    def frames(self) -> ModuleType:
        return pd
