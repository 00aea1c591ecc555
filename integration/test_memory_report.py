"""Who holds the memory, as users see it: reports, errors of a full store, warnings."""

from __future__ import annotations

import inspect
import os
import shutil
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import millpond
from integration.cluster_support import needs_cluster
from integration.conftest import MIB, eventually
from millpond.errors import ObjectStoreFullError
from millpond.testing import Cluster

Start = Callable[..., millpond.Context]


def block(mib: int, value: int = 1) -> np.ndarray:
    return np.full(mib * MIB, value, dtype=np.uint8)


@millpond.remote
def make(mib: int) -> np.ndarray:
    return block(mib)


def line() -> int:
    """The line of the caller."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def test_every_object_is_listed_with_where_it_came_from(start: Start) -> None:
    start(object_store_memory=64 * MIB)
    put = millpond.put(block(3)); put_line = line()  # fmt: skip  # noqa: E702
    made = make.remote(2); made_line = line()  # fmt: skip  # noqa: E702
    small = [millpond.put(number) for number in range(5)]
    millpond.wait([made])

    report = millpond.memory()

    first, second = report.objects
    assert (first.id, second.id) == (put.hex(), made.hex())
    assert 3 * MIB < first.size < 3 * MIB + 1000
    name = "test_every_object_is_listed_with_where_it_came_from"
    assert first.call_site == f"{__file__}:{put_line} in {name}"
    assert second.call_site == f"{__file__}:{made_line} in {name}"
    assert (first.made_by, second.made_by) == ("put", "make")
    assert {first.state, second.state} == {"in memory"}
    assert (first.owner.role, first.owner.pid) == ("driver", os.getpid())
    assert first.refs == 1
    assert report.total_objects == 2
    assert report.total_bytes == first.size + second.size
    (me,) = [owner for owner in report.owners if owner.process.role == "driver"]
    assert me.inline_objects == len(small)
    assert put.hex() in str(report)


def test_pins_and_borrowers_are_told(start: Start) -> None:
    start()
    ref = millpond.put(block(2))
    array = millpond.get(ref)

    @millpond.remote
    class Keeper:
        def keep(self, refs: list[Any]) -> int:
            self.array = millpond.get(refs[0])
            self.refs = refs
            return os.getpid()

    keeper = Keeper.remote()
    pid = millpond.get(keeper.keep.remote([ref]))
    (row,) = millpond.memory().objects
    pins = {(pins.process.role, pins.process.pid): pins.count for pins in row.pins}
    assert pins == {("driver", os.getpid()): 1, ("actor", pid): 1}
    assert row.borrowers == 1
    del ref, array
    millpond.kill(keeper)


def test_what_is_read_after_its_ref_died_keeps_its_origin(start: Start) -> None:
    start()
    array = millpond.get(make.remote(2))
    eventually(lambda: millpond.memory().objects[0].refs == 0, "the ref is gone")
    (row,) = millpond.memory().objects
    assert (row.state, row.made_by) == ("deleted, in use", "make")
    assert row.call_site is not None
    assert row.pins[0].process.pid == os.getpid()
    del array


def test_spilled_objects_are_listed(start: Start, tmp_path: Path) -> None:
    start(object_store_memory=16 * MIB, spill=tmp_path)
    refs = [millpond.put(block(4, value)) for value in range(8)]
    report = millpond.memory()
    assert report.total_objects == 8
    spilled = [row for row in report.objects if row.state == "spilled"]
    assert spilled
    assert all(row.in_file and not row.in_memory for row in spilled)
    assert sum(row.size for row in report.objects if row.in_memory) <= 16 * MIB
    assert report.spill_location == str(tmp_path)
    assert report.spill_free_bytes
    del refs


def test_large_arguments_are_told_from_what_was_put(start: Start) -> None:
    start()

    @millpond.remote
    def look(array: np.ndarray) -> list[tuple[str | None, str | None]]:
        return [(row.made_by, row.call_site) for row in millpond.memory().objects]

    ((made_by, site),) = millpond.get(look.remote(block(1)))
    assert made_by == f"arguments of {look._name}"
    assert site is not None
    assert site.startswith(__file__)


def test_a_task_can_ask_and_owns_what_it_put(start: Start) -> None:
    start()
    ref = millpond.put(block(2))

    @millpond.remote
    def look() -> tuple[int, millpond.MemoryReport]:
        own = millpond.put(block(1))
        report = millpond.memory(limit=5)
        del own
        return os.getpid(), report

    pid, report = millpond.get(look.remote())
    theirs, mine = report.objects
    assert (theirs.owner.role, theirs.owner.pid) == ("driver", os.getpid())
    assert (mine.owner.role, mine.owner.pid) == ("worker", pid)
    assert mine.call_site is not None
    assert mine.call_site.endswith("look")
    del ref


def test_rows_can_be_limited_sorted_and_grouped(start: Start) -> None:
    start()
    refs = [millpond.put(block(size)) for size in (1, 3, 2)]
    refs += [make.remote(4)]
    millpond.wait(refs[3:])
    sizes = [row.size // MIB for row in millpond.memory(limit=2).objects]
    assert sizes == [4, 3]
    sizes = [row.size // MIB for row in millpond.memory(sort="age", limit=None).objects]
    assert sizes == [1, 3, 2, 4]
    groups = millpond.memory(group_by="call_site", limit=1).groups
    assert [(group.objects, group.size // MIB, group.made_by) for group in groups] == [
        (3, 6, ("put",))
    ]
    assert [group.key for group in millpond.memory(group_by="made_by").groups] == ["put", "make"]


def test_wrong_arguments_are_refused(engine: millpond.Context) -> None:
    with pytest.raises(ValueError, match=r"limit must be 1 or more, .* it is 0"):
        millpond.memory(limit=0)
    with pytest.raises(TypeError, match="limit must be a number"):
        millpond.memory(limit="5")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sort must be one of size, age; it is 'name'"):
        millpond.memory(sort="name")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"group_by must be one of call_site, .* it is 'x'"):
        millpond.memory(group_by="x")  # type: ignore[arg-type]


def test_an_owner_that_cannot_answer_is_left_out_and_named(start: Start) -> None:
    start()

    @millpond.remote
    class Owner:
        def put(self) -> tuple[int, Any]:
            self.ref = millpond.put(block(1))
            return os.getpid(), [self.ref]

    owner = Owner.remote()
    pid, refs = millpond.get(owner.put.remote())
    os.kill(pid, signal.SIGSTOP)
    try:
        stopped = psutil.Process(pid)
        eventually(lambda: stopped.status() == psutil.STATUS_STOPPED, "it is stopped")
        report = millpond.memory()
    finally:
        os.kill(pid, signal.SIGCONT)
    (row,) = report.objects
    assert row.owner.pid == pid
    assert row.call_site is None
    assert [one.process.pid for one in report.owners if not one.answered] == [pid]
    assert f"No answer in time from actor {pid}" in str(report)
    assert millpond.memory().objects[0].call_site is not None
    del refs
    millpond.kill(owner)


def test_the_call_site_is_the_line_that_used_dask(start: Start) -> None:
    pytest.importorskip("dask")
    import dask.array

    start()
    array = dask.array.ones((4 * MIB,), chunks=MIB) + 1
    kept = array.persist(scheduler="millpond"); used = line()  # fmt: skip  # noqa: E702
    assert float(kept.sum().compute(scheduler="millpond")) == 8 * MIB
    (group,) = millpond.memory(group_by="call_site").groups
    name = "test_the_call_site_is_the_line_that_used_dask"
    assert group.key == f"{__file__}:{used} in {name}"
    assert group.objects == 4
    del kept, array


# --- a full store ---


def test_a_full_store_tells_who_holds_it(start: Start) -> None:
    start(object_store_memory=16 * MIB, spill=False)
    held = [millpond.put(block(4)) for _ in range(3)]
    array = millpond.get(held[0])
    with pytest.raises(ObjectStoreFullError) as caught:
        millpond.put(block(8))
    error = caught.value
    text = str(error)
    assert text.count(f"{__file__[-20:]}:") == 3  # the lines that put them
    assert all(ref.hex() in text for ref in held)
    assert f"driver {os.getpid()}" in text
    assert "object_store_memory" in text
    assert 8 * MIB <= error.requested_bytes < 9 * MIB
    assert error.capacity == 16 * MIB
    assert 12 * MIB <= error.used_bytes < 13 * MIB
    assert [len(holder.pins) for holder in error.holders].count(1) == 1
    del held, array, error, caught


def test_a_full_store_tells_it_from_a_task_too(start: Start) -> None:
    start(object_store_memory=16 * MIB, spill=False)
    held = [millpond.put(block(4)) for _ in range(3)]
    with pytest.raises(ObjectStoreFullError, match="The largest objects") as caught:
        millpond.get(make.remote(8))
    assert [holder.id for holder in caught.value.holders] == [ref.hex() for ref in held]
    del held, caught


# --- spilling fails ---


def test_failing_spills_are_told_once_and_so_is_their_end(
    start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start(object_store_memory=16 * MIB, spill=tmp_path)
    (private,) = tmp_path.iterdir()
    shutil.rmtree(private)
    refs = [millpond.put(block(2, value)) for value in range(7)]  # above the high mark
    store = lambda: millpond.statistics().store  # noqa: E731
    eventually(lambda: store().spill_failures_total >= 3, "it is tried again")
    private.mkdir(mode=0o700)
    eventually(lambda: store().spills_total > 0, "it works again")
    refs.append(millpond.put(block(2, 7)))
    assert [int(millpond.get(ref)[-1]) for ref in refs] == list(range(8))
    millpond.shutdown()
    told = capfd.readouterr().err
    assert told.count("spilling is not possible now") == 1
    assert told.count("spilling works again") == 1
    assert str(private) in told
    del refs


# --- larger than the store ---


@millpond.remote
def total(*arrays: np.ndarray) -> int:
    return sum(int(array.sum(dtype=np.int64)) for array in arrays)


def test_inputs_of_three_times_the_store(start: Start) -> None:
    start(object_store_memory=16 * MIB)
    refs = [millpond.put(block(4, value)) for value in range(12)]
    with pytest.warns(millpond.ObjectStoreWarning, match=r"total .* 48.0 MiB.* 16.0 MiB") as caught:
        assert millpond.get(total.remote(*refs)) == sum(range(12)) * 4 * MIB
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert millpond.statistics().store.peak <= 16 * MIB
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        assert millpond.get(total.remote(*refs)) == sum(range(12)) * 4 * MIB


def test_a_value_of_twice_the_store(start: Start) -> None:
    start(object_store_memory=16 * MIB)
    with pytest.warns(millpond.ObjectStoreWarning) as caught:
        ref = millpond.put(np.arange(4 * MIB, dtype=np.int64))
    assert "a value of 32.0 MiB was stored" in str(caught[0].message)
    assert "object_store_memory" in str(caught[0].message)
    array = millpond.get(ref)
    assert (array == np.arange(4 * MIB)).all()
    assert millpond.get(total.remote(ref)) == int(array.sum())
    assert millpond.statistics().store.peak <= 16 * MIB


def test_a_result_of_twice_the_store_is_warned_of_in_the_driver(start: Start) -> None:
    start(object_store_memory=16 * MIB)

    @millpond.remote
    def outer() -> Any:
        return [make.remote(32)]  # a worker owns it

    with pytest.warns(millpond.ObjectStoreWarning) as caught:
        array = millpond.get(millpond.get(outer.remote())[0])
    assert len(caught) == 1
    assert len(array) == 32 * MIB
    assert array.all()


def test_a_warning_that_is_an_error_leaves_nothing_behind(start: Start) -> None:
    start(object_store_memory=16 * MIB)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(millpond.ObjectStoreWarning):
            millpond.put(block(32))
    assert millpond.get(millpond.put(block(32)))[-1] == 1


@needs_cluster
def test_all_nodes_of_a_cluster_are_in_one_report() -> None:
    with Cluster(1, object_store_memory=64 * MIB) as cluster:
        far = cluster.add_node(resources={"far": 1})
        cluster.connect(num_cpus=0, object_store_memory=64 * MIB)
        (here,) = (node.node_id for node in millpond.nodes() if node.is_here)

        put = millpond.put(block(3))
        made = make.options(resources={"far": 1}, num_cpus=0).remote(2)
        read = millpond.remote(len).options(resources={"far": 1}, num_cpus=0)
        assert millpond.get(read.remote(put)) == 3 * MIB
        millpond.wait([made])

        def rows() -> list[tuple[str, str, str | None]]:
            report = millpond.memory()
            return [(row.node, row.id, row.made_by) for row in report.objects]

        expected = {
            (here, put.hex(), "put"),
            (far.node_id, put.hex(), "put"),
            (far.node_id, made.hex(), "make"),
        }
        eventually(lambda: set(rows()) == expected, "all that nodes have is listed")
        report = millpond.memory()
        assert {node.node for node in report.nodes} == {node.node_id for node in millpond.nodes()}
        assert report.nodes[0].node == here
        assert (report.total_objects, report.silent_nodes) == (3, ())
        assert {(row.owner.pid, row.owner.node) for row in report.objects} == {(os.getpid(), here)}
        assert f"Node {far.node_id}: 2 objects" in str(report)
        (group,) = millpond.memory(group_by="owner").groups
        assert (group.key, group.objects) == (f"driver {os.getpid()} on {here}", 3)
