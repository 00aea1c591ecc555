"""Tell other packages about millpond when they are imported, without importing them here.

`millpond/__init__` calls `install` once. It looks at one table, ``_ON_IMPORT``: the name of a
foreign module, and the function of ours to call with that module once its body has run. A
module that was imported before is handed over at once; for the others a finder is put in front
of `sys.meta_path`. That finder costs one dictionary lookup per import and changes nothing but
the moment after the module's own code ran: it finds nothing itself, keeps the loader that the
regular finders chose, and takes itself out when every entry of the table has been served.

To add a module: write a function ``def callback(module: ModuleType) -> None`` in a module of
the adapter that costs nothing to import, and add ``"foreign.module": "our.module:callback"`` to
the table. The callback runs inside the user's ``import``: it must not import heavy things, and
not raise because of a foreign version that it does not know.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.abc import Loader  # a costly import

__all__ = ["install"]

#: foreign module -> "module:function" of ours, called with the foreign module after its import
_ON_IMPORT: dict[str, str] = {
    "dask.array": "millpond.adapters.dask.registration:warm",
    "dask.base": "millpond.adapters.dask.registration:register",
    "dask.dataframe": "millpond.adapters.dask.registration:warm",
    "modin.config.envvars": "millpond.adapters.modin.registration:register_engine",
    "modin.core.execution.dispatching.factories.factories": (
        "millpond.adapters.modin.registration:register_factory"
    ),
    "modin.core.storage_formats.base.query_compiler_calculator": (
        "millpond.adapters.modin.registration:keep_from_switching"
    ),
    "modin.distributed.dataframe.pandas.partitions": (
        "millpond.adapters.modin.registration:extend_unwrap_partitions"
    ),
}


def install() -> None:
    """Serve the table, now or when its modules are imported. Calling it again does nothing."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    waiting: dict[str, str] = {}
    for name, target in _ON_IMPORT.items():
        module = sys.modules.get(name)
        if module is None:
            waiting[name] = target
        else:
            _resolve(target)(module)
    if waiting:
        sys.meta_path.insert(0, _Finder(waiting))


def _resolve(target: str) -> Callable[[ModuleType], None]:
    module_name, _, function_name = target.partition(":")
    callback: Callable[[ModuleType], None] = getattr(import_module(module_name), function_name)
    return callback


class _Finder:
    """A meta-path finder that only wraps the loaders of the waiting modules."""

    def __init__(self, waiting: dict[str, str]) -> None:
        self._waiting = waiting

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        callback = self._waiting.get(name)
        if callback is None:
            return None
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    loader = _CallingLoader(spec.loader, lambda module: self._loaded(name, module))
                    spec.loader = cast("Loader", loader)
                return spec
        return None

    def _loaded(self, name: str, module: ModuleType) -> None:
        callback = self._waiting.pop(name, None)
        if not self._waiting and self in sys.meta_path:
            sys.meta_path.remove(self)
        if callback is not None:
            _resolve(callback)(module)


class _CallingLoader:
    """The loader that was found, plus a call after the module's code ran."""

    def __init__(self, loader: object, loaded: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._loaded = loaded

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        create = getattr(self._loader, "create_module", None)
        return create(spec) if create is not None else None

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module is an ordinary one: reload and pickling see the real loader.
        module.__loader__ = self._loader  # type: ignore[assignment]
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader  # type: ignore[assignment]
        self._loader.exec_module(module)  # type: ignore[attr-defined]
        self._loaded(module)
