"""`dask.annotate` on millpond, by its effects: who runs first, how often, and beside whom."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import millpond
import millpond.dask
from integration.conftest import MIB
from millpond.adapters.dask import hints
from millpond.adapters.dask.annotations import materialize_annotated
from millpond.adapters.dask.graph import select
from millpond.adapters.dask.units import Unit, make_units
from millpond.errors import ResourceError


def annotated_units(collection: Any, **ambient: Any) -> dict[Any, Unit]:
    """Return the units that a collection's computation would consist of, in their order."""
    from dask._expr import FinalizeCompute
    from dask.base import collections_to_expr
    from dask.core import flatten

    expr = FinalizeCompute(collections_to_expr([collection])).optimize()
    keys = list(flatten(expr.__dask_keys__()))
    nodes, hints_of = materialize_annotated(expr, ambient)
    return {u.key: u for u in make_units(select(nodes, keys, hints_of), set(keys))}


# --- pure: what becomes of annotations --------------------------------------------------------


def test_annotations_of_array_layers_survive_fusion() -> None:
    with dask.annotate(priority=3, retries=1):
        x = da.ones(10, chunks=5)
    y = x + 1
    with dask.annotate(resources={"GPU": 1, "CPU": 2}, memory="1 MiB"):
        z = da.sin(y)
    found = [unit.hints for unit in annotated_units(z.map_blocks(np.sum, chunks=(1, 1))).values()]
    assert found.count(hints.Hints(priority=3, retries=1)) == 2
    assert found.count(hints.Hints(cpus=2, memory=MIB, resources=(("GPU", 1),))) == 2
    assert len(found) == 2 * 4 + 1  # ones, +1, sin, sum; and the finalizer


def test_fusion_goes_on_within_equal_annotations() -> None:
    def build() -> Any:
        return (da.ones(40, chunks=10) + 1).map_blocks(np.sin).map_blocks(np.cos)[::2]

    plain = annotated_units(build())
    with dask.annotate(priority=1):
        built = build()
    whole = annotated_units(built)
    assert len(whole) == len(plain)
    assert {unit.hints.priority for unit in whole.values()} == {0, 1}  # 0: the finalizer


def test_steps_of_equal_annotations_over_several_inputs_are_one_task() -> None:
    def build() -> Any:
        x = da.arange(40, chunks=10)
        return (x + 1) * (x + 2) - x

    with dask.annotate(retries=1, priority=2):
        whole = annotated_units(build())
    assert len(whole) == len(annotated_units(build())) == 4 + 1
    with dask.annotate(retries=1):
        x = da.arange(40, chunks=10)
    with dask.annotate(retries=2):
        y = x + x.sum()
    # Dask itself would merge these two, and take the larger number for both.
    retries = [unit.hints.retries for unit in annotated_units(y).values()]
    assert retries.count(1) == 4
    assert retries.count(2) == 4 + 1 + 4  # the parts of the sum, the sum, and what is added


def test_annotations_of_bags_and_delayed() -> None:
    with dask.annotate(retries=2):
        bag = db.from_sequence(range(4), npartitions=2).map(abs)
    units = annotated_units(bag.map(str))
    assert [unit.hints.retries for unit in units.values()].count(2) == 2
    with dask.annotate(priority=lambda key: 7 if key else 8):
        one = dask.delayed(abs)(-1)
    assert [u.hints.priority for u in annotated_units(dask.delayed(abs)(one)).values()] == [7, 0]


def test_what_surrounds_compute_is_for_all_and_layers_override() -> None:
    with dask.annotate(priority=2):
        one = dask.delayed(abs)(-1)
    units = annotated_units(dask.delayed(abs)(one), priority=5, retries=1)
    assert [(u.hints.priority, u.hints.retries) for u in units.values()] == [(2, 1), (5, 1)]
    frame = dd.from_pandas(pd.DataFrame({"a": range(4)}), npartitions=2)
    for unit in annotated_units(frame + 1, memory=lambda key: "1 kiB" if key else 0).values():
        assert unit.hints.memory == 1024


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_priority_orders_what_is_needed_too(chosen: int) -> None:
    results = []
    for i in range(3):
        root = dask.delayed(abs)(-i, dask_key_name=f"root-{i}")
        with dask.annotate(priority=10 if i == chosen else 0):
            results.append(dask.delayed(divmod)(root, 2, dask_key_name=f"first-{i}"))
        results.append(dask.delayed(abs)(root, dask_key_name=f"second-{i}"))
    units = list(annotated_units(dask.delayed(list)(results)))
    assert units[:2] == [f"root-{chosen}", f"first-{chosen}"]


def test_wrong_annotations_are_refused() -> None:
    for wrong, text in [
        ({"priority": "high"}, "priority must be a number, it is 'high'"),
        ({"retries": 1.5}, "retries must be a whole number, it is 1.5"),
        ({"resources": 3}, "resources must be a mapping"),
        ({"memory": "lots"}, "memory must be bytes"),
    ]:
        with pytest.raises(TypeError, match=text):
            hints.make_hints(wrong)
    with pytest.raises(ValueError, match="retries must be >= 0"):
        hints.make_hints({"retries": -1})


def test_workers_elsewhere_are_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "_warned_of_workers", False)
    hints.make_hints({"workers": ["localhost", "tcp://127.0.0.1:40331"]})
    hints.make_hints({"workers": "elsewhere", "allow_other_workers": True})
    with pytest.warns(UserWarning, match="elsewhere"):
        hints.make_hints({"workers": ["elsewhere"]})
    assert hints.make_hints({"workers": ["elsewhere"]}) == hints.NO_HINTS


# --- on the engine ----------------------------------------------------------------------------


@pytest.fixture
def one_cpu(start: Callable[..., millpond.Context]) -> Iterator[None]:
    start(num_cpus=1)
    with millpond.dask.enable():
        yield


@pytest.mark.usefixtures("one_cpu")
def test_urgent_tasks_run_first(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def note(name: str) -> None:
        with log.open("a") as file:
            file.write(f"{name}\n")

    calm = [dask.delayed(note)(f"calm {i}") for i in range(10)]
    with dask.annotate(priority=5):
        urgent = [dask.delayed(note)(f"urgent {i}") for i in range(3)]
    dask.compute(calm, urgent)
    assert log.read_text().split("\n")[:3] == ["urgent 0", "urgent 1", "urgent 2"]


def fails_until(folder: Path, attempts: int) -> int:
    count = len(list(folder.iterdir()))
    (folder / str(count)).touch()
    if count < attempts:
        raise OSError(f"attempt {count}")
    return count


@pytest.mark.usefixtures("one_cpu")
def test_retries_are_counted(tmp_path: Path) -> None:
    first, second, third = [tmp_path / name for name in "abc"]
    for folder in (first, second, third):
        folder.mkdir()
    with dask.annotate(retries=3):
        enough = dask.delayed(fails_until)(first, 3)
    assert (enough + 1).compute() == 4
    with dask.annotate(retries=2):
        too_few = dask.delayed(fails_until)(second, 3)
    with pytest.raises(OSError, match="attempt 2"):
        too_few.compute()
    assert len(list(second.iterdir())) == 3
    assert dask.delayed(fails_until)(third, 1).compute(retries=1) == 1


def test_resources_limit_concurrency(
    start: Callable[..., millpond.Context], tmp_path: Path
) -> None:
    start(num_cpus=4, resources={"licence": 1})

    def exclusive(i: int) -> int:
        (tmp_path / "running").mkdir()  # fails where another one runs
        time.sleep(0.02)
        (tmp_path / "running").rmdir()
        return i

    with dask.annotate(resources={"licence": 1}):
        x = da.arange(8, chunks=1).map_blocks(exclusive)
    with millpond.dask.enable():
        assert x.sum().compute() == 28
        tasks = [dask.delayed(exclusive)(i) for i in range(8)]
        with dask.annotate(resources={"licence": 1}):
            assert sum(dask.compute(*tasks)) == 28
        with pytest.raises(ResourceError, match="licence"):
            dask.delayed(exclusive)(0).compute(resources={"licence": 2})


def test_memory_is_admitted(start: Callable[..., millpond.Context], tmp_path: Path) -> None:
    context = start(num_cpus=4)
    most = int(context.resources["memory"] * 0.6)

    def exclusive(i: int) -> int:
        (tmp_path / "running").mkdir()
        time.sleep(0.02)
        (tmp_path / "running").rmdir()
        return i

    with millpond.dask.enable(), dask.annotate(memory=most):
        assert sum(dask.compute(*[dask.delayed(exclusive)(i) for i in range(6)])) == 15
    single = dask.delayed(exclusive)(0)
    with millpond.dask.enable(), pytest.raises(ResourceError, match="memory"):
        single.compute(memory=2 * most)
