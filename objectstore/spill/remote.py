"""Spilled objects in a bucket, or whatever else an Arrow file system can name.

The objects of one `write` are one remote object, under a prefix that is the session's own; single
ones are read by their range. A remote object is deleted with the last of its objects. It is never
rewritten: that would move live bytes twice over the network to save dead ones, which cost little
there and go with the session.

Nothing here has the secrets of a URI: errors and logs name it without them.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from .copies import Copies
from .encoding import ChecksumMismatch, Codec, Encoded
from .local import LocalStorage
from .segments import Extent, SegmentTable
from .storage import CorruptSpill, FileExtent, SpillStatistics
from .uri import without_secrets

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

T = TypeVar("T")

_log = logging.getLogger("millpond.store")

#: Seconds for which reading is tried again, in the hope that the server comes back.
PATIENCE: Final = 120.0

#: Seconds between tries: the first pause, and the longest.
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0

#: Seconds that `close` waits for calls under way.
_DRAIN: Final = 10.0

#: What AWS says of a bucket that does not exist.
_NO_BUCKET: Final = ("NO_SUCH_BUCKET", "NoSuchBucket")

#: What the texts of AWS errors say when trying again is of no use, and what we say then.
_HOPELESS: Final = {
    **dict.fromkeys(_NO_BUCKET, "the bucket does not exist"),
    "INVALID_ACCESS_KEY_ID": "the access key is not known there",
    "SIGNATURE_DOES_NOT_MATCH": "the secret key is wrong",
    "ACCESS_DENIED": "access is denied to these credentials",
    "HTTP status 403": "access is denied to these credentials",
    "INVALID_CLIENT_TOKEN_ID": "the session token is wrong",
    "EXPIRED_TOKEN": "the credentials have expired",
}


class RemoteStorage:
    """A `Storage` of remote objects.

    Copies for readers who map an object, and objects that do not fit into memory, are files in a
    local directory; the latter stay there.

    Args:
        uri: where to, as `pyarrow.fs.FileSystem.from_uri` takes it.
        local: an existing directory for the files.
        compression: "lz4", "zstd" or None.
        quota: the most bytes to keep there; None: no limit.
        floor: bytes to leave free on the local disk.
        filesystem: instead of the one that the URI names, whose path is then `uri` (for tests).
        patience: seconds for which reading is tried again while the server fails. Once that was in
            vain, each read is tried once, until one works.

    Raises:
        OSError: it cannot be used; the text says where and why.
        ValueError: the URI is malformed, or of an unknown kind.
    """

    def __init__(
        self,
        uri: str,
        local: str | os.PathLike[str],
        *,
        compression: str | None = None,
        quota: int | None = None,
        floor: int | None = None,
        filesystem: FileSystem | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.name = without_secrets(uri)
        """The URI, without what is secret in it."""
        self._filesystem, base = (filesystem, uri) if filesystem is not None else self._open(uri)
        self._prefix = f"{base.rstrip('/')}/millpond-{secrets.token_hex(8)}"
        self._patience = patience
        #: Reading was tried for so long in vain, and has not worked since.
        self._down = False
        self._codec = Codec(compression)
        self._quota = quota
        self._local = LocalStorage([local], floor=floor)
        self._copies = Copies(self._local.directories[0])
        self._lock = threading.Lock()
        self._table = SegmentTable(1 << 62, 1)
        self._closing = threading.Event()
        self._closed = False
        self._idle = threading.Condition(self._lock)
        self._calls = 0
        self._damaged = 0
        self._garbage = threading.Event()
        self._collecting = threading.Lock()
        try:
            self.check()
        except BaseException:
            self._local.close()
            raise
        self._collector = threading.Thread(
            target=self._collect_forever, name="millpond-spill-collector", daemon=True
        )
        self._collector.start()

    # -- writing --

    def write(self, objects: Sequence[tuple[bytes, memoryview]]) -> None:
        """Keep objects in one remote object. See `Storage.write`."""
        need = sum(len(view) for _, view in objects)
        with self._lock:
            taken = self._table.allocated
            if self._quota is not None and taken + need > self._quota:
                text = (
                    f"the spill quota is used up: {taken} of {self._quota} bytes are taken, "
                    f"{need} are needed"
                )
                raise OSError(errno.EDQUOT, text)
            reserved = [self._table.reserve(len(view), None) for _, view in objects]
            self._table.close(None)
        written: list[Encoded] = []
        try:
            self._call(lambda: self._upload(self._path(reserved[0].segment), objects, written))
        except BaseException:
            with self._lock:
                for room in reserved:
                    self._table.abandon(room)
            self._garbage.set()
            raise
        offsets = itertools.accumulate((each.stored for each in written), initial=0)
        with self._lock:
            for (oid, _), room, encoded, at in zip(
                objects, reserved, written, offsets, strict=False
            ):
                self._table.commit(oid, room, encoded, at)

    def _upload(
        self, path: str, objects: Sequence[tuple[bytes, memoryview]], written: list[Encoded]
    ) -> None:
        stream = self._filesystem.open_output_stream(path)
        try:
            for _, view in objects:
                written.append(self._codec.encode(view, stream.write))
        finally:
            stream.close()  # what is incomplete has a name then, and is deleted as garbage

    def direct_path(self, oid: bytes, size: int) -> FileExtent:
        """A local file for another process to write. See `Storage.direct_path`."""
        return self._local.direct_path(oid, size)

    # -- reading --

    def read_into(self, oid: bytes, view: memoryview) -> None:
        """Fill a view with an object's bytes. See `Storage.read_into`."""
        extent = self._extent(oid)
        if extent is None:
            self._local.read_into(oid, view)
            return
        path = self._path(extent.segment)
        if len(view) != extent.encoded.size:
            text = f"it has {extent.encoded.size} bytes, not {len(view)}"
            raise self._corrupt(oid, path, text)
        try:
            self._patiently(lambda: self._download(path, extent, view))
        except FileNotFoundError as error:
            raise self._corrupt(oid, path, "its remote object is gone") from error
        except ChecksumMismatch as error:
            raise self._corrupt(oid, path, str(error)) from error
        except OSError as error:
            if any(word in str(error) for word in _NO_BUCKET):
                raise self._corrupt(oid, path, "its bucket is gone") from error
            raise

    def locate(self, oid: bytes) -> FileExtent:
        """A local copy of an object. See `Storage.locate`."""
        extent = self._extent(oid)
        if extent is None:
            return self._local.locate(oid)
        return self._copies.get(oid, extent.encoded.size, lambda view: self.read_into(oid, view))

    def _download(self, path: str, extent: Extent, view: memoryview) -> None:
        with self._filesystem.open_input_file(path) as file:
            file.seek(extent.offset)

            def read(piece: memoryview) -> None:
                if file.readinto(piece) != len(piece):
                    raise ChecksumMismatch("its remote object is too short")

            self._codec.decode(extent.encoded, view, read)

    def _extent(self, oid: bytes) -> Extent | None:
        with self._lock:
            return self._table.objects.get(oid)

    def _corrupt(self, oid: bytes, path: str, reason: str) -> CorruptSpill:
        with self._lock:
            self._damaged += 1
        return CorruptSpill(oid, path, reason)

    # -- calls to the server --

    def _patiently(self, read: Callable[[], T]) -> T:
        """Read, again and again while the server cannot be reached or fails."""
        end = time.monotonic() + (0.0 if self._down else self._patience)
        pause = _FIRST_PAUSE
        while True:
            try:
                result = self._call(read)
            except FileNotFoundError:
                raise
            except OSError as error:
                if _hopeless(error):
                    raise
                if time.monotonic() + pause > end:
                    self._down = True
                    raise
                _log.warning("reading from %s failed, trying again: %s", self.name, error)
            else:
                self._down = False
                return result
            if self._closing.wait(pause):
                raise OSError(errno.ECANCELED, "the spill storage is being closed", self.name)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _call(self, call: Callable[[], T]) -> T:
        """Make a call that `close` waits for, and say in its errors where it failed."""
        with self._lock:
            if self._closing.is_set():
                raise OSError(errno.ECANCELED, "the spill storage is closed", self.name)
            self._calls += 1
        try:
            return call()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _explained(error, self.name) from None
        finally:
            with self._lock:
                self._calls -= 1
                self._idle.notify_all()

    @staticmethod
    def _open(uri: str) -> tuple[FileSystem, str]:
        from pyarrow.fs import FileSystem

        try:
            filesystem, base = FileSystem.from_uri(uri)
        except (ValueError, OSError, NotImplementedError) as error:
            text = str(error).replace(uri, without_secrets(uri))
            raise ValueError(f"the spill URI {without_secrets(uri)} is wrong: {text}") from None
        if not base.strip("/"):
            text = f"the spill URI {without_secrets(uri)} is wrong: it names no bucket"
            raise ValueError(text)
        return filesystem, base

    # -- forgetting --

    def delete(self, oids: Iterable[bytes]) -> None:
        """Forget objects. See `Storage.delete`."""
        local: list[bytes] = []
        with self._lock:
            for oid in oids:
                if not self._table.delete(oid):
                    local.append(oid)
                self._copies.discard(oid)
        self._local.delete(local)
        self._garbage.set()

    def _collect_forever(self) -> None:
        while True:
            self._garbage.wait()
            self._garbage.clear()
            if self._closing.is_set():
                return
            self._collect()

    def _collect(self) -> None:
        """Delete the remote objects without objects."""
        with self._collecting:
            with self._lock:
                garbage = self._table.collect()
            for piece in garbage:
                if piece.ranges is None:
                    self._remove(piece.segment)

    def _remove(self, segment: int) -> None:
        try:
            self._patiently(lambda: self._filesystem.delete_file(self._path(segment)))
        except FileNotFoundError:
            return
        except OSError as error:
            if not self._closing.is_set():  # closing removes everything
                _log.warning("an object could not be deleted: %s", error)

    def _path(self, segment: int) -> str:
        return f"{self._prefix}/segment-{segment}"

    # -- the whole --

    def check(self) -> None:
        """Write a little, read it back and delete it. See `Storage.check`."""
        path = f"{self._prefix}/probe"
        content = secrets.token_bytes(16)

        def probe() -> bool:
            if self._filesystem.type_name not in ("s3", "gcs", "abfs"):  # those know no directories
                self._filesystem.create_dir(self._prefix, recursive=True)
            with self._filesystem.open_output_stream(path) as stream:
                stream.write(content)
            with self._filesystem.open_input_file(path) as file:
                same = bool(file.read() == content)
            self._filesystem.delete_file(path)
            return same

        try:
            same = self._call(probe)
        except FileNotFoundError as error:
            raise _explained(error, self.name) from None
        if not same:
            raise OSError(errno.EIO, "what was written there is not read back", self.name)

    def statistics(self) -> SpillStatistics:
        """Count what is kept."""
        local = self._local.statistics()
        with self._lock:
            return SpillStatistics(
                **self._table.counted(),
                direct_bytes=local.direct_bytes,
                allocated_bytes=self._table.allocated + local.allocated_bytes,
                damaged=self._damaged + local.damaged,
                directories_failing=local.directories_failing,
            )

    def interrupt(self) -> None:
        """Try nothing again, and begin nothing new."""
        self._closing.set()
        self._garbage.set()

    def close(self) -> None:
        """Delete everything under the session's prefix, and the local files."""
        self.interrupt()
        if self._closed:
            return
        self._closed = True
        with self._lock:
            self._idle.wait_for(lambda: self._calls == 0, _DRAIN)
        try:
            self._filesystem.delete_dir(self._prefix)
        except FileNotFoundError:
            pass  # nothing was ever written, and there are no directories
        except OSError as error:
            text = _explained(error, self.name)
            _log.warning("the objects under %s could not be deleted: %s", self._prefix, text)
        self._local.close()


def _hopeless(error: OSError) -> bool:
    """Whether trying again cannot help."""
    return isinstance(error, PermissionError) or any(word in str(error) for word in _HOPELESS)


def _explained(error: OSError, name: str) -> OSError:
    """The error with the place, and a reason that people understand."""
    text = re.sub(r"\s+", " ", str(error))
    reason = next((said for word, said in _HOPELESS.items() if word in text), "")
    number = error.errno or errno.EIO
    if reason:
        text = f"{reason} ({text})"
    return OSError(number, f"the spill URI {name} cannot be used: {text}")
