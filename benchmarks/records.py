"""Records to sort, like those of gensort's ASCII mode: made in parallel, always the same, checked.

A record has 100 bytes: a key of 10 random letters, digits, + and /; its number in 32 hexadecimal
digits; filler; a newline, and no other. Each thousandth record repeats the key before it, so that
sorting by a part of the key is not enough. What is checked is what valsort checks: the order, the
number of records, and a checksum over them that does not depend on their order. See
http://www.ordinal.com/gensort.html.

    python -m benchmarks.records FILE FIRST COUNT       writes these records at their place
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIZE = 100
#: Records that are made from one seed; parts of a file begin at multiples of it.
BLOCK = 100_000
_DUPLICATE_EVERY = 1_000

#: A record as sorting sees it: the key is ordered as two numbers.
RECORD = np.dtype([("head", ">u8"), ("tail", ">u2"), ("rest", f"V{SIZE - 10}")])

_LETTERS = np.frombuffer(
    b"+/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", np.uint8
)
_HEX = np.frombuffer(b"0123456789ABCDEF", np.uint8)
#: Odd multipliers for the words of a record, and one to mix their sum.
_FACTORS = np.random.Generator(np.random.SFC64(1)).integers(0, 1 << 64, 14, np.uint64) | 1


@dataclass(frozen=True, slots=True)
class Summary:
    """What is known of records whatever their order."""

    records: int
    checksum: int

    def __add__(self, other: Summary) -> Summary:
        checksum = (self.checksum + other.checksum) % (1 << 64)
        return Summary(self.records + other.records, checksum)


def generate(path: Path, count: int, processes: int) -> Summary:
    """Write a file of `count` records with several processes; return its summary."""
    blocks = -(-count // BLOCK)
    bounds = [blocks * part // processes * BLOCK for part in range(processes)] + [count]
    with path.open("wb") as file:
        file.truncate(count * SIZE)
    command = [sys.executable, "-m", "benchmarks.records", str(path)]
    children = [
        subprocess.Popen([*command, str(first), str(end - first)], stdout=subprocess.PIPE)
        for first, end in pairwise(bounds)
    ]
    total = Summary(0, 0)
    for child in children:
        output, _ = child.communicate()
        if child.returncode:
            raise RuntimeError(f"a generator of records ended with status {child.returncode}")
        total += Summary(*map(int, output.split()))
    return total


def check(paths: Iterable[Path], expected: Summary) -> int:
    """Check that files hold the expected records in order; return how many repeat a key.

    Raises:
        AssertionError: records are missing, wrong, or not in the order of their keys.
    """
    found, duplicates = Summary(0, 0), 0
    last = np.zeros(0, RECORD)
    for block in _blocks(paths):
        found += summary(block)
        joined = np.concatenate([last, block])
        heads, tails = joined["head"].astype(np.uint64), joined["tail"]
        same = heads[1:] == heads[:-1]
        if (heads[1:] < heads[:-1]).any() or (same & (tails[1:] < tails[:-1])).any():
            raise AssertionError(f"records are not in order, before number {found.records}")
        duplicates += int((same & (tails[1:] == tails[:-1])).sum())
        last = block[-1:]
    if found != expected:
        raise AssertionError(f"the output is {found}, it should be {expected}")
    least = expected.records // _DUPLICATE_EVERY
    if duplicates < least:
        raise AssertionError(f"{duplicates} records repeat a key, it should be {least} or more")
    return duplicates


def summary(records: NDArray[np.void]) -> Summary:
    """Return the summary of records: the sum of a hash of each, modulo 2**64."""
    raw = records.view(np.uint8).reshape(-1, SIZE)
    padded = np.zeros((len(raw), 104), np.uint8)
    padded[:, :SIZE] = raw
    words = padded.view(np.uint64)
    hashed = words @ _FACTORS[: words.shape[1]]
    hashed ^= hashed >> np.uint64(32)
    hashed *= _FACTORS[-1]
    hashed ^= hashed >> np.uint64(29)
    return Summary(len(raw), int(hashed.sum(dtype=np.uint64)))


def make(first: int, count: int) -> NDArray[np.void]:
    """Return records from number `first`, a multiple of `BLOCK`; at most `BLOCK` of them."""
    random = np.random.Generator(np.random.SFC64(first // BLOCK))
    letters = _LETTERS[random.integers(0, 64, (BLOCK, 24), np.uint8)][:count]
    raw = np.empty((count, SIZE), np.uint8)
    raw[:, :10] = letters[:, :10]
    repeated = np.arange(_DUPLICATE_EVERY - 1, count, _DUPLICATE_EVERY)
    raw[repeated, :10] = letters[repeated - 1, :10]
    numbers = np.arange(first, first + count, dtype=np.uint64)
    for digit in range(32):
        shift = np.uint64(4 * (31 - digit))
        value = (numbers >> shift) & np.uint64(15) if digit >= 16 else np.zeros_like(numbers)
        raw[:, 12 + digit] = _HEX[value]
    raw[:, 10:12] = raw[:, 44:46] = ord(" ")
    # 53 bytes of filler that repeat, as gensort's do: it compresses, but not to nothing.
    raw[:, 46:99] = np.repeat(letters[:, 10:], 4, axis=1)[:, :53]
    raw[:, 99] = ord("\n")
    return raw.reshape(-1).view(RECORD)


def _blocks(paths: Iterable[Path]) -> Iterator[NDArray[np.void]]:
    for path in paths:
        with path.open("rb") as file:
            while data := file.read(BLOCK * SIZE):
                if len(data) % SIZE:
                    raise AssertionError(f"{path} does not end with a whole record")
                yield np.frombuffer(data, RECORD)


def _write(path: Path, first: int, count: int) -> Summary:
    written = Summary(0, 0)
    fd = os.open(path, os.O_WRONLY)
    for start in range(first, first + count, BLOCK):
        block = make(start, min(BLOCK, first + count - start))
        os.pwrite(fd, block.tobytes(), start * SIZE)
        written += summary(block)
    os.close(fd)
    return written


if __name__ == "__main__":
    _made = _write(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(_made.records, _made.checksum)
