"""Graphs as `get` receives them: legacy tuples, nested keys, aliases, splits, chains, literals."""

from __future__ import annotations

import operator
from typing import Any

import dask
import numpy as np
import pytest
from dask._task_spec import Alias, DataNode, List, Task, TaskRef
from dask.highlevelgraph import HighLevelGraph

import millpond
from millpond.adapters.dask.graph import TaskGraph, materialize, select
from millpond.adapters.dask.units import Unit, make_units
from millpond.dask import get


def inc(x: int) -> int:
    return x + 1


# --- pure: how tasks are grouped --------------------------------------------------------------


def graph_of(dsk: dict[Any, Any], *keys: Any) -> TaskGraph:
    return select(materialize(dsk), keys)


def units_of(dsk: dict[Any, Any], *keys: Any) -> dict[Any, Unit]:
    return {unit.key: unit for unit in make_units(graph_of(dsk, *keys), set(keys))}


def test_one_task_under_two_keys() -> None:
    task = Task("a", inc, TaskRef("x"))
    dsk = {"x": 1, "a": task, "b": task, "c": Task("c", divmod, TaskRef("a"), TaskRef("b"))}
    assert set(units_of(dsk, "c")) == {"a", "b", "c"}


def test_a_container_under_another_key() -> None:
    items = List(TaskRef("x"), TaskRef("y"))
    dsk = {"x": (inc, 0), "y": (inc, 1), ("z", 0): items}
    dsk |= {("sum", i): Task(("sum", i), sum, TaskRef(("z", 0))) for i in range(2)}
    keys = [("sum", 0), ("sum", 1)]
    graph = graph_of(dsk, *keys)
    assert graph.tasks["z", 0].key == ("z", 0)
    assert graph.tasks["z", 0]({"x": 1, "y": 2}) == [1, 2]
    assert set(units_of(dsk, ("sum", 0), ("sum", 1))) == {
        "x",
        "y",
        ("z", 0),
        ("sum", 0),
        ("sum", 1),
    }


def test_only_what_is_needed_is_selected() -> None:
    graph = graph_of({"a": 1, "b": (inc, "a"), "c": (inc, "b"), "d": (inc, "a")}, "c")
    assert set(graph.tasks) == {"b", "c"}
    assert graph.literals == {"a": 1}
    assert graph.dependents == {"b": ["c"]}


def test_chains_are_one_unit() -> None:
    units = units_of({"a": (inc, 1), "b": (inc, "a"), "c": (inc, "b")}, "c")
    assert [task.key for task in units["c"].tasks] == ["a", "b", "c"]
    assert units["c"].inputs == {}


def test_wanted_and_shared_results_end_a_chain() -> None:
    dsk = {"a": (inc, 1), "b": (inc, "a"), "c": (inc, "b"), "d": (operator.add, "b", "c")}
    assert set(units_of(dsk, "d")) == {"b", "c", "d"}
    assert set(units_of(dsk, "d", "a")) == {"a", "b", "c", "d"}


def test_a_result_that_is_only_picked_apart_is_split() -> None:
    dsk: dict[Any, Any] = {"p": (divmod, 7, 2), "s": (operator.add, "q", "r")}
    dsk |= {"q": (operator.getitem, "p", 0), "r": (operator.getitem, "p", 1)}
    units = units_of(dsk, "s")
    assert set(units) == {"p", "s"}
    assert sorted(units["p"].outputs) == [["q"], ["r"]]
    assert units["s"].inputs == {"q": "q", "r": "r"}


@pytest.mark.parametrize("wanted", [("s", "p"), ("s",)])
def test_a_result_that_is_also_needed_whole_is_not_split(wanted: tuple[str, ...]) -> None:
    dsk: dict[Any, Any] = {"p": (divmod, 7, 2), "s": (list, ["q", "r"])}
    dsk |= {"q": (operator.getitem, "p", 0), "r": (operator.getitem, "p", 1)}
    if wanted == ("s",):
        dsk["s"] = (list, ["q", "r", "p"])
    assert {"p", "q", "r"} <= set(units_of(dsk, *wanted))


def test_units_come_in_an_order_that_can_run() -> None:
    dsk: dict[Any, Any] = {("x", i): (inc, i) for i in range(20)}
    dsk |= {("y", i): (operator.add, ("x", i), ("x", i + 1)) for i in range(19)}
    dsk["z"] = (sum, [("y", i) for i in range(19)])
    done: set[Any] = set()
    for unit in make_units(graph_of(dsk, "z"), {"z"}):
        assert set(unit.inputs.values()) <= done
        done.update(key for keys in unit.outputs for key in keys)


def test_bad_graphs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Missing dependency 'nothing' of 'a'"):
        graph_of({"a": Task("a", inc, TaskRef("nothing"))}, "a")
    with pytest.raises(KeyError, match="'b'"):
        graph_of({"a": 1}, "b")
    with pytest.raises(ValueError, match="cycle"):
        graph_of({"a": Alias("a", "b"), "b": Alias("b", "a"), "c": (inc, "a")}, "c")
    with pytest.raises(RuntimeError, match=r"[Cc]ycle"):
        units_of({"a": (inc, "b"), "b": (inc, "a")}, "a")


def test_many_delayed_values_are_not_culled_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("Dask's own culling takes time quadratic in the number of values")

    monkeypatch.setattr(HighLevelGraph, "cull", refuse)
    seen: list[int] = []

    def counting(dsk: Any, keys: Any, **_: Any) -> Any:
        nodes = materialize(dsk)
        seen.append(len(select(nodes, keys).tasks))
        return tuple(keys)

    shared = dask.delayed(inc)(1)
    dask.compute(*[dask.delayed(inc)(shared) for _ in range(5)], scheduler=counting)
    dask.delayed(inc)(shared).compute(scheduler=counting)
    assert seen == [6, 2]


# --- on the engine ----------------------------------------------------------------------------


@pytest.mark.usefixtures("engine")
def test_values_that_the_caller_has_ready() -> None:
    dsk = {"a": Task("a", inc, TaskRef("x"))}
    with pytest.raises(ValueError, match="Missing dependency"):
        get(dsk, "a")
    assert get(dsk, "a", cache={"x": 1}) == 2
    with dask.config.set(cache={"x": 2}):
        assert get(dsk, ["a"]) == (3,)
    with pytest.raises(KeyError, match="'b'"):
        get(dsk, [["a", "b"]], cache={"x": 1})


@pytest.mark.usefixtures("engine")
def test_shapes_of_keys_and_kinds_of_nodes() -> None:
    dsk = {
        "x": 1,
        "y": (inc, "x"),
        ("z", 0): (sum, ["x", "y", "other name"]),
        "other name": "y",
        "nested": (list, [(inc, "x"), [(inc, (inc, "y"))]]),
        "mapping": Task("mapping", dict, List(List("k", TaskRef("y")))),
        "data": DataNode("data", [5, "x"]),
    }
    assert get(dsk, "x") == 1
    assert get(dsk, "other name") == 2
    assert get(dsk, ("z", 0)) == 5
    assert get(dsk, ["y", [("z", 0), ["x"]], []]) == (2, (5, (1,)), ())
    assert get(dsk, "nested") == [2, [4]]
    assert get(dsk, ["mapping", "data"]) == ({"k": 2}, [5, "x"])
    assert get(dsk, []) == ()
    value = object()
    assert get({"v": DataNode("v", value)}, "v") is value


@pytest.mark.usefixtures("engine")
def test_pieces_and_fused_chains_have_the_right_values() -> None:
    n = 6
    dsk: dict[Any, Any] = {}
    for i in range(n):
        dsk["start", i] = (range, i, i + n)
        dsk["group", i] = (list, ("start", i))
        for j in range(n):
            dsk["split", i, j] = (operator.getitem, ("group", i), j)
    for j in range(n):
        dsk["join", j] = (list, [("split", i, j) for i in range(n)])
        dsk["sum", j] = (sum, ("join", j))
    keys = [("sum", j) for j in range(n)]
    assert get(dsk, keys) == tuple(sum(range(j, j + n)) for j in range(n))
    twice = {"p": (divmod, 7, 2), "q": (operator.getitem, "p", 0), "r": (operator.getitem, "p", 0)}
    assert get(twice, ["q", "r"]) == (3, 3)
    assert get(
        {
            **twice,
            "p": (dict, [("a", 1)]),
            "q": (dict.get, "p", "a", 0),
            "r": (dict.get, "p", "b", {}),
        },
        ["q", "r"],
    ) == (1, {})


@pytest.mark.usefixtures("engine")
def test_large_values_of_the_graph_are_stored_once() -> None:
    large = np.arange(1 << 20)  # 8 MiB, twenty times would be 160

    def function_of_large(i: int) -> int:
        return int(large[i])

    dsk: dict[Any, Any] = {"large": large}
    dsk |= {("node", i): (operator.getitem, "large", i) for i in range(20)}
    dsk |= {("argument", i): Task(("argument", i), operator.getitem, large, i) for i in range(20)}
    dsk |= {("closure", i): (function_of_large, i) for i in range(20)}
    keys = [(kind, i) for kind in ("node", "argument", "closure") for i in range(20)]
    assert get(dsk, keys) == tuple(i for _ in range(3) for i in range(20))
    assert millpond.statistics().store.peak < 3 * large.nbytes


@pytest.mark.usefixtures("engine")
def test_references_are_found_wherever_they_are() -> None:
    ref = millpond.put(20)
    with millpond.dask.enable():
        assert dask.delayed(inc)(ref).compute() == 21
        assert dask.delayed(sum)([ref, ref, 1]).compute() == 41
        assert dask.delayed(lambda d: d["a"][0])({"a": (ref,)}).compute() == 20
        assert dask.delayed(lambda: inc(millpond.get(ref)))().compute() == 21
        many = {"many": [ref] * 3_000, "sum": (sum, "many")}
        assert get(many, "sum") == 60_000
        assert get({"x": ref, "y": (inc, "x")}, ["x", "y"]) == (20, 21)


@pytest.mark.usefixtures("engine")
def test_tasks_may_write_into_their_inputs() -> None:
    @dask.delayed
    def overwrite(a: np.ndarray) -> int:
        a[:] = 3
        return int(a.sum())

    source = dask.delayed(np.ones)(100_000)
    with millpond.dask.enable():
        assert dask.compute(overwrite(source), overwrite(source), source.sum()) == (
            300_000,
            300_000,
            100_000.0,
        )
