"""What `import millpond` offers, and that every module's `__all__` tells the truth."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import pytest

import millpond

PUBLIC = [
    "ActorDiedError",
    "ActorHandle",
    "ActorNameTakenError",
    "ActorNotFoundError",
    "ActorUnavailableError",
    "Context",
    "MemoryReport",
    "MillpondError",
    "Node",
    "ObjectLostError",
    "ObjectRef",
    "ObjectStoreWarning",
    "OutOfMemoryError",
    "RemoteFunction",
    "SpillOptions",
    "Statistics",
    "TaskCancelledError",
    "TaskError",
    "WorkerCrashedError",
    "available_memory",
    "cancel",
    "cluster_resources",
    "context",
    "errors",
    "get",
    "get_actor",
    "init",
    "is_initialized",
    "is_worker",
    "kill",
    "memory",
    "named_actors",
    "nodes",
    "open_port",
    "preload",
    "put",
    "remote",
    "shutdown",
    "statistics",
    "wait",
]

MODIN = "modin.core.execution.dispatching.factories.factories"
#: name of a module of ours -> what it needs, and what its users have imported before
NEEDS = {"millpond.modin": MODIN, "millpond.dask": "dask.base"}
NEEDS |= {"millpond.adapters.modin": MODIN, "millpond.adapters.dask": "dask.base"}


def modules() -> list[str]:
    """Every module of the package; programs are left out, they do things when imported."""
    names = []
    # Three of the packages lie in folders of their own, where a walk does not find them.
    for name in ("millpond", *(f"millpond.{p}" for p in ("adapters", "objectstore", "scheduler"))):
        walked = pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}.")
        names += [name, *(info.name for info in walked)]
    return sorted(name for name in set(names) if not name.endswith("__main__"))


def load(name: str) -> ModuleType:
    for prefix, needed in NEEDS.items():
        if name == prefix or name.startswith(f"{prefix}."):
            pytest.importorskip(needed)
    return importlib.import_module(name)


def test_the_public_names_are_these_and_no_others() -> None:
    assert millpond.__all__ == PUBLIC


def test_no_other_name_leaks() -> None:
    """Beside the public names there are only modules of ours."""
    others = {name for name in vars(millpond) if not name.startswith("_")} - set(PUBLIC)
    assert {name for name in others if f"millpond.{name}" not in modules()} == set()
    assert {name for name in others if not isinstance(getattr(millpond, name), ModuleType)} == set()


def test_a_star_import_gives_the_public_names() -> None:
    namespace: dict[str, object] = {}
    exec("from millpond import *", namespace)
    assert sorted(namespace.keys() - {"__builtins__"}) == PUBLIC


def test_every_public_name_has_a_docstring() -> None:
    assert [name for name in PUBLIC if not getattr(millpond, name).__doc__] == []


def test_there_is_a_version() -> None:
    assert [part.isdigit() for part in millpond.__version__.split(".")] == [True] * 3


def test_there_are_modules_of_every_part() -> None:
    parts = {name.split(".")[1] for name in modules() if "." in name}
    assert parts >= {"adapters", "api", "node", "objectstore", "owner", "scheduler", "wire"}
    assert parts >= {"dask", "errors", "modin", "serialization", "worker"}


@pytest.mark.parametrize("name", modules())
def test_what_a_module_exports_exists_and_is_documented(name: str) -> None:
    module = load(name)
    assert module.__doc__, "a module says what it covers"
    exported = list(getattr(module, "__all__", []))
    assert len(exported) == len(set(exported))
    for export in exported:
        assert not export.startswith("_")
        value = getattr(module, export)
        if callable(value) and getattr(value, "__module__", None) == name:
            assert value.__doc__, export
