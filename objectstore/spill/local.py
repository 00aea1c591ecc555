"""Spilled objects in files: segments of objects that were spilled together, in some directories.

The space of deleted objects is given back by punching holes into their segments and by removing
segments without objects, on a thread of the storage's own. Where a file system knows no holes every
object gets a file of its own. Objects that another process writes, because they do not fit into
memory, have files of their own too (`checked_file`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from ..fileio import is_full, punch
from . import own_files
from .checked_file import check_file, file_size
from .copies import Copies
from .direct import can_bypass_cache, is_aligned
from .directory import SpillDirectory
from .encoding import ChecksumMismatch, Codec, Encoded, verify
from .own_files import OwnFiles, looks_of
from .rotation import Rotation
from .segment_files import (
    ALIGNMENT,
    SegmentWriter,
    ShortFile,
    Way,
    can_punch,
    reader,
    segment_path,
)
from .segments import Extent, Garbage, Reservation, SegmentTable
from .storage import CorruptSpill, FileExtent, SpillStatistics

T = TypeVar("T")

_log = logging.getLogger("millpond.store")

#: Bytes after which a segment gets no more objects.
SEGMENT_SIZE: Final = 64 << 20


class _Place(NamedTuple):
    """Where a segment is: a directory, and how the segment is written."""

    directory: int
    way: Way


class LocalStorage:
    """A `Storage` of files in private directories inside those that are given.

    Args:
        parents: the directories; segments go to them in turns.
        compression: "lz4", "zstd" or None.
        quota: the most bytes to take in all directories together; None: no limit.
        floor: bytes to leave free on each disk; None: 1 % of it, at most 100 MB.
        page_cache: bytes that may be left in the page cache when the disks are busy.
        clock: seconds, for leaving out directories that fail.

    Raises:
        OSError: one of the directories cannot be used; the text says which and why.
    """

    def __init__(
        self,
        parents: Sequence[str | os.PathLike[str]],
        *,
        compression: str | None = None,
        quota: int | None = None,
        floor: int | None = None,
        page_cache: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        with contextlib.ExitStack() as made:
            self._directories: list[SpillDirectory] = []
            for parent in parents:
                self._directories.append(SpillDirectory(parent, floor))
                made.callback(self._directories[-1].close)
            self._fuse = [can_punch(home.directory) for home in self._directories]
            self._way_to_disk = [
                Way.DIRECT if can_bypass_cache(home.directory) else Way.FLUSHED
                for home in self._directories
            ]
            made.pop_all()
        self._quota = quota
        self._page_cache = page_cache
        #: By directory: held by who writes to its disk; who finds it taken may use the page cache.
        self._disk = [threading.Lock() for _ in self._directories]
        self._clock = clock
        self._codec = Codec(compression)
        self._copies = Copies(self._directories[0].directory)
        self._lock = threading.Lock()
        self._table = SegmentTable(SEGMENT_SIZE, ALIGNMENT)
        self._rotation = Rotation(len(self._directories))
        self._own_files = OwnFiles()
        self._damaged = 0
        self._garbage = threading.Event()
        self._collecting = threading.Lock()
        self._closed = False
        self._collector = threading.Thread(
            target=self._collect_forever, name="millpond-spill-collector", daemon=True
        )
        self._collector.start()

    @property
    def directories(self) -> list[Path]:
        """The private directories."""
        return [home.directory for home in self._directories]

    # -- writing --

    def write(self, objects: Sequence[tuple[bytes, memoryview]]) -> None:
        """Keep objects; those of one call go to one directory. See `Storage.write`."""
        need = sum(self._table.aligned(len(view)) for _, view in objects)
        self._somewhere(need, lambda number: self._write(number, need, objects))

    def direct_path(self, oid: bytes, size: int) -> FileExtent:
        """A file for another process to write. See `Storage.direct_path`."""
        need = file_size(size)
        return self._somewhere(need, lambda number: self._add_own_file(number, oid, size))

    def _somewhere(self, need: int, write: Callable[[int], T]) -> T:
        """The result of writing to the first directory where it works."""
        with self._lock:
            order = self._rotation.order(self._clock())
        failures: list[OSError] = []
        for number in order:
            home = self._directories[number]
            try:
                self._make_space(home, need)
                result = write(number)
            except OSError as error:
                failures.append(error)
                if not is_full(error):
                    self._leave_out(number, error)
                continue
            with self._lock:
                self._rotation.worked(number)
            return result
        # Space may come back, a broken disk seldom does: that there is none is the better news.
        raise next(filter(is_full, failures), failures[0])

    def _make_space(self, home: SpillDirectory, need: int) -> None:
        """Check that there is space in a directory, giving back all dead space if there is not."""
        try:
            home.admit(need)
        except OSError as error:
            if not is_full(error):
                raise
            self._collect(everything=True)
            home.admit(need)

    def _check_quota(self, need: int) -> None:
        """Check under the lock that so many bytes more may be taken."""
        taken = self._table.allocated + self._own_files.allocated
        if self._quota is not None and taken + need > self._quota:
            text = (
                f"the spill quota is used up: {taken} of {self._quota} bytes are taken, "
                f"{need} are needed"
            )
            raise OSError(errno.EDQUOT, text)

    def _write(self, number: int, need: int, objects: Sequence[tuple[bytes, memoryview]]) -> None:
        idle = self._disk[number].acquire(blocking=False)
        try:
            self._write_to(self._place_for(number, need, idle=idle), need, objects)
        finally:
            if idle:
                self._disk[number].release()

    def _place_for(self, number: int, need: int, *, idle: bool) -> _Place:
        """Where to write so many bytes: to the disk, or, if it is busy, to the page cache."""
        if not idle:
            with self._lock:
                taken = sum(
                    size
                    for place, size in self._table.allocated_at.items()
                    if isinstance(place, _Place) and place.way is Way.CACHED
                )
            if taken + need <= self._page_cache:
                return _Place(number, Way.CACHED)
        return _Place(number, self._way_to_disk[number])

    def _write_to(
        self, place: _Place, need: int, objects: Sequence[tuple[bytes, memoryview]]
    ) -> None:
        reserved = self._reserve(place, need, [len(view) for _, view in objects])
        written: list[Encoded] = []
        try:
            with SegmentWriter(self._directories[place.directory].directory, place.way) as writer:
                for (_, view), room in zip(objects, reserved, strict=True):
                    written.append(self._codec.encode(view, writer.at(room)))
        except BaseException:
            with self._lock:
                for room in reserved:
                    self._table.abandon(room)
            self._garbage.set()
            raise
        with self._lock:
            for (oid, _), room, encoded in zip(objects, reserved, written, strict=True):
                self._table.commit(oid, room, encoded)

    def _reserve(self, place: _Place, need: int, sizes: Sequence[int]) -> list[Reservation]:
        for last in (False, True):
            with self._lock:
                try:
                    self._check_quota(need)
                except OSError:
                    if last:
                        raise
                else:
                    fuse = self._fuse[place.directory]
                    return [self._table.reserve(size, place, fuse=fuse) for size in sizes]
            self._collect(everything=True)
        raise AssertionError("unreachable")

    def _add_own_file(self, number: int, oid: bytes, size: int) -> FileExtent:
        with self._lock:
            self._check_quota(file_size(size))
            return self._own_files.add(oid, size, self._directories[number].directory)

    def _leave_out(self, number: int, error: OSError) -> None:
        with self._lock:
            news = self._rotation.failed(number, self._clock())
        if news and len(self._directories) > 1:
            parent = self._directories[number].parent
            _log.warning("spilling to %s failed, it is left out for a while: %s", parent, error)

    # -- reading --

    def read_into(self, oid: bytes, view: memoryview) -> None:
        """Fill a view with an object's bytes. See `Storage.read_into`."""
        with self._lock:
            own = self._own_files.get(oid)
            extent = None if own is not None else self._table.objects.get(oid)
        if own is not None:
            self._guarded(oid, own.path, lambda: check_file(own.path, own.size, view))
            return
        if extent is None:
            raise CorruptSpill(oid, "", "it is not known to the spill storage")
        with self._lock:
            path = self._path(extent.segment)
            way = self._place(extent.segment).way
        if way is Way.DIRECT and not (extent.encoded.is_plain and is_aligned(view)):
            way = Way.FLUSHED
        self._guarded(oid, path, lambda: self._decode(extent, path, view, way))

    def locate(self, oid: bytes) -> FileExtent:
        """Where an object can be mapped. See `Storage.locate`."""
        with self._lock:
            own = self._own_files.get(oid)
            extent = None if own is not None else self._table.objects.get(oid)
            path = self._path(extent.segment) if extent is not None else ""
        if own is not None:
            self._guarded(oid, own.path, lambda: self._check_own_file(oid, own))
            return own
        if extent is None:
            raise CorruptSpill(oid, "", "it is not known to the spill storage")
        if extent.encoded.is_plain:
            self._guarded(oid, path, lambda: _verify(extent, path))
            return FileExtent(path, extent.offset, extent.encoded.size)
        self._make_space(self._directories[0], extent.encoded.size)
        return self._copies.get(oid, extent.encoded.size, lambda view: self.read_into(oid, view))

    def _check_own_file(self, oid: bytes, own: FileExtent) -> None:
        """Check a file that another process wrote, unless it is as it was when it was whole."""
        # It may be larger than memory: reading all of it once is enough while nobody changes it.
        looks = looks_of(own.path)
        with self._lock:
            if self._own_files.is_whole(oid, looks):
                return
        check_file(own.path, own.size)
        with self._lock:
            self._own_files.found_whole(oid, own, looks)

    def _decode(self, extent: Extent, path: str, view: memoryview, way: Way) -> None:
        if len(view) != extent.encoded.size:
            raise ShortFile(f"it has {extent.encoded.size} bytes, not {len(view)}")
        with reader(path, extent.offset, past_cache=way is Way.DIRECT) as (fd, read):
            self._codec.decode(extent.encoded, view, read)
            if way is Way.FLUSHED:
                # The bytes are in memory now: a second copy in the page cache is of no use.
                os.posix_fadvise(fd, extent.offset, extent.reserved, os.POSIX_FADV_DONTNEED)

    def _guarded(self, oid: bytes, path: str, read: Callable[[], None]) -> None:
        """Read, and tell what is damaged from what cannot be read now."""
        try:
            read()
        except FileNotFoundError as error:
            reason = "its file is gone"
            cause: Exception = error
        except (ChecksumMismatch, ShortFile) as error:
            reason, cause = str(error), error
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            reason, cause = f"the disk cannot read it ({error})", error
        else:
            return
        with self._lock:
            self._damaged += 1
        raise CorruptSpill(oid, path, reason) from cause

    def _path(self, number: int) -> str:
        """The file of a segment, under the lock."""
        return segment_path(self._directories[self._place(number).directory].directory, number)

    def _place(self, number: int) -> _Place:
        """Where a segment is, under the lock."""
        place = self._table.segments[number].place
        assert isinstance(place, _Place)
        return place

    # -- forgetting --

    def delete(self, oids: Iterable[bytes]) -> None:
        """Forget objects. See `Storage.delete`."""
        with self._lock:
            for oid in oids:
                self._copies.discard(oid)
                self._own_files.discard(oid)
                self._table.delete(oid)
        self._garbage.set()

    def _collect_forever(self) -> None:
        while True:
            self._garbage.wait()
            self._garbage.clear()
            if self._closed:
                return
            self._collect()

    def _collect(self, *, everything: bool = False) -> None:
        """Give back dead space."""
        with self._collecting:  # so that the space is free when this returns
            with self._lock:
                garbage = self._table.collect(everything=everything)
                unwanted = self._own_files.take_unwanted()
            for path in unwanted:
                _tell_failure(partial(own_files.remove, path))
            for piece in garbage:
                _tell_failure(partial(self._give_back, piece))

    def _give_back(self, garbage: Garbage) -> None:
        assert isinstance(garbage.place, _Place)
        path = segment_path(self._directories[garbage.place.directory].directory, garbage.segment)
        if garbage.ranges is None:
            Path(path).unlink(missing_ok=True)
            return
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for offset, size in garbage.ranges:
                punch(fd, offset, size)
        finally:
            os.close(fd)

    # -- the whole --

    def check(self) -> None:
        """Check that some directory can be written. See `Storage.check`."""
        failures: list[OSError] = []
        for home in self._directories:
            try:
                home.check()
            except OSError as error:
                failures.append(error)
        if len(failures) == len(self._directories):
            raise failures[0]

    def statistics(self) -> SpillStatistics:
        """Count what is kept."""
        with self._lock:
            now = self._clock()
            return SpillStatistics(
                **self._table.counted(),
                direct_bytes=self._own_files.allocated,
                allocated_bytes=self._table.allocated + self._own_files.allocated,
                damaged=self._damaged,
                directories_failing=sum(
                    self._rotation.resting(number, now) for number in range(len(self._directories))
                ),
            )

    def interrupt(self) -> None:
        """Do nothing: no call waits for long."""

    def close(self) -> None:
        """Remove the private directories with everything in them."""
        self._closed = True
        self._garbage.set()
        self._collector.join()
        for home in self._directories:
            home.close()


def _tell_failure(give_back: Callable[[], None]) -> None:
    try:
        give_back()
    except OSError as error:
        _log.warning("the space of deleted objects could not be given back: %s", error)


def _verify(extent: Extent, path: str) -> None:
    with reader(path, extent.offset) as (_, read):
        verify(extent.encoded, read)
