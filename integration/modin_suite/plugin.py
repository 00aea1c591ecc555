"""A pytest plugin that runs Modin's own tests on millpond, or on another engine to compare with.

Covers: starting the engine, the slices that run for every change, the list of tests that cannot
pass, and how tests end, operations that default to pandas among it. Not: where the tests come from
(``source``), which files to run (``__main__``).

The engine is the one that ``MODIN_ENGINE`` names. Modin's `conftest.py` wants to be the first to
import most of Modin, so nothing of it is imported here before the tests are collected.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from integration.foreign_tests import (
    Endings,
    add_options,
    mark_failures,
    start_engine,
    stop_engine,
)

__all__: list[str] = []

_HERE = Path(__file__).parent

#: how the tests ended
_endings = Endings()
#: how often each test ran something in plain pandas
_defaults: Counter[str] = Counter()
#: the test that runs
_current = ""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    add_options(parser)
    parser.addoption("--slices", action="store_true", help="only the tests for every change")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the engine, one for all tests."""
    if _on_millpond():
        preload = ["modin.pandas", "millpond.adapters.modin.tasks"]
        start_engine(session.config, preload)


@pytest.fixture(scope="session")
def worker_id() -> str:
    """Stand in for pytest-xdist, whose fixture Modin's own ask for."""
    return "master"


def _engine() -> str:
    return os.environ["MODIN_ENGINE"].lower()


def _on_millpond() -> bool:
    return _engine() == "millpond"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not asked for, and mark the tests that cannot pass."""
    suite = tomllib.loads((_HERE / "suite.toml").read_text())
    if config.getoption("--slices"):
        chosen = _sliced(suite["slices"], items)
        left_out = set(items).difference(chosen)
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = chosen
    groups = [group for group in suite["failures"] if group.get("engine", _engine()) == _engine()]
    mark_failures(groups, items, _name_of)


def _name_of(item: pytest.Item) -> str:
    return item.nodeid.removeprefix("modin/tests/")


def _sliced(slices: dict[str, Any], items: list[pytest.Item]) -> list[pytest.Item]:
    """Return of each test function the first, and every so many of those that follow."""
    seen: Counter[str] = Counter()
    chosen = []
    for item in items:
        function = _name_of(item).partition("[")[0]
        file, _, name = function.partition("::")
        part = slices[file]
        if re.match(part.get("tests", ""), name) is None:
            continue
        if seen[function] % part.get("every", 1) == 0:
            chosen.append(item)
        seen[function] += 1
    return chosen


def pytest_collection_finish() -> None:
    """Count from now on what Modin hands to pandas, whether or not it warns or is let warn."""
    from modin.error_message import ErrorMessage

    original = ErrorMessage.default_to_pandas

    def default_to_pandas(*args: Any, **kwargs: Any) -> None:
        _defaults[_current] += 1
        original(*args, **kwargs)

    ErrorMessage.default_to_pandas = default_to_pandas


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Note which test runs."""
    global _current
    _current = _name_of(item)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count how tests end."""
    report = yield
    _endings.note(report, _name_of(item))
    if hasattr(report, "wasxfail"):  # it may not even have got as far as on another engine
        _defaults.pop(_name_of(item), None)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the engine, and write the counts where they were asked for."""
    if _on_millpond():
        stop_engine()
    defaults = dict(sorted(_defaults.items()))
    _endings.write(session.config.getoption("--counts"), {"defaults": defaults})
