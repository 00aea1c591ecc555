from __future__ import annotations

import os
import pickle
import stat
from pathlib import Path

import pytest

from millpond.environments.packages import (
    Contents,
    list_directory,
    list_module,
    read_package,
    unpack,
)
from millpond.errors import RuntimeEnvError


def write(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def packed(directory: Path, *excludes: str) -> Contents:
    return read_package(list_directory(str(directory), excludes), str(directory.parent))


def unpacked(contents: Contents, directory: Path) -> Path:
    unpack(directory, contents.entries, memoryview(contents.data))
    return directory


def files_below(root: Path) -> dict[str, str]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_text() for path in found}


FILES = {"main.py": "import lib", "lib/__init__.py": "", "lib/data/table.csv": "1,2", "a b": "ö"}


def test_what_was_packed_comes_out_again(tmp_path: Path) -> None:
    code = write(tmp_path / "code", FILES)
    (code / "empty").mkdir()
    (code / "main.py").chmod(0o755)
    directory = unpacked(packed(code), tmp_path / "node")
    assert files_below(directory) == FILES
    assert (directory / "empty").is_dir()
    assert (directory / "main.py").stat().st_mode & stat.S_IXUSR
    assert not (directory / "a b").stat().st_mode & stat.S_IXUSR


def test_nothing_at_all_is_a_package_too(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    assert list(unpacked(packed(tmp_path / "code"), tmp_path / "node").iterdir()) == []


def test_what_is_excluded_is_left_out(tmp_path: Path) -> None:
    unwanted = {".git/HEAD": "", "lib/__pycache__/x.pyc": "", ".venv/bin/python": "", "big.csv": ""}
    code = write(tmp_path / "code", {**FILES, **unwanted})
    listed = [each.path for each in list_directory(str(code), ["*.csv", "/lib/data"])]
    assert listed == ["a b", "lib/", "lib/__init__.py", "main.py"]
    assert ".git/HEAD" in {each.path for each in list_directory(str(code), ["!.git/"])}


def test_the_digest_is_of_names_bytes_and_what_can_be_executed(tmp_path: Path) -> None:
    code = write(tmp_path / "code", FILES)
    first = packed(code).digest
    os.utime(code / "main.py", (0, 0))
    assert packed(write(tmp_path / "copy", FILES)).digest == packed(code).digest == first
    digests = {first}
    write(code, {"main.py": "import lic"})
    digests.add(packed(code).digest)
    (code / "main.py").rename(code / "main2.py")
    digests.add(packed(code).digest)
    (code / "main2.py").chmod(0o755)
    digests.add(packed(code).digest)
    (code / "empty").mkdir()
    digests.add(packed(code).digest)
    assert len(digests) == 5
    # The border between two files counts.
    one, other = {"a": "xy", "b": "z"}, {"a": "x", "b": "yz"}
    assert packed(write(tmp_path / "1", one)).digest != packed(write(tmp_path / "2", other)).digest


def test_a_listing_is_equal_until_something_changes(tmp_path: Path) -> None:
    code = write(tmp_path / "code", FILES)
    before = list_directory(str(code))
    assert list_directory(str(code)) == before
    write(code, {"main.py": "import los"})
    os.utime(code / "main.py", ns=(5, 5))
    assert list_directory(str(code)) != before


def test_links_are_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"x/data": "1"})
    code = write(tmp_path / "code", {"main.py": ""})
    (code / "file").symlink_to(outside / "x" / "data")
    (code / "folder").symlink_to(outside)
    (code / "nothing").symlink_to(tmp_path / "missing")
    (code / "x").mkdir()
    (code / "x" / "round").symlink_to(code)
    os.mkfifo(code / "pipe")
    contents = packed(code)
    assert files_below(unpacked(contents, tmp_path / "node")) == {
        "main.py": "",
        "file": "1",
        "folder/x/data": "1",
    }


def test_a_module_is_packed_under_its_name(tmp_path: Path) -> None:
    write(tmp_path, {"tool/__init__.py": "", "tool/part/x.py": "1", "one.py": "2", "other.py": ""})
    for name, expected in (
        ("tool", {"tool/__init__.py": "", "tool/part/x.py": "1"}),
        ("one.py", {"one.py": "2"}),
    ):
        contents = read_package(list_module(str(tmp_path / name)), str(tmp_path))
        assert files_below(unpacked(contents, tmp_path / f"node of {name}")) == expected


def test_a_name_that_is_no_text_is_packed(tmp_path: Path) -> None:
    code = write(tmp_path / "code", {})
    code.mkdir()
    name = os.fsdecode(b"\xff")
    (code / name).write_text("x")
    contents = pickle.loads(pickle.dumps(packed(code).entries))
    assert [path for path, _, _ in contents] == [name]


def test_what_is_not_there_or_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(RuntimeEnvError, match=f"there is no directory {missing} on "):
        list_directory(missing)
    with pytest.raises(RuntimeEnvError, match=f"{missing} cannot be read on .*: No such file"):
        list_module(missing)
    code = write(tmp_path / "code", FILES)
    with pytest.raises(RuntimeEnvError, match="there is no directory"):
        list_directory(str(code / "main.py"))
    listed = list_directory(str(code))
    (code / "main.py").unlink()
    with pytest.raises(RuntimeEnvError, match=f"{code}/main.py cannot be read: No such file"):
        read_package(listed, str(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    code = write(tmp_path / "code", FILES)
    (code / "lib").chmod(0)
    try:
        with pytest.raises(RuntimeEnvError, match=r"code/lib cannot be read: .*excludes"):
            list_directory(str(code))
    finally:
        (code / "lib").chmod(0o755)


def test_too_many_bytes_are_refused_with_both_numbers(tmp_path: Path) -> None:
    code = write(tmp_path / "code", {"small": "1234", "lib/large": "12345"})
    assert list_directory(str(code), most_bytes=9)
    with pytest.raises(
        RuntimeEnvError, match=r"9 bytes, and at most 8 .*lib/large with 5.*exclude"
    ):
        list_directory(str(code), most_bytes=8)
    assert list_directory(str(code), ["small"], most_bytes=8)
    with pytest.raises(RuntimeEnvError, match=r"py_modules: .*/small have 4 bytes, and at most 3"):
        list_module(str(code / "small"), most_bytes=3)


def test_a_file_that_grows_is_cut_where_it_was_listed(tmp_path: Path) -> None:
    code = write(tmp_path / "code", {"log": "12345", "log2": "12345"})
    listed = list_directory(str(code))
    write(code, {"log": "1234567", "log2": "123"})
    contents = read_package(listed, str(tmp_path))
    assert contents.entries == [("log", 5, False), ("log2", 3, False)]
    assert bytes(contents.data) == b"12345123"


def test_what_was_begun_is_done_again(tmp_path: Path) -> None:
    contents = packed(write(tmp_path / "code", FILES))
    write(tmp_path / "node.partial", {"main.py": "half", "leftover": ""})
    assert files_below(unpacked(contents, tmp_path / "node")) == FILES
    assert not (tmp_path / "node.partial").exists()


def test_a_directory_is_there_when_all_of_it_is(tmp_path: Path) -> None:
    contents = packed(write(tmp_path / "code", FILES))
    (tmp_path / "node.partial").mkdir()
    with pytest.raises(OSError, match="no/such"):
        unpack(tmp_path / "node", [*contents.entries, ("no/such", 0, False)], memoryview(b""))
    assert not (tmp_path / "node").exists()
