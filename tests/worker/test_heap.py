from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: what a process does, after what it is told to do first: the same work twice; it prints how many
#: pages the second time had to be made
_TWICE = """
import os, resource
from millpond.worker.heap import keep_freed_memory, return_freed_memory
from millpond.worker.peak_memory import own_memory

def work():
    blocks = [bytearray(8 << 20) for _ in range(4)]

{first}
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
{last}
"""
#: pages of 32 MiB
_PAGES = (32 << 20) // os.sysconf("SC_PAGE_SIZE")


def run(first: str, last: str = "print(faults)", **variables: str) -> int:
    given = {**os.environ, **variables}
    code = _TWICE.format(first=first, last=last)
    ran = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


def test_what_is_freed_is_there_the_next_time() -> None:
    # Without, glibc keeps two of the four blocks at most. (With huge pages there are few faults.)
    assert run("keep_freed_memory()") < _PAGES // 20


def test_what_is_kept_can_be_given_back() -> None:
    # Twice: what the process has anew since its start is no concern of the heap.
    last = """
kept = own_memory()
return_freed_memory()
print(kept - own_memory())
"""
    assert run("keep_freed_memory()", last) > 30 << 20


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_settings_of_the_environment_stay(name: str) -> None:
    # Every one of these blocks goes back to the kernel, and comes anew from there.
    assert run("keep_freed_memory()", **{name: "1048576"}) > _PAGES // 2
