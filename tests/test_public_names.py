from __future__ import annotations

import importlib
import pickle
import pkgutil

import pytest

import millpond
from millpond import errors

PUBLIC = {
    "ActorDiedError",
    "ActorHandle",
    "Context",
    "MillpondError",
    "ObjectLostError",
    "ObjectRef",
    "RemoteFunction",
    "Statistics",
    "TaskCancelledError",
    "TaskError",
    "WorkerCrashedError",
    "cancel",
    "context",
    "errors",
    "get",
    "init",
    "is_initialized",
    "is_worker",
    "kill",
    "preload",
    "put",
    "remote",
    "shutdown",
    "statistics",
    "wait",
}

#: the parts that are packages of their own, whichever folder they are in
PARTS = ("api", "node", "objectstore", "owner", "scheduler", "serialization", "wire", "worker")


def module_names() -> list[str]:
    names = ["millpond.errors"]
    for part in PARTS:
        package = importlib.import_module(f"millpond.{part}")
        names.append(package.__name__)
        modules = pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
        names += [module.name for module in modules if not module.name.endswith("__main__")]
    return names


ERRORS = [getattr(errors, name) for name in errors.__all__]


def test_the_public_names_are_these_and_no_others() -> None:
    assert set(millpond.__all__) == PUBLIC
    assert len(millpond.__all__) == len(PUBLIC)
    assert all(hasattr(millpond, name) for name in PUBLIC)


@pytest.mark.parametrize("name", module_names())
def test_what_a_module_exports_exists_and_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    for export in exported:
        assert hasattr(module, export)
        value = getattr(module, export)
        if callable(value) and getattr(value, "__module__", None) == name:
            assert value.__doc__


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_errors_travel_with_their_text(error: type[Exception]) -> None:
    text = "task f did not survive: žluť"
    again = pickle.loads(pickle.dumps(error(text)))
    assert type(again) is error
    assert again.args == (text,)
    assert text in str(again)


def test_errors_have_one_root_and_fitting_built_in_relatives() -> None:
    for error in ERRORS:
        root = Exception if error is errors.RemoteTraceback else errors.MillpondError
        assert issubclass(error, root)
    for error, builtin in [
        (errors.ConfigurationError, ValueError),
        (errors.ResourceError, ValueError),
        (errors.SerializationError, TypeError),
        (errors.GetTimeoutError, TimeoutError),
        (errors.OutOfDiskError, OSError),
        (errors.NotInitializedError, RuntimeError),
        (errors.OwnerDiedError, errors.ObjectLostError),
    ]:
        assert issubclass(error, builtin)
