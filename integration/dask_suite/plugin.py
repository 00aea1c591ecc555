"""A pytest plugin that makes Dask's own tests compute on millpond.

Covers: forcing the engine wherever Dask names a scheduler, one engine for all tests, the list of
tests that cannot pass on it, and what the `conftest.py` of Dask's repository did (the wheel has
the tests, but not that file). Not: which files to run (``__main__``).

Dask's tests ask for schedulers by name (mostly "sync"), by configuration, by the default of a
collection, and by importing the functions of `dask.threaded`, `dask.local` and
`dask.multiprocessing`. All of these become the engine. Each of the three functions gets a
substitute of its own, so that comparisons between them come out as they did.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import millpond
import millpond.dask
from integration.foreign_tests import (
    Endings,
    add_options,
    mark_failures,
    start_engine,
    stop_engine,
)

__all__: list[str] = []

_HERE = Path(__file__).parent
#: functions that run a graph, by the module that defines them
_SCHEDULERS = {"threaded": "get", "local": "get_sync", "multiprocessing": "get"}

pytest.register_assert_rewrite("dask.array.utils", "dask.dataframe.utils", "dask.bag.utils")

#: computations that the engine got, and how the tests ended
_endings = Endings()


def _substitute(name: str) -> Callable[..., Any]:
    def get(dsk: Any, keys: Any, **kwargs: Any) -> Any:
        _endings.counts["computations"] += 1
        return millpond.dask.get(dsk, keys, **kwargs)

    def persist(collections: Any, **kwargs: Any) -> Any:
        _endings.counts["computations"] += 1
        return millpond.dask.persist(collections, **kwargs)

    get.__name__ = get.__qualname__ = name
    get.persist = persist  # type: ignore[attr-defined]
    return get


def _force_engine() -> None:
    """Put the engine in the place of every scheduler, wherever Dask has noted one by now."""
    substitutes = {}
    for name, attribute in _SCHEDULERS.items():
        get = getattr(importlib.import_module(f"dask.{name}"), attribute)
        substitutes[get] = _substitute(f"{name}.{attribute}")
    import dask.base

    schedulers = dask.base.named_schedulers
    schedulers.update({name: substitutes.get(get, get) for name, get in schedulers.items()})
    for module in [module for name, module in sys.modules.items() if name.startswith("dask.")]:
        for name, value in list(vars(module).items()):
            if inspect.isfunction(value) and value in substitutes:
                setattr(module, name, substitutes[value])
            elif inspect.isclass(value) and "__dask_scheduler__" in vars(value):
                collection: Any = value
                default = collection.__dask_scheduler__
                collection.__dask_scheduler__ = staticmethod(substitutes.get(default, default))


# --- as in the repository of Dask ---------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add Dask's own options and ours."""
    parser.addoption("--runslow", action="store_true", help="run slow tests")
    parser.addoption("--runarrayexpr", action="store_true", help="run array-expr tests")
    parser.addoption("--in-part", action="store_true", help="run some files in part (suite.toml)")
    add_options(parser)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what Dask's continuous integration does not run by default."""
    if "slow" in item.keywords and not item.config.getoption("--runslow"):
        pytest.skip("need --runslow option to run")
    if "array_expr" in item.keywords and not item.config.getoption("--runarrayexpr"):
        pytest.skip("need --runarrayexpr option to run")


# --- ours ---------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Take over Dask's schedulers, before its `conftest.py` imports collections."""
    _force_engine()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the engine, one for all tests: some compute when they are collected."""
    import dask

    modules = ["numpy", "pandas", "pyarrow", "pytest", "dask.array", "dask.dataframe", "dask.bag"]
    preload = [*modules, "millpond.adapters.dask.node"]
    start_engine(session.config, preload)
    # The functions above are no frames of a user, either.
    frames = [*dask.config.get("admin.traceback.shorten"), re.escape(str(_HERE))]
    dask.config.set({"admin.async-client-fallback": "sync", "admin.traceback.shorten": frames})


@pytest.fixture(autouse=True, scope="module")
def shuffles(request: pytest.FixtureRequest) -> Iterator[None]:
    """Shuffle frames as `millpond.dask.enable` has it.

    But not bags: Dask's own `Bag.groupby` by tasks lacks features of the one by files.
    """
    import dask

    method = None if "dask/bag" in request.path.as_posix() else "tasks"
    with dask.config.set({"dataframe.shuffle.method": method, "array.rechunk.method": "tasks"}):
        yield


@pytest.fixture(autouse=True)
def no_client_left() -> Iterator[None]:
    """Take back the place of Dask's default scheduler from clients of dask.distributed.

    One that failed while it started keeps that place, and whoever computes on it waits forever.
    """
    yield
    clients: Any = sys.modules.get("distributed.client")
    if clients is not None:
        for client in list(clients._global_clients.values()):
            clients._del_global_client(client)
            with client._set_config:  # its end gives Dask's setting its former value
                pass


def _name_of(item: pytest.Item) -> str:
    """Return a test's name, with the path of its file in Dask's package, or beside it."""
    import dask

    package = Path(dask.__file__).parent
    base = package if item.path.is_relative_to(package) else package.parent
    return f"{item.path.relative_to(base).as_posix()}::{item.nodeid.partition('::')[2]}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that cannot pass; one that does pass nevertheless is a failure."""
    suite = tomllib.loads((_HERE / "suite.toml").read_text())
    mark_failures(suite["failures"], items, _name_of)
    if config.getoption("--in-part"):
        dropped = _between(items, suite["quick_in_part"])
        items[:] = [item for item in items if item not in dropped]
        config.hook.pytest_deselected(items=list(dropped))


def _between(items: list[pytest.Item], files: list[str]) -> set[pytest.Item]:
    """Return the tests of some files that are neither the first nor the last of their function."""
    functions: dict[str, list[pytest.Item]] = {}
    for item in items:
        name = _name_of(item).partition("[")[0]
        if name.partition("::")[0] in files:
            functions.setdefault(name, []).append(item)
    return {item for of_one in functions.values() for item in of_one[1:-1]}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count how tests end."""
    report = yield
    _endings.note(report, _name_of(item))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much of it was the engine's work."""
    terminalreporter.write_line(f"{_endings.counts['computations']} computations on millpond")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the engine, and write the counts where they were asked for."""
    stop_engine()
    _endings.write(session.config.getoption("--counts"), {})
