"""How fast spilling is beside the bare disk: ``python -m benchmarks.spilling [DIRECTORY]``.

Measures the storage alone, without an engine around it: writing and reading back, from a cold page
cache, whole sets of objects, against one plain file of the same bytes. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xxhash

from millpond.objectstore.fileio import write_file
from millpond.objectstore.spill.local import LocalStorage

MIB = 1 << 20
#: written at once, as the node does
BATCH = 32 * MIB


def seconds(work: Callable[[], object]) -> float:
    """The time that something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def forget(directory: Path) -> None:
    """Write everything below a directory to the disk, and drop it from the page cache."""
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """An empty directory, removed afterwards."""
    directory = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def plain(parent: Path, content: memoryview) -> tuple[float, float]:
    """One file, written and read sequentially: what the disk can do."""
    with scratch(parent) as directory:
        path = directory / "file"

        def write() -> None:
            with path.open("wb") as file:
                for start in range(0, len(content), BATCH):
                    file.write(content[start : start + BATCH])
                file.flush()
                os.fsync(file.fileno())

        back = memoryview(bytearray(8 * MIB))

        def read() -> None:
            with path.open("rb", buffering=0) as file:
                while file.readinto(back):
                    pass

        written = seconds(write)
        forget(directory)
        return written, seconds(read)


def one_file_each(parent: Path, objects: dict[bytes, memoryview]) -> tuple[float, float]:
    """A file for every object."""
    with scratch(parent) as directory:

        def write() -> None:
            for name, view in objects.items():
                write_file(directory / name.hex(), [view])
            sync(directory)

        back = memoryview(bytearray(max(map(len, objects.values()))))

        def read() -> None:
            for name, view in objects.items():
                with (directory / name.hex()).open("rb", buffering=0) as file:
                    file.readinto(back[: len(view)])

        written = seconds(write)
        forget(directory)
        return written, seconds(read)


def spilled(
    parent: Path, objects: dict[bytes, memoryview], compression: str | None = None
) -> tuple[float, float]:
    """The storage of the engine."""
    with scratch(parent) as directory:
        storage = LocalStorage([directory], compression=compression)

        def write() -> None:
            batch: list[tuple[bytes, memoryview]] = []
            for item in objects.items():
                batch.append(item)
                if sum(len(view) for _, view in batch) >= BATCH:
                    storage.write(batch)
                    batch = []
            if batch:
                storage.write(batch)
            sync(directory)

        back = memoryview(bytearray(max(map(len, objects.values()))))

        def read() -> None:
            for name, view in objects.items():
                storage.read_into(name, back[: len(view)])

        written = seconds(write)
        forget(directory)
        restored = seconds(read)
        storage.close()
        return written, restored


def sync(directory: Path) -> None:
    """Wait until the disk has everything: every way of writing is measured to the same end."""
    for path in directory.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", default=tempfile.gettempdir(), type=Path)
    parser.add_argument("--mib", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    size = given.mib * MIB
    noise = np.random.default_rng(0).integers(0, 1 << 12, size // 8, dtype=np.int64)
    content = memoryview(noise).cast("B")  # numbers: a third of the bytes says something

    def cut(each: int) -> dict[bytes, memoryview]:
        count = len(content) // each
        return {i.to_bytes(8, "big"): content[i * each : (i + 1) * each] for i in range(count)}

    small, medium, large = cut(100_000), cut(4 * MIB), cut(100 * MIB)
    ways: dict[str, Callable[[], tuple[float, float]]] = {
        "one plain file": lambda: plain(given.directory, content),
        "100 MiB objects": lambda: spilled(given.directory, large),
        "4 MiB objects": lambda: spilled(given.directory, medium),
        "100 kB objects, fused": lambda: spilled(given.directory, small),
        "100 kB objects, one file each": lambda: one_file_each(given.directory, small),
        "4 MiB objects, lz4": lambda: spilled(given.directory, medium, "lz4"),
        "4 MiB objects, zstd": lambda: spilled(given.directory, medium, "zstd"),
    }
    print("| way | write, MB/s | read, MB/s |\n| --- | --- | --- |")
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(given.repeat):  # in turns: a disk has its moods
        for name, way in ways.items():
            results[name].append(way())
    for name, pairs in results.items():
        written, read = (
            size / 1e6 / float(np.median(column)) for column in zip(*pairs, strict=True)
        )
        print(f"| {name} | {written:.0f} | {read:.0f} |")
    for name, check in (("xxh3", xxhash.xxh3_64_intdigest), ("crc32 of zlib", zlib.crc32)):
        took = min(seconds(lambda check=check: check(content)) for _ in range(3))  # type: ignore[misc]
        print(f"| checksum: {name} | {size / 1e6 / took:.0f} | |")


if __name__ == "__main__":
    main()
