"""Spilled objects as remote ones, on a local file system that fails when it is told to."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

from millpond.objectstore.fileio import is_full, map_file
from millpond.objectstore.spill import remote
from millpond.objectstore.spill.checked_file import write_checked
from millpond.objectstore.spill.remote import RemoteStorage
from millpond.objectstore.spill.storage import CorruptSpill
from millpond.objectstore.spill.uri import without_secrets

MIB = 1 << 20
DEAD = OSError(errno.EIO, "AWS Error NETWORK_CONNECTION: could not connect to server")
DENIED = OSError(errno.EIO, "AWS Error ACCESS_DENIED during GetObject operation")


class Flaky:
    """A local file system whose calls fail as often as it was told."""

    type_name = "flaky"

    def __init__(self) -> None:
        self._real = pafs.LocalFileSystem()
        self.failures: list[OSError] = []
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.calls.append(name)
            if self.failures:
                raise self.failures.pop(0)
            return getattr(self._real, name)(*args, **options)

        return call


class Place:
    """A storage, the file system that it is on, and what is there."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.bucket, local = directory / "bucket", directory / "local"
        self.bucket.mkdir()
        local.mkdir()
        self.files = Flaky()
        self.storage = RemoteStorage(
            str(self.bucket), local, filesystem=self.files, **{"patience": 5.0, **options}
        )

    def keys(self) -> list[Path]:
        return [path for path in self.bucket.rglob("*") if path.is_file()]

    def write(self, *contents: bytes) -> None:
        self.storage.write([(b"%d" % i, memoryview(each)) for i, each in enumerate(contents)])

    def read(self, number: int, size: int) -> bytes:
        back = bytearray(size)
        self.storage.read_into(b"%d" % number, memoryview(back))
        return bytes(back)


Make = Callable[..., Place]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(remote, "_FIRST_PAUSE", 0.001)
    made: list[Place] = []

    def place(**options: Any) -> Place:
        made.append(Place(tmp_path, **options))
        return made[-1]

    yield place
    for each in made:
        each.storage.close()
        each.storage.close()
        assert each.keys() == []
        assert list((tmp_path / "local").iterdir()) == []


@pytest.mark.parametrize("compression", [None, "lz4"])
def test_objects_of_one_call_are_one_remote_object(make: Make, compression: str | None) -> None:
    place = make(compression=compression)
    contents = [b"", os.urandom(100_000), bytes(9 * MIB), os.urandom(3 * MIB)]
    place.write(*contents)
    assert len(place.keys()) == 1
    for number, content in enumerate(contents):
        assert place.read(number, len(content)) == content
        path, offset, size = place.storage.locate(b"%d" % number)
        assert map_file(path, size, offset=offset).to_pybytes() == content
    stored = place.storage.statistics().stored_bytes
    assert stored == place.keys()[0].stat().st_size
    assert (stored < 4 * MIB) is (compression is not None)


def test_objects_of_two_calls_are_two_remote_objects(make: Make) -> None:
    place = make()
    place.storage.write([(b"0", memoryview(b"first"))])
    place.storage.write([(b"1", memoryview(b"second"))])
    assert len(place.keys()) == 2
    assert place.read(0, 5) == b"first"
    assert place.read(1, 6) == b"second"


def test_a_remote_object_goes_with_the_last_of_its_objects(make: Make) -> None:
    place = make()
    place.write(b"a" * 1000, b"b" * 1000)
    place.storage.delete([b"0"])
    place.storage._collect()
    assert len(place.keys()) == 1
    assert place.read(1, 1000) == b"b" * 1000
    place.storage.delete([b"1"])
    place.storage._collect()
    assert place.keys() == []


def test_reading_is_tried_again(make: Make) -> None:
    place = make()
    place.write(b"content")
    place.files.failures = [DEAD] * 4
    assert place.read(0, 7) == b"content"
    assert place.files.failures == []


def test_what_cannot_get_better_is_not_tried_again(make: Make) -> None:
    place = make(patience=1e9)
    place.write(b"content")
    place.files.failures = [DENIED]
    with pytest.raises(OSError, match="access is denied") as caught:
        place.read(0, 7)
    assert not isinstance(caught.value, CorruptSpill), "it may be readable another time"
    assert place.read(0, 7) == b"content"


def test_patience_ends(make: Make) -> None:
    place = make(patience=0.0)
    place.write(b"content")
    place.files.failures = [DEAD]
    with pytest.raises(OSError, match="could not connect"):
        place.read(0, 7)
    assert place.read(0, 7) == b"content"


def test_who_waited_in_vain_spares_the_others_until_it_works_again(make: Make) -> None:
    place = make(patience=0.05)
    place.write(b"content")
    place.files.failures = [DEAD] * 1000
    for calls in (1, 1):
        with pytest.raises(OSError, match="could not connect"):
            place.read(0, 7)
        tried = len(place.files.calls)
        with pytest.raises(OSError, match="could not connect"):
            place.read(0, 7)
        assert len(place.files.calls) == tried + calls
    place.files.failures = []
    assert place.read(0, 7) == b"content"
    place.files.failures = [DEAD] * 2
    assert place.read(0, 7) == b"content", "it is waited for again"


def test_a_bucket_that_is_gone_has_lost_its_objects(make: Make) -> None:
    place = make()
    place.write(b"content")
    place.files.failures = [OSError(errno.EIO, "AWS Error NO_SUCH_BUCKET during GetObject")]
    with pytest.raises(CorruptSpill, match="its bucket is gone"):
        place.read(0, 7)


def test_a_reader_that_waits_for_the_server_does_not_stop_the_end(make: Make) -> None:
    place = make(patience=1e9)
    place.write(b"content")
    place.files.failures = [DEAD] * 1000
    failed: list[OSError] = []

    def read() -> None:
        try:
            place.read(0, 7)
        except OSError as error:
            failed.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    place.storage.interrupt()
    reader.join(10.0)
    place.files.failures = []
    assert not reader.is_alive()
    assert len(failed) == 1


def test_a_failed_write_keeps_nothing(make: Make) -> None:
    place = make()
    place.files.failures = [DEAD]
    with pytest.raises(OSError, match="could not connect"):
        place.write(b"a", b"b")
    place.storage._collect()
    assert place.keys() == []
    assert place.storage.statistics().objects == 0
    place.write(b"c")
    assert place.read(0, 1) == b"c"


def test_damage_is_found(make: Make) -> None:
    place = make()
    place.write(b"a" * 1000, b"b" * 1000, b"c" * 1000)
    (path,) = place.keys()
    content = bytearray(path.read_bytes())
    content[1500] ^= 1
    path.write_bytes(content[:2500])
    assert place.read(0, 1000) == b"a" * 1000
    with pytest.raises(CorruptSpill, match="checksum"):
        place.read(1, 1000)
    with pytest.raises(CorruptSpill, match="too short"):
        place.read(2, 1000)
    path.unlink()
    with pytest.raises(CorruptSpill, match="is gone"):
        place.read(0, 1000)
    with pytest.raises(CorruptSpill, match="is gone"):
        place.storage.locate(b"0")
    assert place.storage.statistics().damaged == 4


def test_the_quota_is_kept(make: Make) -> None:
    place = make(quota=1000)
    place.write(b"a" * 600)
    with pytest.raises(OSError, match="600 of 1000 bytes are taken, 500 are needed") as caught:
        place.storage.write([(b"x", memoryview(bytes(500)))])
    assert is_full(caught.value)
    place.storage.delete([b"0"])
    place.storage._collect()
    place.write(b"b" * 1000)


def test_objects_written_by_other_processes_stay_local(make: Make) -> None:
    place = make()
    found = place.storage.direct_path(b"large", 1000)
    write_checked(found.path, [b"d" * 1000])
    assert place.storage.locate(b"large") == found
    assert place.keys() == []
    place.storage.delete([b"large"])


def test_what_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    files = Flaky()
    files.failures = [OSError(errno.EIO, "AWS Error NO_SUCH_BUCKET during PutObject")]
    with pytest.raises(OSError, match="bucket/x cannot be used: the bucket does not exist"):
        RemoteStorage("bucket/x", tmp_path / "local", filesystem=files)  # type: ignore[arg-type]
    assert list((tmp_path / "local").iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket/dir", "s3://bucket/dir"),
        ("s3://key:secret@bucket/dir", "s3://bucket/dir"),
        ("s3://key:se@cret@bucket/dir?scheme=http&x=secret", "s3://bucket/dir?scheme=http"),
        (
            "s3://b/d?region=eu&endpoint_override=localhost:1&access_key=secret",
            "s3://b/d?region=eu&endpoint_override=localhost:1",
        ),
    ],
)
def test_secrets_are_not_shown(uri: str, shown: str) -> None:
    assert without_secrets(uri) == shown
