"""Files that say themselves whether they are whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.objectstore.spill import checked_file, encoding
from millpond.objectstore.spill.checked_file import (
    CheckedDraft,
    check_file,
    file_size,
    write_checked,
)
from millpond.objectstore.spill.encoding import ChecksumMismatch
from millpond.objectstore.spill.segment_files import ShortFile


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (checked_file, encoding):
        monkeypatch.setattr(module, "CHUNK", 10)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 20, 35])
def test_what_was_written_is_read(tmp_path: Path, size: int) -> None:
    content = bytes(range(size))
    path = str(tmp_path / "file")
    write_checked(path, [content[:3], content[3:17], content[17:]])
    assert Path(path).stat().st_size == file_size(size)
    target = bytearray(size)
    check_file(path, size)
    check_file(path, size, memoryview(target))
    assert target == content


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 45), data=st.data())
def test_every_damage_is_found(
    tmp_path_factory: pytest.TempPathFactory, size: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("checked") / "file"
    write_checked(path, [os.urandom(size)])
    whole = path.read_bytes()
    if whole and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(whole) - 1))
        bit = 1 << data.draw(st.integers(0, 7))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
    else:
        kept = data.draw(st.integers(0, len(whole) + 20).filter(lambda n: n != len(whole)))
        path.write_bytes((whole + b"x" * 20)[:kept])
    with pytest.raises((ChecksumMismatch, ShortFile)):
        check_file(str(path), size)
    with pytest.raises((ChecksumMismatch, ShortFile)):
        check_file(str(path), size, memoryview(bytearray(size)))


@pytest.mark.parametrize("size", [0, 1, 10, 35])
def test_a_draft_becomes_a_file_like_any_other(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    draft = CheckedDraft(path, size)
    draft.view[:] = bytes(range(size))
    assert not path.exists(), "it is seen only when it is complete"
    draft.finish()
    target = bytearray(size)
    check_file(str(path), size, memoryview(target))
    assert target == bytes(range(size))
    assert list(tmp_path.iterdir()) == [path]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_of_a_draft_that_is_discarded(tmp_path: Path) -> None:
    before = open_files()
    draft = CheckedDraft(tmp_path / "file", 10)
    draft.discard()
    assert list(tmp_path.iterdir()) == []
    assert open_files() == before
