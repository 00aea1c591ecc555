"""Making Modin know the engine, without changing an installed Modin.

The functions here are called each with a module of Modin that has just been imported; the table in
`millpond.adapters.import_hooks` says which. Each checks that the module has what it relies on.
"""

from __future__ import annotations

import sys
import warnings
from functools import wraps
from types import ModuleType
from typing import Any, Final

#: Name of the engine, and of the backend, in Modin's configuration.
ENGINE: Final = "Millpond"

#: What Modin calls the pair of its pandas storage format and our engine.
EXECUTION: Final = f"PandasOn{ENGINE}"

_PARTITIONS_API = "modin.distributed.dataframe.pandas"


def register_engine(envvars: Any) -> None:
    """Add the engine to the configuration; ``envvars`` is ``modin.config.envvars``."""
    if not _fits(envvars, "Backend", "Engine", "Execution"):
        return
    # Neither a start-up of Modin's own, nor `Engine.add_option`, which would change the default
    # engine of the process.
    envvars.Engine.NOINIT_ENGINES.add(ENGINE)
    if ENGINE not in envvars.Backend.get_active_backends():
        envvars.Backend.register_backend(ENGINE, envvars.Execution("Pandas", ENGINE))


def register_factory(factories: Any) -> None:
    """Add the factory of readers and writers; ``factories`` is Modin's module of that name."""
    if not _fits(factories, "BaseFactory", "supported_executions"):
        return
    # Here because it imports this module of Modin.
    from .factory import PandasOnMillpondFactory

    setattr(factories, f"{EXECUTION}Factory", PandasOnMillpondFactory)
    if EXECUTION not in factories.supported_executions:
        factories.supported_executions = (*factories.supported_executions, EXECUTION)


def extend_unwrap_partitions(partitions: Any) -> None:
    """Let ``unwrap_partitions(frame)`` take our frames, whose class names it does not know."""
    if not _fits(partitions, "unwrap_partitions"):
        return
    original = partitions.unwrap_partitions

    @wraps(original)
    def unwrap_partitions(
        api_layer_object: Any, axis: int | None = None, get_ip: bool = False
    ) -> list[Any]:
        # Here because it imports most of Modin, which is only now sure to be complete.
        from .exchange import is_ours, unwrap_blocks

        if axis is None and is_ours(api_layer_object):
            return unwrap_blocks(api_layer_object, get_ip=get_ip)
        unwrapped: list[Any] = original(api_layer_object, axis=axis, get_ip=get_ip)
        return unwrapped

    partitions.unwrap_partitions = unwrap_partitions
    package: Any = sys.modules.get(_PARTITIONS_API)
    if getattr(package, "unwrap_partitions", None) is original:
        package.unwrap_partitions = unwrap_partitions


def keep_from_switching(calculator: Any) -> None:
    """Keep Modin from moving frames of other engines here by itself, as it does for its own.

    It would start the engine. ``calculator`` is the module that says which engines it may choose.
    """
    if not _fits(calculator, "all_switchable_backends"):
        return
    original = calculator.all_switchable_backends

    @wraps(original)
    def all_switchable_backends() -> list[str]:
        return [backend for backend in original() if backend != ENGINE]

    calculator.all_switchable_backends = all_switchable_backends


def _fits(module: ModuleType, *names: str) -> bool:
    missing = [name for name in names if not hasattr(module, name)]
    if missing:
        # Not an error: this is somebody's import of Modin, perhaps for another engine.
        warnings.warn(
            f"millpond cannot be an engine of this Modin: {module.__name__} has no "
            f"{', '.join(missing)}. Install millpond[modin] for a version that it fits.",
            RuntimeWarning,
            stacklevel=2,
        )
    return not missing
