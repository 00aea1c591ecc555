"""Modin on millpond: the public names of `millpond.adapters.modin`.

Nothing here needs to be imported to use the engine: ``modin.config.Engine.put("Millpond")`` or the
environment variable ``MODIN_ENGINE=millpond`` select it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from millpond.adapters.later import imported_later
from millpond.adapters.modin import ENGINE

if TYPE_CHECKING:
    from millpond.adapters.modin import (
        from_arrow,
        from_dask,
        from_refs,
        to_arrow,
        to_dask,
        to_refs,
    )

__all__ = [
    "ENGINE",
    "from_arrow",
    "from_dask",
    "from_refs",
    "to_arrow",
    "to_dask",
    "to_refs",
]

# Some of them import Modin.
__getattr__ = imported_later(__name__, dict.fromkeys(__all__, "millpond.adapters.modin"))
