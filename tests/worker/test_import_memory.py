from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from millpond.wire.messages import Task
from millpond.worker.import_memory import ImportFinder
from millpond.worker.peak_memory import LONG, TaskMemory, read_record, record_path

MIB = 1 << 20

MODULES = {
    "im_outer": "import im_inner\nimport im_package.part\nvalue = 1\n",
    "im_inner": "value = 2\n",
    "im_package/__init__": "value = 3\n",
    "im_package/part": "value = 4\n",
    "im_broken": "import im_inner\nraise RuntimeError('it cannot be loaded')\n",
    "im_large": "kept = bytearray(b'x') * (60 << 20)\n",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in MODULES.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("im_")]:
        del sys.modules[name]


@pytest.fixture
def told(place: Path) -> list[str]:
    events: list[str] = []
    finder = ImportFinder(lambda: events.append("begin"), lambda: events.append("end"))
    finder.install()
    return events


def test_an_import_is_told_once_with_all_that_it_imports(told: list[str]) -> None:
    outer = importlib.import_module("im_outer")
    assert told == ["begin", "end"]
    assert type(outer.__loader__).__name__ == "SourceFileLoader"
    assert outer.__spec__ is not None
    assert outer.__spec__.loader is outer.__loader__
    assert importlib.reload(outer).value == 1
    importlib.import_module("im_outer")
    assert told == ["begin", "end"] * 2, "the reload"


def test_a_package_is_told_before_its_part(told: list[str]) -> None:
    importlib.import_module("im_package.part")
    assert told == ["begin", "end"] * 2


def test_an_import_that_fails_ends(told: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="cannot be loaded"):
            importlib.import_module("im_broken")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("im_missing")
    assert told == ["begin", "end"] * 2
    importlib.import_module("im_package")
    assert told == ["begin", "end"] * 3


def test_other_threads_and_looking_for_a_module_are_not_told(told: list[str]) -> None:
    thread = threading.Thread(target=importlib.import_module, args=("im_outer",))
    thread.start()
    thread.join()
    assert "im_outer" in sys.modules
    assert importlib.util.find_spec("im_large") is not None
    assert told == []


def test_a_finder_that_asks_all_finders_does_no_harm(told: list[str]) -> None:
    class Curious:
        def find_spec(self, name: str, path: object = None, target: object = None) -> object:
            for finder in sys.meta_path:
                if finder is not self:
                    spec = finder.find_spec(name, path, target)  # type: ignore[arg-type]
                    if spec is not None:
                        return spec
            return None

    sys.meta_path.insert(1, Curious())  # type: ignore[arg-type]
    importlib.import_module("im_outer")
    assert told == ["begin", "end"]


def test_what_is_imported_does_not_count(place: Path) -> None:
    record = record_path(str(place), b"worker-1")
    memory = TaskMemory()
    memory.start(record)
    memory.watch_imports()
    task = Task(b"task-id", 0, b"function", "f", b"", memory=100 * MIB)
    memory.begin(task)
    begun = read_record(record)
    importlib.import_module("im_large")
    seen = read_record(record)
    assert not seen.importing
    assert 56 * MIB < seen.before - begun.before < 64 * MIB
    assert (seen.task_id, seen.declared) == (b"task-id", 100 * MIB)
    block = bytearray(40 * MIB)  # glibc may take 32 MiB and less from what was freed earlier
    del block
    assert 36 * MIB < memory.end(task, LONG) < 44 * MIB


def test_it_is_told_while_something_is_imported(place: Path) -> None:
    record = record_path(str(place), b"worker-1")
    (place / "im_looking.py").write_text(
        "from pathlib import Path\n"
        "from millpond.worker.peak_memory import read_record\n"
        f"importing = read_record(Path({str(record)!r})).importing\n"
    )
    memory = TaskMemory()
    memory.start(record)
    memory.watch_imports()
    memory.begin(Task(b"task-id", 0, b"function", "f", b"", memory=100 * MIB))
    assert importlib.import_module("im_looking").importing
    assert not read_record(record).importing
