"""The parts of the adapter that can be tried without Modin running on the engine."""

from __future__ import annotations

import gc
import pickle
import sys
import textwrap
import threading
import weakref
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest

import millpond
from integration.conftest import MIB
from millpond.adapters.modin import read_only
from millpond.adapters.modin.arguments import Deferred, pack, unpack
from millpond.adapters.modin.extents import Extent, Selection, extents_of
from millpond.adapters.modin.file_sizes import frame_bytes
from millpond.adapters.modin.functions import INLINE_LIMIT, ShippedFunction, ship
from millpond.adapters.modin.labels import set_labels
from millpond.adapters.modin.outlines import Outline, outline_of
from millpond.errors import SerializationError


@pytest.mark.usefixtures("engine")
def test_refs_are_lifted_out_of_arguments_and_put_back() -> None:
    first, second, outlines = map(millpond.put, ("one", "two", (Outline(7, 3),)))
    length, width = extents_of(outlines, 0)
    arguments = (first, [second, {"k": (first, length)}], width.sliced(slice(1, None)), "plain")
    template, refs = pack(arguments)
    assert refs == [first, second, outlines]
    values = millpond.get(refs)
    filled = unpack(pickle.loads(pickle.dumps(template)), values)
    assert filled == ("one", ["two", {"k": ("one", 7)}], 2, "plain")


@pytest.mark.usefixtures("engine")
def test_calls_that_wait_on_an_argument_run_when_it_is_taken() -> None:
    gc.disable()
    try:
        value, five = map(millpond.put, (np.ones(20_000), 5))
        calls = [(np.add, (five,), {}), (np.sum, (), {})]
        template, refs = pack([Deferred(value, calls), "plain"])
        assert refs == [value, five]
        assert unpack(template, [np.ones(3), 5]) == [18, "plain"]
        alive = weakref.ref(value)
        del value, five, calls, template, refs
        assert alive() is None
    finally:
        gc.enable()


def test_arguments_without_refs_are_not_copied() -> None:
    arguments = [list(range(10)), {"k": ("x", OrderedDict(a=1))}]
    template, refs = pack(arguments)
    assert template is arguments
    assert refs == []
    assert unpack(template, ()) is arguments


@pytest.mark.usefixtures("engine")
def test_extents_follow_slices() -> None:
    source = millpond.put(10)
    extent = Extent(source).sliced(slice(None)).sliced(slice(2, None)).sliced(slice(None, None, 3))
    assert extent.selection.pick(10) == len(range(10)[2:][::3])
    assert Selection((1, 0)).pick(((4, 5), (6, 7))) == 6


def test_outlines_of_what_partitions_may_hold() -> None:
    outline = outline_of(pd.DataFrame({"a": [1, 2], "b": "x"}))
    assert outline[:2] == (2, 2)
    assert outline.labels(0).equals(pd.RangeIndex(2))
    assert list(outline.labels(1)) == ["a", "b"]
    assert outline.dtypes == (np.dtype("int64"), np.dtype("object"))
    assert outline_of(pd.Series([1, 2, 3])) == Outline(3, 0)
    assert outline_of(5) == Outline(0, 0)


def test_outlines_are_small() -> None:
    long = pd.DataFrame({"c": pd.Categorical(map(str, range(5000)))}, index=np.arange(5000) + 7)
    outline = outline_of(long)
    assert (outline.rows, outline.dtypes) == (None, None)
    wide = outline_of(pd.DataFrame(np.zeros((3, 1000))))
    assert (wide.columns, wide.dtypes) == (None, None)
    assert len(pickle.dumps((outline, wide))) < 1000


def test_new_labels_copy_no_data() -> None:
    frame = pd.DataFrame({"a": np.arange(1000)})
    labelled = set_labels(frame, idx=pd.RangeIndex(5, 1005), cols=pd.Index(["b"]))
    assert np.shares_memory(labelled.to_numpy(), frame.to_numpy())
    assert list(frame.columns) == ["a"]
    assert labelled.loc[5, "b"] == 0


def test_small_functions_are_loaded_once() -> None:
    offset = 3
    shipped = ship(lambda value: value + offset)
    assert isinstance(shipped, ShippedFunction)
    message = pickle.dumps(shipped)
    loaded = pickle.loads(message)
    assert loaded(4) == 7
    assert pickle.loads(message) is loaded


def test_small_functions_may_write_to_the_arrays_that_they_captured() -> None:
    counter = np.zeros(3)

    def count() -> float:
        counter[0] += 1
        return float(counter[0])

    message = cloudpickle.dumps(ship(count))
    assert pickle.loads(message)() == 1
    assert pickle.loads(message)() == 1
    assert counter[0] == 0


def test_closures_of_modules_that_workers_have_arrive_with_these_as_globals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("millpond.made_up")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    source = """
    step = 1

    def outer(offset):
        def down(value, to=2, *, by=step):
            return down(value - by, to) if value > to else value + offset

        down.mark = "kept"
        return down
    """
    exec(textwrap.dedent(source), vars(module))
    sent = ship(module.outer(10))
    assert isinstance(sent, ShippedFunction)
    loaded = pickle.loads(pickle.dumps(sent))
    assert loaded.__globals__ is vars(module)
    assert (loaded(5), loaded(5, 4), loaded.__kwdefaults__, loaded.mark) == (
        12,
        14,
        {"by": 1},
        "kept",
    )
    assert pickle.loads(pickle.dumps(ship(module.outer(20))))(5) == 22


@pytest.mark.usefixtures("engine")
def test_functions_with_much_data_go_to_the_store() -> None:
    table = np.arange(MIB)
    shipped = ship(lambda: int(table.sum()))
    assert isinstance(shipped, millpond.ObjectRef)
    assert millpond.get(shipped)() == table.sum()
    text = "x" * INLINE_LIMIT
    assert isinstance(ship(lambda: text), millpond.ObjectRef)


@pytest.mark.usefixtures("engine")
def test_functions_may_capture_refs() -> None:
    ref = millpond.put(5)
    shipped = ship(lambda: millpond.get(ref))
    assert isinstance(shipped, millpond.ObjectRef)
    assert millpond.get(shipped)() == 5


@pytest.mark.usefixtures("engine")
def test_functions_that_cannot_be_sent_are_named() -> None:
    lock = threading.Lock()

    def locked() -> None:
        lock.acquire()

    with pytest.raises(SerializationError, match=r"locked.*lock"):
        ship(locked)


def test_values_of_user_functions_are_cast_by_their_type() -> None:
    from modin.utils import wrap_udf_function

    from millpond.adapters.modin.casting import cast_to_pandas

    message = pickle.dumps(ship(wrap_udf_function(lambda value: value)))
    sent = pickle.loads(message)
    assert sent.__globals__["try_cast_to_pandas"] is cast_to_pandas
    row = pd.Series({"modin": 1})
    for value in (1.5, row, [1, "a"], {"k": (None,)}):
        assert sent(value) is value or sent(value) == value


@pytest.mark.usefixtures("engine")
def test_frames_of_modin_that_user_functions_return_become_pandas() -> None:
    import modin.config
    import modin.pandas

    from millpond.adapters.modin.casting import cast_to_pandas

    modin.config.Engine.put("Millpond")
    frame = modin.pandas.DataFrame({"a": [1, 2]})
    first, second = cast_to_pandas([frame, frame["a"]])
    assert (type(first), type(second)) == (pd.DataFrame, pd.Series)


def test_calls_are_repeated_only_for_read_only_buffers() -> None:
    array = np.zeros(3)
    array.flags.writeable = False
    calls: list[int] = []

    def write(target: np.ndarray, *, error: Exception | None = None) -> np.ndarray:
        calls.append(1)
        if error is not None:
            raise error
        target[0] = 1
        return target

    assert read_only.call(write, array)[0] == 1
    assert array[0] == 0
    assert len(calls) == 2
    for error, times in ((ValueError("x"), 1), (TypeError("read-only"), 1)):
        calls.clear()
        with pytest.raises(type(error)):
            read_only.call(write, array, error=error)
        assert len(calls) == times
    calls.clear()
    once = read_only.CallOnce(write)
    failure = ValueError("assignment destination is read-only")
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            once(array, error=failure)
    assert len(calls) == 2


def test_estimates_of_file_sizes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": range(1000), "x": 0.5, "s": "text"})
    for number in range(12):
        frame.to_parquet(tmp_path / f"{number}.parquet")
    memory = 12 * frame.memory_usage(index=False)

    def parquet(path: Any, **more: Any) -> float:
        return frame_bytes("parquet", {"path": path, **more})

    assert parquet(tmp_path, columns=["n", "x"]) == pytest.approx(memory[["n", "x"]].sum())
    assert parquet(str(tmp_path / "*.parquet")) > memory.sum()
    assert parquet([tmp_path / "0.parquet"], columns=["n"]) == 8000
    (tmp_path / "frame.csv").write_text("a,b\n" * 1000)
    assert frame_bytes("csv", {"filepath_or_buffer": tmp_path / "frame.csv"}) == 8000


@pytest.mark.parametrize(
    "source", ["https://host/x.parquet", "/missing", b"", None, 5, "\0", object()]
)
def test_no_estimate_where_there_is_no_telling(source: Any) -> None:
    assert frame_bytes("parquet", {"path": source}) == 0
    assert frame_bytes("csv", {"filepath_or_buffer": source}) == 0


def test_a_file_that_is_not_parquet_is_the_readers_business(tmp_path: Path) -> None:
    path = tmp_path / "wrong.parquet"
    path.write_text("not parquet")
    assert frame_bytes("parquet", {"path": path}) == 0


def test_partitions_grow_with_the_data_only() -> None:
    from millpond.adapters.modin.sizing import partitions_for

    assert partitions_for(0, MIB, 2) == 2
    assert partitions_for(MIB / 8, MIB, 2) == 2
    assert partitions_for(4 * MIB, MIB, 2) == 24
    assert partitions_for(1e15, MIB, 2) == 1024
