from __future__ import annotations

import json
import pickle
import sys
import types
import xml.dom
from pathlib import Path
from typing import Any

import pytest

from millpond.environments.description import Environment, Package, RuntimeEnv, has_variables
from millpond.errors import RuntimeEnvError


def packed(path: str, excludes: tuple[str, ...] = ()) -> Package:
    """Make a package of no file: it is named by what was asked for."""
    return Package(f"{path}{excludes}".encode(), None, path)


def merged(parent: Environment, **given: Any) -> Environment:
    described = RuntimeEnv.checked(given)
    assert described is not None
    return parent.merged(described, packed, packed)


def test_paths_are_absolute_and_modules_are_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/tmp")
    monkeypatch.setenv("HOME", "/home/me")
    described = RuntimeEnv.checked(
        {
            "working_dir": "code",
            "excludes": ["*.csv"],
            "py_modules": ["~/lib/tool", Path("one.py"), json, pickle],
        }
    )
    assert described is not None
    assert described.working_dir == "/tmp/code"
    assert described.excludes == ("*.csv",)
    expected = ("/home/me/lib/tool", "/tmp/one.py", json.__path__[0], pickle.__file__)
    assert described.py_modules == expected


def test_what_was_checked_can_be_pickled_and_checked_again() -> None:
    described = RuntimeEnv.checked({"env_vars": {"A": "1"}, "py_modules": [json]})
    assert pickle.loads(pickle.dumps(described)) == described
    assert RuntimeEnv.checked(described) is described
    assert RuntimeEnv.checked(None) is None


_two_folders = types.ModuleType("spread")
_two_folders.__path__ = ["/a/spread", "/b/spread"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (5, "must be a dict, it is 5"),
        (["env_vars"], "must be a dict"),
        ({"pip": ["x"]}, "no key 'pip'; its keys are env_vars, working_dir, excludes, py_modules"),
        ({"conda": "x"}, "no key 'conda'.*install them on every machine"),
        ({"container": {}}, "no key 'container'"),
        ({"env_var": {}}, "no key 'env_var'"),
        ({1: {}}, "no key 1"),
        ({"env_vars": ["A"]}, "env_vars .*must be a dict, it is a list"),
        ({"env_vars": {"A": 1}}, r"env_vars\['A'\] must be a string, it is a int"),
        ({"env_vars": {1: "A"}}, "1 is no name"),
        ({"env_vars": {"": "A"}}, "'' is no name"),
        ({"env_vars": {"A=B": "C"}}, "'A=B' is no name"),
        ({"env_vars": {"A": "\0"}}, r"env_vars\['A'\] has a NUL"),
        ({"working_dir": 5}, "working_dir .*must be a path, it is 5"),
        ({"working_dir": b"/tmp"}, "must be a path, it is b'/tmp'"),
        ({"working_dir": ""}, "must be a path, it is ''"),
        ({"working_dir": "s3://bucket/x.zip"}, "must be on this machine, it is 's3://bucket"),
        ({"working_dir": "/tmp", "excludes": "*.csv"}, "excludes .*list of strings"),
        ({"working_dir": "/tmp", "excludes": [5]}, "excludes .*list of strings"),
        ({"working_dir": "/tmp", "excludes": 5}, "excludes .*list of strings"),
        ({"excludes": ["*.csv"]}, "excludes .*working_dir, and it has none"),
        ({"py_modules": "/tmp/x.py"}, "py_modules .*must be a list"),
        ({"py_modules": 5}, "py_modules .*must be a list"),
        ({"py_modules": [5]}, "py_modules .*must be a path, it is 5"),
        ({"py_modules": ["/tmp/a-1.0"]}, "/tmp/a-1.0 cannot be imported.*'a-1'"),
        ({"py_modules": ["/tmp/x.whl"]}, "x.whl is an archive: unpack it first"),
        ({"py_modules": [sys]}, "module sys is in no single directory"),
        ({"py_modules": [_two_folders]}, "module spread is in no single directory"),
        ({"py_modules": [xml.dom]}, "xml.dom is a part of xml: give that"),
    ],
    ids=repr,
)
def test_what_is_wrong_is_named(given: Any, text: str) -> None:
    with pytest.raises(RuntimeEnvError, match=text):
        RuntimeEnv.checked(given)


def test_values_of_variables_are_never_shown() -> None:
    described = RuntimeEnv.checked({"env_vars": {"KEY": "secret"}})
    assert "secret" not in repr(described)
    assert "secret" not in repr(merged(Environment(), env_vars={"KEY": "secret"}))
    with pytest.raises(RuntimeEnvError) as caught:
        RuntimeEnv.checked({"env_vars": {"KEY": ["secret"]}})
    assert "secret" not in str(caught.value)


def test_variables_are_added_and_the_rest_is_replaced() -> None:
    session = merged(
        Environment(), env_vars={"A": "1", "B": "1"}, working_dir="/code", py_modules=["/x.py"]
    )
    task = merged(session, env_vars={"B": "2", "C": "2"}, py_modules=["/y.py"])
    assert task.env_vars == {"A": "1", "B": "2", "C": "2"}
    assert task.working_dir == packed("/code")
    assert task.py_modules == (packed("/y.py"),)
    assert merged(task, working_dir="/other", excludes=["a"]).packages() == [
        packed("/other", ("a",)),
        packed("/y.py"),
    ]
    assert merged(task) == task
    assert merged(task, py_modules=[]).py_modules == ()


def test_the_id_tells_environments_apart_by_what_is_in_them() -> None:
    a, b = packed("/a"), packed("/b")
    environments = [
        Environment(),
        Environment({"A": "1"}),
        Environment({"A": "2"}),
        Environment({"A": "1", "B": "1"}),
        Environment({}, a),
        Environment({}, b),
        Environment({}, None, (a,)),
        Environment({}, None, (a, b)),
        Environment({}, None, (b, a)),
        Environment({"A": "1"}, a, (b,)),
    ]
    assert len({each.id for each in environments}) == len(environments)
    for each in environments:
        assert has_variables(each.id) is bool(each.env_vars)


def test_the_id_depends_on_nothing_else() -> None:
    assert Environment().id == b""
    assert Environment({"A": "1", "B": "2"}).id == Environment({"B": "2", "A": "1"}).id
    here, there = Package(b"digest", 1, "/a"), Package(b"digest", 2, "/b")
    assert Environment({}, here, (here,)).id == Environment({}, there, (there,)).id
