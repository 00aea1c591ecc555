from __future__ import annotations

from pathlib import Path

import pytest

from millpond.node.cgroup import MemoryGroup, limited_groups, oom_kills

GIB = 1 << 30
NONE_V1 = 9223372036854771712


class Machine:
    """A /proc/self and cgroup mounts made of files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process = root / "proc"
        self.process.mkdir()
        self.mounts: list[str] = ["22 1 0:5 / /proc rw - proc proc rw"]
        self.memberships: list[str] = []

    def mount(self, version: int, shown: str = "/") -> Path:
        place = self.root / f"v{version}"
        place.mkdir()
        end = "cgroup2 cgroup2 rw" if version == 2 else "cgroup cgroup rw,memory"
        self.mounts.append(f"35 31 0:32 {shown} {place} rw,relatime shared:9 - {end}")
        return place

    def groups(self) -> list[MemoryGroup]:
        (self.process / "cgroup").write_text("\n".join(self.memberships) + "\n")
        (self.process / "mountinfo").write_text("\n".join(self.mounts) + "\n")
        return limited_groups(self.process)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def limit(group: Path, value: object, name: str = "memory.max") -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / name).write_text(f"{value}\n")


def test_limits_of_nested_groups_all_bind(machine: Machine) -> None:
    top = machine.mount(2)
    machine.memberships = ["0::/a/b/c"]
    limit(top / "a", 2 * GIB)
    limit(top / "a/b", "max")
    limit(top / "a/b/c", GIB)
    inner, outer = machine.groups()
    assert (inner.directory, inner.version, inner.limit) == (top / "a/b/c", 2, GIB)
    assert (outer.directory, outer.limit) == (top / "a", 2 * GIB)


def test_version_1_beside_a_version_2_without_memory(machine: Machine) -> None:
    top = machine.mount(1)
    machine.mount(2)
    machine.memberships = ["8:pids:/x", "4:memory:/job/1", "0::/"]
    limit(top, NONE_V1, "memory.limit_in_bytes")
    limit(top / "job", NONE_V1, "memory.limit_in_bytes")
    limit(top / "job/1", GIB, "memory.limit_in_bytes")
    (group,) = machine.groups()
    assert (group.directory, group.version, group.limit) == (top / "job/1", 1, GIB)


@pytest.mark.parametrize("shown", ["/", "/docker/abc"])
def test_a_container_sees_its_own_group_at_the_mount(machine: Machine, shown: str) -> None:
    """Without a cgroup namespace the path is the host's, and is not found below the mount."""
    top = machine.mount(1, shown)
    machine.memberships = ["4:memory:/docker/abc"]
    limit(top, GIB, "memory.limit_in_bytes")
    (group,) = machine.groups()
    assert group.directory == top


def test_groups_below_what_is_mounted(machine: Machine) -> None:
    top = machine.mount(2, "/docker/abc")
    machine.memberships = ["0::/docker/abc/inner"]
    limit(top / "inner", GIB)
    (group,) = machine.groups()
    assert group.directory == top / "inner"


def test_a_machine_without_groups_or_without_proc(machine: Machine, tmp_path: Path) -> None:
    machine.memberships = ["0::/"]
    assert machine.groups() == []
    assert limited_groups(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    ("version", "usage", "prefix"),
    [(1, "memory.usage_in_bytes", "total_"), (2, "memory.current", "")],
)
def test_the_page_cache_is_not_used_memory(
    tmp_path: Path, version: int, usage: str, prefix: str
) -> None:
    (tmp_path / usage).write_text("1000\n")
    (tmp_path / "memory.stat").write_text(
        f"{prefix}active_file 100\nshmem 7\n{prefix}inactive_file 200\nlimit 8 9\n"
    )
    assert MemoryGroup(tmp_path, version, GIB).used() == 700


def test_kills_of_the_kernel_are_counted(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\noom 5\noom_kill 3\n")
    (tmp_path / "memory.oom_control").write_text("under_oom 0\noom_kill 2\n")
    groups = [MemoryGroup(tmp_path, 2, GIB), MemoryGroup(tmp_path, 1, GIB)]
    assert oom_kills(groups) == 5
    assert oom_kills([MemoryGroup(tmp_path / "gone", 2, GIB)]) == 0
    assert oom_kills([]) >= 0, "the machine's"
