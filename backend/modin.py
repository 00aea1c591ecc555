"""Modin on millpond: the public names of `millpond.adapters.modin`.

Nothing here needs to be imported to use the engine: ``modin.config.Engine.put("Millpond")`` or the
environment variable ``MODIN_ENGINE=millpond`` select it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from millpond.adapters.modin.registration import ENGINE

if TYPE_CHECKING:
    from millpond.adapters.modin.arrow_exchange import from_arrow, to_arrow
    from millpond.adapters.modin.dask_exchange import from_dask, to_dask
    from millpond.adapters.modin.exchange import from_refs, to_refs

__all__ = [
    "ENGINE",
    "from_arrow",
    "from_dask",
    "from_refs",
    "to_arrow",
    "to_dask",
    "to_refs",
]

#: what imports Modin -> the module that holds it
_LATER = {
    "from_arrow": "arrow_exchange",
    "from_dask": "dask_exchange",
    "from_refs": "exchange",
    "to_arrow": "arrow_exchange",
    "to_dask": "dask_exchange",
    "to_refs": "exchange",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"millpond.adapters.modin.{_LATER[name]}"), name)
