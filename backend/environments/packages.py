"""Directories and modules as packages: which files, their bytes and digest, and unpacked again.

A package is a list of entries and the bytes of all files, one after the other. What is listed is
compared with what was listed before, so that an unchanged directory is read once. Links are
followed: where a package goes, there is nothing for them to point to.
"""

from __future__ import annotations

import mmap
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from ..errors import RuntimeEnvError
from .excludes import ALWAYS, Excludes

__all__ = [
    "MOST_BYTES",
    "Contents",
    "Entry",
    "Listed",
    "list_directory",
    "list_module",
    "read_package",
    "unpack",
]

#: of the files of a package
MOST_BYTES: Final = 512 << 20
_DIGEST_BYTES: Final = 16
_CHUNK: Final = 1 << 20

#: path with slashes, ending with one if it is a directory; bytes; whether it can be executed
Entry = tuple[str, int, bool]


@dataclass(frozen=True, slots=True)
class Listed:
    """A file or directory that goes into a package; equal as long as it looks unchanged."""

    path: str
    source: str
    size: int
    modified: int
    inode: int
    executable: bool


@dataclass(frozen=True, slots=True)
class Contents:
    """All of a package.

    Attributes:
        entries: its files and directories; these come before what is in them.
        data: the bytes of the files.
        digest: of both.
    """

    entries: list[Entry]
    data: mmap.mmap | bytes
    digest: bytes


def list_directory(
    directory: str, excludes: Sequence[str] = (), most_bytes: int = MOST_BYTES
) -> list[Listed]:
    """List what goes into the package of a working directory.

    Args:
        directory: an absolute path.
        excludes: patterns of what is left out.
        most_bytes: what its files may have together.

    Raises:
        RuntimeEnvError: there is no such directory, it cannot be read, or is too large.
    """
    if not os.path.isdir(directory):  # noqa: PTH112 - it is a string all the way
        raise RuntimeEnvError(f"working_dir: there is no directory {directory} on {_host()}")
    return _list("working_dir", directory, "", Excludes([*ALWAYS, *excludes]), most_bytes)


def list_module(path: str, most_bytes: int = MOST_BYTES) -> list[Listed]:
    """List what goes into the package of a module: a file, or a directory with all that is in it.

    Args:
        path: an absolute path.
        most_bytes: what its files may have together.

    Raises:
        RuntimeEnvError: there is no such thing, it cannot be read, or is too large.
    """
    name = os.path.basename(path)  # noqa: PTH119 - it is a string all the way
    if os.path.isdir(path):  # noqa: PTH112
        return _list("py_modules", path, f"{name}/", Excludes(ALWAYS), most_bytes)
    try:
        listed = _listed(name, path, os.stat(path))  # noqa: PTH116
    except OSError as error:
        raise RuntimeEnvError(
            f"py_modules: {path} cannot be read on {_host()}: {error.strerror}"
        ) from None
    _check_size("py_modules", path, [listed], most_bytes)
    return [listed]


def _list(
    key: str, directory: str, prefix: str, excludes: Excludes, most_bytes: int
) -> list[Listed]:
    try:
        found = list(_walk(directory, prefix, excludes, ()))
    except OSError as error:
        raise RuntimeEnvError(
            f"{key}: {error.filename} cannot be read: {error.strerror}. Make it readable, or leave "
            "it out with excludes"
        ) from None
    found.sort(key=lambda each: each.path)
    _check_size(key, directory, found, most_bytes)
    return found


def _walk(
    directory: str, prefix: str, excludes: Excludes, above: tuple[tuple[int, int], ...]
) -> Iterator[Listed]:
    status = os.stat(directory)  # noqa: PTH116
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a link to a directory that it is in
        return
    if prefix:
        yield Listed(prefix, directory, 0, 0, 0, executable=True)
    with os.scandir(directory) as children:
        for child in children:
            try:
                status = child.stat()
            except FileNotFoundError:  # a link to nothing, or deleted meanwhile
                continue
            path = prefix + child.name
            is_directory = stat.S_ISDIR(status.st_mode)
            if excludes(path, is_directory=is_directory):
                continue
            if is_directory:
                yield from _walk(child.path, f"{path}/", excludes, (*above, identity))
            elif stat.S_ISREG(status.st_mode):
                yield _listed(path, child.path, status)


def _listed(path: str, source: str, status: os.stat_result) -> Listed:
    executable = bool(status.st_mode & stat.S_IXUSR)
    return Listed(path, source, status.st_size, status.st_mtime_ns, status.st_ino, executable)


def _check_size(key: str, path: str, found: list[Listed], most_bytes: int) -> None:
    size = sum(each.size for each in found)
    if size > most_bytes:
        largest = max(found, key=lambda each: each.size)
        raise RuntimeEnvError(
            f"{key}: the files of {path} have {size} bytes, and at most {most_bytes} can be sent; "
            f"the largest is {largest.path} with {largest.size}. Leave out with excludes what "
            "tasks do not need, and have them read data from where every machine can: a shared "
            "directory, a bucket, or the object store (millpond.put)"
        )


def read_package(listed: Sequence[Listed], scratch: str) -> Contents:
    """Read all files that were listed.

    Args:
        listed: what goes into the package.
        scratch: a directory for a temporary file.

    Raises:
        RuntimeEnvError: a file cannot be read.
    """
    digest = blake2b(digest_size=_DIGEST_BYTES)
    entries: list[Entry] = []
    with tempfile.TemporaryFile(dir=scratch) as together:
        for each in listed:
            size = 0
            if not each.path.endswith("/"):
                try:
                    for chunk in _chunks(each):
                        together.write(chunk)
                        digest.update(chunk)
                        size += len(chunk)
                except OSError as error:
                    raise RuntimeEnvError(
                        f"runtime_env: {each.source} cannot be read: {error.strerror}"
                    ) from None
            entries.append((each.path, size, each.executable))
        together.flush()
        total = together.tell()
        data = mmap.mmap(together.fileno(), total, prot=mmap.PROT_READ) if total else b""
    names = [(os.fsencode(path), size, executable) for path, size, executable in entries]
    digest.update(msgspec.msgpack.encode(names))
    return Contents(entries, data, digest.digest())


def _chunks(listed: Listed) -> Iterator[bytes]:
    """Yield the bytes of a file, of one that grows as many as were listed."""
    left = listed.size
    with open(listed.source, "rb") as file:  # noqa: PTH123 - it is a string all the way
        while left and (chunk := file.read(min(left, _CHUNK))):
            yield chunk
            left -= len(chunk)


def unpack(directory: Path, entries: Sequence[Entry], data: memoryview) -> None:
    """Make a directory of a package; it is there when all of it is.

    Raises:
        OSError: it cannot be written.
    """
    partial = directory.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of somebody who died or failed
    partial.mkdir()
    position = 0
    for path, size, executable in entries:
        target = partial / path
        if path.endswith("/"):
            target.mkdir()
            continue
        target.write_bytes(data[position : position + size])
        position += size
        if executable:
            target.chmod(0o755)
    partial.rename(directory)


def _host() -> str:
    return os.uname().nodename
