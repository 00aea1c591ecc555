from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from types import CodeType
from typing import Any

import pytest

from millpond.owner import call_sites
from millpond.owner.call_sites import Site, call_site, describe_site, line_of


def in_library(module: str, body: str, filename: str = "", **names: Any) -> Callable[..., Any]:
    """A function ``f`` whose code is a library's, as far as can be told."""
    namespace = {"call_site": call_site, "__name__": module, **names}
    exec(compile(body, filename or f"/site-packages/{module}.py", "exec"), namespace)
    return namespace["f"]


#: stands for `PendingTask` or `put`: the frame that asks is never the user's
record = in_library("millpond.fake", "def f():\n    return call_site()\n")


def test_the_site_is_the_line_that_called_the_engine() -> None:
    site = record()
    line = sys._getframe().f_lineno - 1
    assert line_of(site) == line
    assert describe_site(site) == (
        f"{__file__}:{line} in test_the_site_is_the_line_that_called_the_engine"
    )


@pytest.mark.parametrize("library", ["dask.base", "modin.pandas.frame", "contextlib", "toolz.x"])
def test_libraries_between_are_left_out(library: str) -> None:
    between = in_library(library, "def f(g):\n    return g()\n")
    site = between(lambda: between(record))  # the lambda is the user's
    assert site[0].co_name == "<lambda>"
    site = between(record)
    assert site[0].co_name == "test_libraries_between_are_left_out"


def test_a_module_with_a_similar_name_is_the_users() -> None:
    site = in_library("millpond_app", "def f(g):\n    return g()\n")(record)
    assert site[0].co_filename == "/site-packages/millpond_app.py"


def test_code_without_a_file_is_told_apart_by_its_module() -> None:
    """All of it has one file name: what is known of one must not be taken for another."""
    users = in_library("__main__", "def f(g):\n    return g()\n", "<string>")
    library = in_library("dask.x", "def f(g):\n    return g()\n", "<string>")
    assert users(record)[0].co_filename == "<string>"
    assert library(record)[0].co_filename == __file__
    assert users(record)[0].co_filename == "<string>"


def test_a_stack_without_a_line_of_the_users_has_no_site() -> None:
    found: list[Site | None] = []
    run = in_library("millpond.x", "def f():\n    found.append(g())\n", g=record, found=found)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [None]


def test_the_line_of_a_long_call_and_of_a_long_function() -> None:
    body = (
        "def f(g):\n" + "    x = 1\n" * 500 + "    return g(\n        *(),\n        **{},\n    )\n"
    )
    site = in_library("app", body, "/app.py")(record)
    assert describe_site(site).startswith("/app.py:502 ")  # where the call begins


def test_names_are_short() -> None:
    def outer() -> list[Site]:
        return [record() for _ in range(1)]

    (site,) = outer()
    assert describe_site(site).endswith("in test_names_are_short.outer")
    module = compile("site = record()", "/script.py", "exec")
    namespace: dict[str, Any] = {"record": record, "__name__": "__main__"}
    exec(module, namespace)
    assert describe_site(namespace["site"]) == "/script.py:1"


def test_no_frame_is_kept_alive() -> None:
    class Large:
        pass

    def work() -> tuple[Site, weakref.ref[Large]]:
        large = Large()
        return record(), weakref.ref(large)

    gc.disable()
    try:
        site, large = work()
        assert large() is None
        assert isinstance(site[0], CodeType)
    finally:
        gc.enable()


def test_what_is_known_of_files_is_bounded_by_the_files() -> None:
    before = len(call_sites._known)
    for _ in range(100):
        in_library("__main__", "def f(g):\n    return g()\n", "<stdin>")(record)
    assert len(call_sites._known) <= before + 1
