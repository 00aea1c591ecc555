"""Runtime environments on one node: variables, directories and modules of tasks and actors."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import millpond
from millpond.api.session import connected_runtime
from millpond.api.settings import Settings
from millpond.environments.description import Environment
from millpond.errors import ConfigurationError, RuntimeEnvError, RuntimeEnvSetupError
from millpond.wire.messages import DeleteObjects

from .conftest import eventually

MIB = 1 << 20


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A directory with a module that can be imported from nowhere else."""
    return write(
        tmp_path / "code",
        {"answers.py": "VALUE = 1", "data/table.csv": "1,2", "notes.txt": "no", ".git/HEAD": ""},
    )


def write(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@millpond.remote
def variable(name: str) -> str | None:
    return os.environ.get(name)


@millpond.remote
def value(module: str) -> Any:
    return importlib.import_module(module).VALUE


@millpond.remote
def process() -> int:
    return os.getpid()


@millpond.remote
def meet(mine: str, other: str) -> str | None:
    """Return a variable once the other task runs, too."""
    Path(mine).touch()
    while not Path(other).exists():
        time.sleep(0.002)
    return os.environ.get("NAME")


@millpond.remote
class Reader:
    def variable(self, name: str) -> str | None:
        return os.environ.get(name)

    def value(self, module: str) -> Any:
        return importlib.import_module(module).VALUE

    def nested(self, name: str) -> Any:
        return millpond.get(variable.remote(name))

    def process(self) -> int:
        return os.getpid()


def with_variables(**variables: str) -> dict[str, dict[str, str]]:
    return {"env_vars": variables}


def test_variables_of_the_session_are_seen_and_a_task_adds_to_them(
    start: Callable[..., millpond.Context],
) -> None:
    start(runtime_env=with_variables(NAME="session", BOTH="session"))
    task = variable.options(runtime_env=with_variables(BOTH="task", ONE="task"))
    assert millpond.get([variable.remote(each) for each in ("NAME", "BOTH", "ONE")]) == [
        "session",
        "session",
        None,
    ]
    assert millpond.get([task.remote(each) for each in ("NAME", "BOTH", "ONE")]) == [
        "session",
        "task",
        "task",
    ]
    reader = Reader.remote()
    assert millpond.get(reader.variable.remote("NAME")) == "session"
    other = Reader.options(runtime_env=with_variables(NAME="actor")).remote()
    assert millpond.get(other.variable.remote("NAME")) == "actor"
    assert millpond.get(other.variable.remote("BOTH")) == "session"
    assert "NAME" not in os.environ


def test_it_is_given_in_the_decorator_too(engine: millpond.Context) -> None:
    @millpond.remote(runtime_env=with_variables(NAME="task"))
    def task() -> str | None:
        return os.environ.get("NAME")

    @millpond.remote(runtime_env=with_variables(NAME="actor"))
    class Actor:
        def name(self) -> str | None:
            return os.environ.get("NAME")

    assert millpond.get(task.remote()) == "task"
    assert millpond.get(Actor.remote().name.remote()) == "actor"
    assert millpond.get(variable.remote("NAME")) is None


def test_a_task_runs_in_a_copy_of_its_working_directory(
    engine: millpond.Context, code: Path
) -> None:
    @millpond.remote(runtime_env={"working_dir": code, "excludes": ["*.txt"]})
    def look() -> tuple[int, str, list[str], str]:
        answers = importlib.import_module("answers")
        files = sorted(str(path) for path in Path().rglob("*") if path.is_file())
        files = [path for path in files if "__pycache__" not in path]
        return answers.VALUE, Path("data/table.csv").read_text(), files, sys.path[0]

    found, table, files, first = millpond.get(look.remote())
    assert (found, table) == (1, "1,2")
    assert files == ["answers.py", "data/table.csv"]
    session_dir = connected_runtime().session_dir
    assert first.startswith(session_dir)
    assert millpond.get(look.remote())[3] == first
    with pytest.raises(ModuleNotFoundError, match="answers"):
        millpond.get(value.remote("answers"))


def test_modules_are_found_by_path_or_as_they_are(
    engine: millpond.Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"tool/__init__.py": "from .part import VALUE", "tool/part.py": "VALUE = 2"})
    write(tmp_path, {"single.py": "VALUE = 3", "imported/__init__.py": "VALUE = 4"})
    monkeypatch.syspath_prepend(tmp_path)
    imported = importlib.import_module("imported")
    modules = [tmp_path / "tool", str(tmp_path / "single.py"), imported]
    task = value.options(runtime_env={"py_modules": modules})
    names = ["tool", "single", "imported"]
    assert millpond.get([task.remote(name) for name in names]) == [2, 3, 4]
    reader = Reader.options(runtime_env={"py_modules": modules[:1]}).remote()
    assert millpond.get(reader.value.remote("tool")) == 2
    with pytest.raises(ModuleNotFoundError):
        millpond.get(reader.value.remote("single"))


def test_a_function_of_the_directory_is_called_by_its_name(
    engine: millpond.Context, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is pickled by reference is found where the task runs."""
    write(code, {"work.py": "import os\ndef work(x):\n    return x * 2, os.getpid()"})
    monkeypatch.syspath_prepend(code)
    work = millpond.remote(importlib.import_module("work").work)
    with pytest.raises(ModuleNotFoundError, match="work"):
        millpond.get(work.remote(4))
    doubled, pid = millpond.get(work.options(runtime_env={"working_dir": code}).remote(4))
    assert doubled == 8
    assert pid != os.getpid()


def test_two_environments_at_once(engine: millpond.Context, tmp_path: Path) -> None:
    here, there = str(tmp_path / "a"), str(tmp_path / "b")
    names = [
        meet.options(runtime_env=with_variables(NAME="a")).remote(here, there),
        meet.options(runtime_env=with_variables(NAME="b")).remote(there, here),
    ]
    assert millpond.get(names, timeout=60) == ["a", "b"]


def test_no_process_serves_two_environments(engine: millpond.Context) -> None:
    @millpond.remote
    def look(_: Any) -> tuple[int, str | None]:
        return os.getpid(), os.environ.get("NAME")

    stored = millpond.put(bytes(MIB))
    tasks = [look, *(look.options(runtime_env=with_variables(NAME=name)) for name in "ab")]
    expected = [None, "a", "b"] * 6
    refs = [task.remote(each) for each in [None] * 3 + [stored] * 3 for task in tasks]
    seen = millpond.get(refs)
    assert [name for _, name in seen] == expected
    names: dict[int, set[str | None]] = {}
    for pid, name in seen:
        names.setdefault(pid, set()).add(name)
    assert all(len(each) == 1 for each in names.values())


def test_there_may_be_more_environments_than_workers(
    start: Callable[..., millpond.Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle workers of others give their place."""
    monkeypatch.setattr(Settings, "max_workers", 2)
    start()
    for _ in range(2):
        tasks = [variable.options(runtime_env=with_variables(NAME=name)) for name in "abcd"]
        assert millpond.get([task.remote("NAME") for task in tasks], timeout=60) == list("abcd")
        assert millpond.get(variable.remote("NAME"), timeout=60) is None
    assert millpond.statistics().workers <= 2


def test_an_actor_gets_the_place_of_an_idle_worker_of_another_environment(
    start: Callable[..., millpond.Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "max_workers", 2)
    start()
    millpond.get([process.remote() for _ in range(4)])
    readers = [Reader.options(runtime_env=with_variables(NAME=name)).remote() for name in "ab"]
    names = [reader.variable.remote("NAME") for reader in readers]
    assert millpond.get(names, timeout=60) == ["a", "b"]


def test_a_changed_directory_is_another_one(engine: millpond.Context, code: Path) -> None:
    def task() -> Any:
        return value.options(runtime_env={"working_dir": code})

    first = task()
    assert millpond.get(first.remote("answers")) == 1
    write(code, {"answers.py": "VALUE = 100"})
    assert millpond.get(task().remote("answers")) == 100
    assert millpond.get(first.remote("answers")) == 1  # it was read when it was first called
    assert len(unpacked()) == 2


def test_an_unchanged_one_is_packed_and_unpacked_once(engine: millpond.Context, code: Path) -> None:
    (code / "large").write_bytes(os.urandom(MIB))
    refs = [value.options(runtime_env={"working_dir": code}).remote("answers") for _ in range(20)]
    assert millpond.get(refs) == [1] * 20
    assert len(unpacked()) == 1
    assert millpond.statistics().store.num_objects == 1
    write(code, {"new.py": ""})
    millpond.get(value.options(runtime_env={"working_dir": code}).remote("answers"))
    assert millpond.statistics().store.num_objects == 2
    millpond.shutdown()


def unpacked() -> set[str]:
    """Return the packages that are unpacked on the driver's node."""
    root = Path(connected_runtime().session_dir) / "environments"
    return {path.name for path in root.iterdir()}


def test_tasks_of_tasks_inherit_and_may_name_another(engine: millpond.Context, code: Path) -> None:
    @millpond.remote
    def outer() -> list[Any]:
        other = variable.options(runtime_env=with_variables(NAME="inner"))
        return [
            *millpond.get([variable.remote("NAME"), other.remote("NAME"), other.remote("BOTH")]),
            millpond.get(value.options(runtime_env=with_variables(NAME="x")).remote("answers")),
            millpond.get(Reader.remote().nested.remote("NAME")),
        ]

    env = {"working_dir": code, **with_variables(NAME="outer", BOTH="outer")}
    expected = ["outer", "inner", "outer", 1, "outer"]
    assert millpond.get(outer.options(runtime_env=env).remote()) == expected
    # An actor's tasks inherit, too.
    reader = Reader.options(runtime_env=with_variables(NAME="actor")).remote()
    assert millpond.get(reader.nested.remote("NAME")) == "actor"


def test_a_task_may_bring_files_of_its_own(engine: millpond.Context, tmp_path: Path) -> None:
    @millpond.remote
    def outer(directory: str) -> Any:
        write(Path(directory), {"made.py": "VALUE = 7"})
        inner = value.options(runtime_env={"working_dir": directory})
        return millpond.get(inner.remote("made"))

    assert millpond.get(outer.remote(str(tmp_path / "made"))) == 7


def test_a_remote_function_keeps_it_when_it_is_pickled(
    engine: millpond.Context, code: Path
) -> None:
    task = value.options(runtime_env={"working_dir": code})
    actor = Reader.options(runtime_env=with_variables(NAME="actor"))

    @millpond.remote
    def outer() -> tuple[Any, Any]:
        handle = actor.remote()
        return millpond.get(task.remote("answers")), millpond.get(handle.variable.remote("NAME"))

    assert millpond.get(outer.remote()) == (1, "actor")


def test_an_actor_that_comes_back_has_it_again(engine: millpond.Context, code: Path) -> None:
    env = {"working_dir": code, **with_variables(NAME="actor")}
    actor = Reader.options(runtime_env=env, max_restarts=1, max_task_retries=-1).remote()
    first = millpond.get(actor.process.remote())
    os.kill(first, signal.SIGKILL)
    assert millpond.get(actor.variable.remote("NAME")) == "actor"
    assert millpond.get(actor.value.remote("answers")) == 1
    assert millpond.get(actor.process.remote()) != first


def test_a_task_that_is_tried_again_has_it_again(engine: millpond.Context, tmp_path: Path) -> None:
    @millpond.remote(runtime_env=with_variables(NAME="task"))
    def crash_once(path: str) -> str | None:
        if not Path(path).exists():
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return os.environ.get("NAME")

    assert millpond.get(crash_once.remote(str(tmp_path / "crashed"))) == "task"


def test_what_is_rebuilt_is_made_in_the_same_environment(engine: millpond.Context) -> None:
    @millpond.remote(runtime_env=with_variables(NAME="7"))
    def make() -> np.ndarray:
        return np.full(MIB, int(os.environ["NAME"]), dtype=np.uint8)

    ref = make.remote()
    millpond.wait([ref])
    runtime = connected_runtime()
    runtime.node.send(DeleteObjects([ref.id]))
    assert int(millpond.get(ref).sum()) == 7 * MIB


def test_libraries_are_imported_after_variables_are_set(
    start: Callable[..., millpond.Context], tmp_path: Path
) -> None:
    """Those that workers have beforehand may have read them; others' workers still have these."""
    start(preload=["colorsys"])

    @millpond.remote
    def loaded() -> bool:
        return "colorsys" in sys.modules

    eventually(lambda: millpond.get(loaded.remote()), "workers come from the warm zygote")
    set_before = loaded.options(runtime_env=with_variables(OMP_NUM_THREADS="3"))
    assert not millpond.get(set_before.remote())
    write(tmp_path, {"single.py": ""})
    assert millpond.get(
        loaded.options(runtime_env={"py_modules": [tmp_path / "single.py"]}).remote()
    )


def test_variables_that_python_reads_at_its_start_count(
    engine: millpond.Context, tmp_path: Path
) -> None:
    write(tmp_path / "more", {"further.py": "VALUE = 5"})
    env = with_variables(PYTHONPATH=f"{tmp_path / 'more'}:", TZ="Asia/Tokyo")

    @millpond.remote(runtime_env=env)
    def look() -> tuple[Any, str]:
        return importlib.import_module("further").VALUE, time.strftime("%z", time.localtime(0))

    assert millpond.get(look.remote()) == (5, "+0900")


def test_what_is_wrong_is_said_where_it_is_submitted(
    engine: millpond.Context, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeEnvError, match="no key 'pip'"):
        variable.options(runtime_env={"pip": ["x"]})
    with pytest.raises(RuntimeEnvError, match="no key 'conda'"):
        millpond.remote(runtime_env={"conda": "x"})(print)
    with pytest.raises(RuntimeEnvError, match="there is no directory /no/such"):
        variable.options(runtime_env={"working_dir": "/no/such"}).remote("NAME")
    with pytest.raises(RuntimeEnvError, match=r"/no/such.py cannot be read"):
        Reader.options(runtime_env={"py_modules": ["/no/such.py"]}).remote()
    with (code / "sparse").open("wb") as file:
        file.truncate(600 * MIB)
    with pytest.raises(RuntimeEnvError, match="at most 536870912 can be sent; the largest is spar"):
        variable.options(runtime_env={"working_dir": code}).remote("NAME")


def test_a_session_with_a_wrong_one_does_not_begin(code: Path) -> None:
    with pytest.raises(RuntimeEnvError, match="no key 'container'"):
        millpond.init(runtime_env={"container": {}})
    with pytest.raises(RuntimeEnvError, match="there is no directory"):
        millpond.init(num_cpus=1, runtime_env={"working_dir": code / "nowhere"})
    assert not millpond.is_initialized()


def test_a_second_init_must_say_the_same(
    start: Callable[..., millpond.Context], code: Path
) -> None:
    env = {"working_dir": code, **with_variables(KEY="secret")}
    context = start(runtime_env=env)
    assert millpond.init(runtime_env=env) is context
    assert millpond.init() is context
    with pytest.raises(ConfigurationError, match="runtime_env") as caught:
        millpond.init(runtime_env=with_variables(KEY="other"))
    assert "secret" not in str(caught.value)


def test_files_that_are_gone_are_named_and_the_session_goes_on(
    engine: millpond.Context, code: Path
) -> None:
    (code / "large").write_bytes(os.urandom(MIB))
    task = value.options(runtime_env={"working_dir": code})
    ((_, package),) = _packages_of(task)
    connected_runtime().node.send(DeleteObjects([package.ref.id]))
    with pytest.raises(RuntimeEnvSetupError, match=f"the files of {code} cannot be had: .*lost"):
        millpond.get(task.remote("answers"))
    actor = Reader.options(runtime_env={"working_dir": code}).remote()
    with pytest.raises(millpond.ActorDiedError, match=r"RuntimeEnvSetupError: .*cannot be had"):
        millpond.get(actor.process.remote())
    assert millpond.get(variable.remote("NAME")) is None
    write(code, {"answers.py": "VALUE = 2"})
    assert millpond.get(value.options(runtime_env={"working_dir": code}).remote("answers")) == 2
    millpond.shutdown()


def test_the_error_is_not_hidden_by_types_that_only_the_files_have(
    engine: millpond.Context, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(code, {"own_errors.py": "class OwnError(Exception):\n    pass"})
    (code / "large").write_bytes(os.urandom(MIB))
    monkeypatch.syspath_prepend(code)
    own = importlib.import_module("own_errors").OwnError
    task = value.options(runtime_env={"working_dir": code}, retry_exceptions=[own])
    ((_, package),) = _packages_of(task)
    connected_runtime().node.send(DeleteObjects([package.ref.id]))
    with pytest.raises(RuntimeEnvSetupError, match="cannot be had"):
        millpond.get(task.remote("answers"))
    millpond.shutdown()


def test_a_disk_that_takes_no_files_is_an_error_of_the_task(
    engine: millpond.Context, code: Path
) -> None:
    root = Path(connected_runtime().session_dir) / "environments"
    root.mkdir()
    task = value.options(runtime_env={"working_dir": code})
    ((_, package),) = _packages_of(task)
    (root / f"{package.digest.hex()}.partial").write_text("in the way")
    with pytest.raises(RuntimeEnvSetupError, match=r"cannot be set up on .*File exists"):
        millpond.get(task.remote("answers"))
    (root / f"{package.digest.hex()}.partial").unlink()
    assert millpond.get(task.remote("answers")) == 1


def _packages_of(task: Any) -> list[Any]:
    """Export a task before its first call; return what was packed then."""
    runtime = connected_runtime()
    task._exported = task._export(runtime)
    return list(runtime.environments._packages.values())


def test_idle_workers_of_an_environment_end_with_who_needed_it(
    start: Callable[..., millpond.Context],
) -> None:
    start(num_cpus=4)  # as many may be idle, so it is not in the way

    @millpond.remote
    class Submitter:
        def submit(self) -> Any:
            inner = process.options(runtime_env=with_variables(NAME="inner"))
            return millpond.get(inner.remote())

    submitter = Submitter.remote()
    pid = millpond.get(submitter.submit.remote())
    millpond.get(process.options(num_cpus=4).remote())  # so nobody has a lease of it
    assert psutil.pid_exists(pid)
    millpond.kill(submitter)
    eventually(lambda: not psutil.pid_exists(pid), "the worker has ended")
    assert millpond.get(variable.remote("NAME")) is None


def test_files_of_a_process_that_is_gone_are_removed(
    engine: millpond.Context, tmp_path: Path
) -> None:
    @millpond.remote
    class Submitter:
        def submit(self, directory: str) -> Any:
            write(Path(directory), {"made.py": "VALUE = 7"})
            inner = value.options(runtime_env={"working_dir": directory})
            return millpond.get(inner.remote("made"))

    submitter = Submitter.remote()
    assert millpond.get(submitter.submit.remote(str(tmp_path / "made"))) == 7
    assert len(unpacked()) == 1
    millpond.kill(submitter)
    eventually(lambda: not unpacked(), "the files are removed")


def test_a_task_without_any_has_none(engine: millpond.Context) -> None:
    for nothing in ({}, {"env_vars": {}}, {"py_modules": []}, None):
        task = process.options(runtime_env=nothing)
        millpond.get(task.remote())
        assert task._exported is not None
        assert task._exported[3] == b""
    assert connected_runtime().environments.own == Environment()
