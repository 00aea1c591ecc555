from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

from millpond.node.mapped_files import forget_mapped_files

SCRIPT = """
import ctypes, mmap, re, sys
from millpond.node.mapped_files import forget_mapped_files

def resident():
    with open("/proc/self/smaps_rollup") as rollup:
        return int(re.search(r"Pss_File: +([0-9]+)", rollup.read())[1])

import pandas
before = resident()
forget_mapped_files()
after = resident()
assert after < before / 2, (before, after)
assert pandas.DataFrame({"a": [1, 2]}).sum()["a"] == 3
"""


def test_files_are_mapped_no_more_and_can_be_used() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)


def test_what_was_changed_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * mmap.PAGESIZE)
    with path.open("rb") as file:
        private = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    with private:
        private[:1] = b"b"
        forget_mapped_files()
        assert private[:2] == b"ba"
