"""How Dask learns of millpond, and the settings that switch it on."""

from __future__ import annotations

import subprocess
import sys

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import millpond
import millpond.dask


def _run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


_COMPUTE = """
with dask.config.set(scheduler="millpond"):
    print(dask.delayed(sum)([1, 2, 3]).compute())
print(dask.base.named_schedulers["millpond"] is __import__("millpond.dask").dask.get)
"""


@pytest.mark.parametrize("order", ["millpond, dask", "dask, millpond"])
def test_the_name_is_known_in_either_order_of_imports(order: str) -> None:
    assert _run(f"import {order}{_COMPUTE}") == "6\nTrue"


def test_importing_millpond_imports_neither_dask_nor_modin() -> None:
    code = (
        "import sys, millpond, millpond.dask; "
        "print([m for m in sys.modules if m in ('dask', 'modin', 'distributed', 'pandas')])"
    )
    assert _run(code) == "[]"


def test_installing_the_hooks_is_quick_and_leaves_loaders_as_they_were() -> None:
    code = """
import time, sys
import millpond.adapters.import_hooks as hooks
sys.meta_path[:] = [f for f in sys.meta_path if type(f).__module__ != hooks.__name__]
start = time.perf_counter()
hooks.install()
assert time.perf_counter() - start < 1e-3
hooks.install()
assert sum(type(f).__module__ == hooks.__name__ for f in sys.meta_path) == 1
import dask.base, importlib
assert type(dask.base.__loader__).__name__ == "SourceFileLoader", dask.base.__loader__
assert dask.base.__spec__.loader is dask.base.__loader__
importlib.reload(dask.base)
print("millpond" in dask.base.named_schedulers)
"""
    assert _run(code) in ("True", "False")  # reloading is Dask's business; it must not fail


@pytest.mark.parametrize("order", ["dask.dataframe, millpond", "millpond, dask.dataframe"])
def test_shuffles_are_tasks_under_millpond_and_as_before_elsewhere(order: str) -> None:
    code = f"""
import {order}, dask, pandas as pd
frame = dask.dataframe.from_pandas(pd.DataFrame({{"a": range(50)}}), npartitions=3)
def method():
    walked = frame.shuffle("a").optimize(fuse=False).expr.walk()
    return "disk" if "DiskShuffle" in [type(expr).__name__ for expr in walked] else "tasks"
found = [method()]
with dask.config.set(scheduler="millpond"):
    found.append(method())
    with dask.config.set({{"dataframe.shuffle.method": "disk"}}):
        found.append(method())
with dask.config.set(scheduler=millpond.dask.get if hasattr(millpond, "dask") else "Millpond"):
    found.append(method())
with dask.config.set(scheduler="threads"):
    found.append(method())
print(found)
"""
    assert _run(code) == str(["disk", "tasks", "disk", "tasks", "disk"])


@pytest.mark.usefixtures("engine")
def test_a_shuffle_through_files_works_too() -> None:
    frame = dd.from_pandas(pd.DataFrame({"a": np.arange(500) % 50}), npartitions=3)
    parts = dask.compute(*frame.shuffle("a").to_delayed(), scheduler="millpond")
    assert sorted(pd.concat(parts).a) == sorted(np.arange(500) % 50)
    assert sum(part.a.nunique() for part in parts) == 50


@pytest.mark.usefixtures("engine")
def test_get_can_be_given_as_the_scheduler() -> None:
    ones = da.ones((20, 20), chunks=10)
    assert ones.sum().compute(scheduler=millpond.dask.get) == 400
    assert ones.sum().compute(scheduler="millpond") == 400


def test_enable_and_disable() -> None:
    before = dask.config.get("scheduler", None)
    enabled = millpond.dask.enable()
    try:
        assert dask.base.get_scheduler() is millpond.dask.get
        assert dask.config.get("dataframe.shuffle.method") == "tasks"
        assert dask.config.get("array.rechunk.method") == "tasks"
    finally:
        millpond.dask.disable()
    assert dask.config.get("scheduler", None) == before
    assert dask.config.get("dataframe.shuffle.method", None) is None
    enabled.undo()  # once more does nothing
    millpond.dask.disable()
    with millpond.dask.enable():
        assert dask.base.get_scheduler() is millpond.dask.get
    assert dask.config.get("scheduler", None) == before


@pytest.mark.usefixtures("engine")
def test_settings_of_the_driver_reach_the_tasks() -> None:
    @dask.delayed
    def setting(name: str) -> object:
        return dask.config.get(name, None)

    with millpond.dask.enable():
        assert setting("dataframe.shuffle.method").compute() == "tasks"
        with dask.config.set({"millpond-test": {"depth": 7}}):
            assert setting("millpond-test.depth").compute() == 7
        assert setting("millpond-test.depth").compute() is None
