"""Heap memory on real processes: budgets, learned peaks, what is stopped and what is said then.

Tasks grow by a mebibyte at a time, with a pause, so that what they can add between two samples of
the monitor is known.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import psutil
import pytest

import millpond
from integration.conftest import MIB, eventually
from millpond.node.cgroup import MemoryGroup, limited_groups, oom_kills
from millpond.worker.peak_memory import own_memory

#: seconds between two steps of `hold`
PAUSE = 0.005


def hold(mebibytes: int) -> list[bytearray]:
    """Allocate so much, not faster than 1 MiB per `PAUSE`."""
    held = []
    for _ in range(mebibytes):
        held.append(bytearray(MIB))
        held[-1][::4096] = b"x" * 256
        time.sleep(PAUSE)
    return held


@millpond.remote
def use(mebibytes: int, *_: object) -> tuple[int, float, float]:
    """Use memory; return how much, and when that began and ended."""
    begun = time.monotonic()
    size = sum(map(len, hold(mebibytes)))
    return size // MIB, begun, time.monotonic()


def meet(place: Path, count: int) -> None:
    """Wait until so many tasks have begun; those that begin later, or again, do not wait."""
    with place.open("a") as file:
        file.write("x")
    while place.stat().st_size < count:
        time.sleep(PAUSE)


@millpond.remote(max_retries=1)
def use_together(mebibytes: int, place: Path, count: int, *_: object) -> int:
    """Use memory at the same time as others."""
    meet(place, count)
    return len(hold(mebibytes))


class Watch:
    """Samples, from outside, the memory that all workers have allocated since they were seen."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        self._stop = threading.Event()
        self.most = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.02):
            total = 0
            for process in me.children(recursive=True):
                with contextlib.suppress(OSError, psutil.Error):
                    own = own_memory(process.pid)
                    if own:
                        first = self._first.setdefault(process.pid, own)
                        total += max(own - first, 0)
            self.most = max(self.most, total)


@pytest.mark.parametrize("stored", [False, True])
def test_tasks_that_fit_alone_all_finish_within_the_budget(
    start: Callable[..., millpond.Context], tmp_path: Path, *, stored: bool
) -> None:
    start(num_cpus=8, memory=384 * MIB)
    argument = millpond.put(np.ones(MIB)) if stored else None
    with Watch() as watch:
        # Every one may be stopped several times; that is charged to none.
        refs = [use_together.remote(128, tmp_path / "begun", 8, argument) for _ in range(8)]
        assert millpond.get(refs) == [128] * 8
    # The last sample before the limit, and the time that killing a process takes.
    assert watch.most <= 384 * MIB + 8 * (0.2 / PAUSE) * MIB
    assert millpond.statistics().memory_kills >= 1


@pytest.mark.slow
def test_eight_gibibytes_within_three(
    start: Callable[..., millpond.Context], tmp_path: Path
) -> None:
    if psutil.virtual_memory().available < 5 << 30:
        pytest.skip("this machine has less than 5 GiB free")
    start(num_cpus=8, memory=3 << 30)
    with Watch() as watch:
        refs = [use_together.remote(1024, tmp_path / "begun", 8) for _ in range(8)]
        assert millpond.get(refs) == [1024] * 8
    assert watch.most <= (3 << 30) + 8 * (0.2 / PAUSE) * MIB


@pytest.mark.parametrize("stored", [False, True])
def test_what_was_seen_to_need_much_does_not_run_side_by_side(
    start: Callable[..., millpond.Context], *, stored: bool
) -> None:
    start(num_cpus=4, memory=192 * MIB)
    argument = millpond.put(np.ones(MIB)) if stored else None
    millpond.get(use.remote(128, argument))
    times = sorted(
        (begun, ended)
        for _, begun, ended in millpond.get([use.remote(128, argument) for _ in range(3)])
    )
    assert all(ended <= begun for (_, ended), (begun, _) in itertools.pairwise(times))
    assert millpond.statistics().memory_kills == 0


def test_declared_memory_bounds_how_many_run(start: Callable[..., millpond.Context]) -> None:
    start(num_cpus=4, memory=192 * MIB)
    declared = use.options(memory=128 * MIB)
    times = sorted(
        (begun, ended) for _, begun, ended in millpond.get([declared.remote(1) for _ in range(3)])
    )
    assert all(ended <= begun for (_, ended), (begun, _) in itertools.pairwise(times))


def test_a_task_that_needs_more_than_there_is_is_named_and_hurts_no_other(
    start: Callable[..., millpond.Context],
) -> None:
    start(num_cpus=3, memory=256 * MIB)
    small = [use.remote(i % 20) for i in range(60)]
    big = use.options(name="big").remote(400)
    with pytest.raises(millpond.OutOfMemoryError) as caught:
        millpond.get(big)
    text = str(caught.value)
    assert re.match(r"task big \([0-9a-f]{32}\) ran out of memory", text), text
    used = re.search(r"its process (\d+) used (\d+) MiB of heap when the memory=", text)
    assert used, text
    assert 240 <= int(used[2]) <= 400
    assert f"Most was used by: process {used[1]}, big: {used[2]} MiB" in text
    assert re.search(r"\(\d+ MiB of 256 MiB\)", text), text
    assert "smaller pieces" in text
    assert isinstance(caught.value, MemoryError)
    assert [size for size, _, _ in millpond.get(small)] == [i % 20 for i in range(60)]


def test_more_than_was_declared_is_refused_at_once(
    start: Callable[..., millpond.Context], tmp_path: Path
) -> None:
    start()
    runs = tmp_path / "runs"

    @millpond.remote(memory=64 * MIB)
    def greedy() -> None:
        with runs.open("a") as file:
            file.write("x")
        hold(1000)

    @millpond.remote(memory=150 * MIB)
    def honest() -> int:
        return len(hold(140))

    both = greedy.remote(), honest.remote()
    with pytest.raises(
        millpond.OutOfMemoryError,
        match=r"greedy .* used \d+ MiB of heap, more than the 64 MiB that it declared.*larger mem",
    ):
        millpond.get(both[0])
    assert runs.read_text() == "x"
    assert millpond.get(both[1]) == 140
    assert millpond.statistics().memory_kills == 1


def test_what_a_task_imports_is_not_what_it_declared(
    start: Callable[..., millpond.Context], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large_module.py").write_text(
        "import time\n"
        "kept = []\n"
        "for _ in range(150):\n"
        "    kept.append(bytearray(b'x') * (1 << 20))\n"
        "    time.sleep(0.005)\n"  # so that it is seen while it grows
    )
    monkeypatch.syspath_prepend(tmp_path)
    start(num_cpus=1)

    @millpond.remote(memory=64 * MIB)
    def importing(mebibytes: int) -> int:
        import large_module

        return len(large_module.kept) + len(hold(mebibytes))

    assert millpond.get(importing.remote(50)) == 200
    assert millpond.get(Importer.options(memory=64 * MIB).remote().use.remote(50)) == 200
    assert millpond.statistics().memory_kills == 0
    with pytest.raises(millpond.OutOfMemoryError, match="more than the 64 MiB that it declared"):
        millpond.get(importing.remote(150))


def test_memory_that_a_worker_had_is_not_the_fault_of_who_comes_next(
    start: Callable[..., millpond.Context],
) -> None:
    start(num_cpus=1)

    @millpond.remote
    def fill() -> None:
        sys.kept = hold(100)  # type: ignore[attr-defined]

    millpond.get(fill.remote())
    assert millpond.get(use.options(memory=64 * MIB).remote(60))[0] == 60
    actor = Hoarder.options(memory=64 * MIB).remote()
    assert millpond.get([actor.add.remote(30), actor.add.remote(30)]) == [30, 60]
    with pytest.raises(millpond.ActorDiedError, match="more than the 64 MiB that it declared"):
        millpond.get(actor.add.remote(100))


def test_what_idle_workers_kept_is_taken_from_them(
    start: Callable[..., millpond.Context],
) -> None:
    start(num_cpus=2, memory=256 * MIB)

    @millpond.remote
    def fill() -> int:
        sys.kept = hold(150)  # type: ignore[attr-defined]
        return os.getpid()

    pid = millpond.get(fill.remote())
    eventually(lambda: psutil.pid_exists(pid), "the worker idles")
    sizes = millpond.get([use.remote(200) for _ in range(3)])
    assert [size for size, _, _ in sizes] == [200] * 3


def test_who_may_not_run_twice_fails(
    start: Callable[..., millpond.Context], tmp_path: Path
) -> None:
    start(num_cpus=4, memory=256 * MIB)
    runs = tmp_path / "runs"

    @millpond.remote(max_retries=0)
    def once(mebibytes: int) -> int:
        meet(runs, 3)
        return len(hold(mebibytes))

    refs = [once.remote(150) for _ in range(3)]
    outcomes = []
    for ref in refs:
        try:
            outcomes.append(millpond.get(ref))
        except millpond.OutOfMemoryError as error:
            assert "max_retries=0" in str(error)  # noqa: PT017
            outcomes.append(-1)
    assert 150 in outcomes, "the oldest goes on"
    assert -1 in outcomes
    assert runs.read_text() == "xxx"


@millpond.remote
class Importer:
    def use(self, mebibytes: int) -> int:
        import large_module

        return len(large_module.kept) + len(hold(mebibytes))


@millpond.remote
class Hoarder:
    def __init__(self) -> None:
        self.held: list[list[bytearray]] = []

    def add(self, mebibytes: int) -> int:
        self.held.append(hold(mebibytes))
        return sum(map(len, self.held))


@pytest.mark.parametrize("declared", [None, 64 * MIB])
def test_an_actor_that_grows_too_much_dies_with_the_reason(
    start: Callable[..., millpond.Context], declared: int | None
) -> None:
    start(memory=128 * MIB)
    actor = Hoarder.options(memory=declared).remote()
    assert millpond.get(actor.add.remote(30)) == 30
    expected = r"Hoarder.add failed.*is dead: its process \d+ used \d+ MiB of heap" + (
        " when the memory= that" if declared is None else ", more than the 64 MiB that it decl"
    )
    with pytest.raises(millpond.ActorDiedError, match=expected):
        millpond.get(actor.add.remote(300))


@pytest.fixture
def container(tmp_path: Path) -> Iterator[MemoryGroup]:
    """A memory cgroup of 1 GiB below the one that this process is in."""
    parent, version = own_group()
    group = MemoryGroup(parent / f"millpond-test-{os.getpid()}", version, 1 << 30)
    try:
        group.directory.mkdir()
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        (group.directory / name).write_text(str(group.limit))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.directory.rmdir()
        pytest.skip(f"no cgroup can be made here: {error}")
    yield group
    eventually(lambda: removed(group.directory), "everything in the group has ended")


def own_group() -> tuple[Path, int]:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return Path("/sys/fs/cgroup/memory", path.lstrip("/")), 1
    path = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
    return Path("/sys/fs/cgroup", path.lstrip("/")), 2


def removed(directory: Path) -> bool:
    with contextlib.suppress(OSError):
        directory.rmdir()
    return not directory.exists()


INSIDE = """
import os, sys
sys.path[:0] = eval(sys.argv[2])
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
import millpond
from integration.conftest import MIB
from integration.test_heap import use_together
from pathlib import Path
from millpond.node.cgroup import limited_groups
assert limited_groups()[0].limit == 1 << 30, limited_groups()
millpond.init(num_cpus=6, object_store_memory=64 * MIB, preload=[], {settings})
refs = [use_together.remote(250, Path(sys.argv[3]), 6) for _ in range(8)]
assert millpond.get(refs) == [250] * 8
print(millpond.statistics().memory_kills)
millpond.shutdown()
"""


def run_inside(group: MemoryGroup, place: Path, settings: str) -> int:
    """Run more tasks than fit into a container; return how many workers were stopped."""
    source = INSIDE.format(settings=settings)
    command = [sys.executable, "-c", source, str(group.directory), repr(sys.path), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.slow
def test_in_a_container_the_kernel_kills_nothing(container: MemoryGroup, tmp_path: Path) -> None:
    assert run_inside(container, tmp_path / "begun", "") >= 1
    assert oom_kills([container]) == 0


@pytest.mark.slow
def test_what_the_kernel_kills_runs_again(container: MemoryGroup, tmp_path: Path) -> None:
    """With a threshold that is never passed, the kernel is the first to act."""
    stopped = run_inside(container, tmp_path / "begun", "memory_threshold=1.0")
    assert stopped == oom_kills([container]) >= 1


def test_the_limits_of_this_process_are_found() -> None:
    assert all(group.used() > 0 for group in limited_groups())
