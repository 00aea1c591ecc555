"""The memory limits that the kernel sets this process: cgroups v1 and v2, nested ones included.

A process is in one group, and bound by the limits of all groups above it as well. What counts as
used leaves out the page cache, which the kernel takes back before it kills anybody: a node that
spills fills that up to the limit.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["MemoryGroup", "available_memory", "limited_groups", "oom_kills"]

#: a limit in bytes beyond this means none; v1 says "none" by a number near 2**63
_NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """One cgroup with a memory limit.

    Attributes:
        directory: its files.
        version: 1 or 2.
        limit: bytes.
    """

    directory: Path
    version: int
    limit: int

    def used(self) -> int:
        """Return the bytes in use that the kernel cannot simply take back.

        Raises:
            OSError: the group is gone.
        """
        name = "memory.current" if self.version == 2 else "memory.usage_in_bytes"
        usage = int((self.directory / name).read_text())
        prefix = "" if self.version == 2 else "total_"
        cache = (f"{prefix}inactive_file", f"{prefix}active_file")
        return max(0, usage - sum(_numbers(self.directory / "memory.stat", cache)))


def available_memory() -> int:
    """Return the bytes of memory that this process could still take, with nobody killed for it.

    It is the least of what the machine has left and what the limits of the container (control
    group) leave, in which this process runs. Files in the page cache do not count as used. Needs
    no session.
    """
    free = [psutil.virtual_memory().available]
    for group in limited_groups():
        with contextlib.suppress(OSError, ValueError):  # the group is gone
            free.append(max(0, group.limit - group.used()))
    return int(min(free))


def limited_groups(process: Path = Path("/proc/self")) -> list[MemoryGroup]:
    """Return the groups whose memory limits bind a process, the innermost first.

    Args:
        process: its directory in /proc.
    """
    try:
        memberships = (process / "cgroup").read_text().splitlines()
        mounts = (process / "mountinfo").read_text().splitlines()
    except OSError:
        return []
    groups: list[MemoryGroup] = []
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            version = 2
        elif "memory" in controllers.split(","):
            version = 1
        else:
            continue
        mount = _mount(mounts, version)
        if mount is not None:
            groups += _groups_above(*mount, path, version)
    return groups


def oom_kills(groups: list[MemoryGroup]) -> int:
    """Return how many processes the kernel has killed for lack of memory.

    Args:
        groups: those that are counted; the whole machine when there are none.
    """
    files = [
        group.directory / ("memory.events" if group.version == 2 else "memory.oom_control")
        for group in groups
    ]
    try:
        return sum(sum(_numbers(file, ("oom_kill",))) for file in files or [Path("/proc/vmstat")])
    except (OSError, ValueError):
        return 0


def _mount(mounts: list[str], version: int) -> tuple[Path, str] | None:
    """Return where the hierarchy is mounted, and which of its groups is seen there."""
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if version == 2:
            found = kind[0] == "cgroup2"
        else:
            found = kind[0] == "cgroup" and "memory" in kind[2].split(",")
        if found:
            return Path(fields[4]), fields[3]
    return None


def _groups_above(mount: Path, root: str, path: str, version: int) -> list[MemoryGroup]:
    """Return the limited groups from the process's own up to the one that is mounted."""
    inside = path.removeprefix(root) if root != "/" else path
    directory = mount / inside.lstrip("/")
    if not directory.is_dir():  # a container sees its own group at the mount, under another name
        directory = mount
    groups = []
    for place in (directory, *directory.parents):
        limit = _limit(place, version)
        if limit is not None:
            groups.append(MemoryGroup(place, version, limit))
        if place == mount:
            break
    return groups


def _limit(directory: Path, version: int) -> int | None:
    name = "memory.max" if version == 2 else "memory.limit_in_bytes"
    try:
        limit = int((directory / name).read_text())
    except (OSError, ValueError):  # no such file in the root; "max" is no limit
        return None
    return limit if 0 < limit < _NO_LIMIT else None


def _numbers(path: Path, names: tuple[str, ...]) -> list[int]:
    """Return the values of some lines "name value" of a file."""
    lines = (line.split() for line in path.read_text().splitlines())
    return [int(line[1]) for line in lines if len(line) == 2 and line[0] in names]
