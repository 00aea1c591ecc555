from __future__ import annotations

from pathlib import Path

import psutil
import pytest

import millpond
from millpond.node import cgroup
from millpond.node.cgroup import MemoryGroup


def group(directory: Path, limit: int, used: int, cache: int = 0) -> MemoryGroup:
    directory.mkdir()
    (directory / "memory.current").write_text(f"{used + cache}\n")
    (directory / "memory.stat").write_text(f"anon {used}\ninactive_file {cache}\nactive_file 0\n")
    return MemoryGroup(directory, 2, limit)


def test_the_tightest_limit_says_what_is_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = psutil.virtual_memory().total
    groups: list[MemoryGroup] = []
    monkeypatch.setattr(cgroup, "limited_groups", lambda: groups)
    assert 0 < millpond.available_memory() <= machine
    groups.append(group(tmp_path / "outer", 2 * machine, 500))
    assert millpond.available_memory() <= machine
    groups.append(group(tmp_path / "inner", 10_000, 3_000, cache=5_000))
    assert millpond.available_memory() == 7_000
    groups.append(MemoryGroup(tmp_path / "gone", 2, 10))
    assert millpond.available_memory() == 7_000
    groups.append(group(tmp_path / "over", 10_000, 12_000))
    assert millpond.available_memory() == 0
