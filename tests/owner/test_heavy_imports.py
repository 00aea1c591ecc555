from __future__ import annotations

import sys
from types import ModuleType

import pytest

from millpond.owner.heavy_imports import HeavyImports


@pytest.fixture(autouse=True)
def nothing_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("numpy", "pandas", "pyarrow"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def load(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, ModuleType(name))


def test_each_is_met_once_with_what_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    imports = HeavyImports(follow=True)
    assert imports.met() == []
    load(monkeypatch, "numpy")
    assert imports.met() == ["numpy", "pyarrow"]
    assert imports.met() == []
    load(monkeypatch, "pandas")
    assert imports.met() == ["numpy", "pandas", "pyarrow"]
    assert imports.met() == []


def test_what_was_imported_before_is_met_first(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, "pyarrow")
    assert HeavyImports(follow=True).met() == ["pyarrow"]


def test_nothing_is_met_where_somebody_said_what_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, "pandas")
    assert HeavyImports(follow=False).met() == []


def test_nothing_is_met_by_who_is_told_to_ignore_it(monkeypatch: pytest.MonkeyPatch) -> None:
    imports = HeavyImports(follow=True)
    load(monkeypatch, "pandas")
    imports.ignore()
    assert imports.met() == []
