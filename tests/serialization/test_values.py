from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.errors import SerializationError
from millpond.owner.objects import Entry
from millpond.owner.refs import ObjectRef
from millpond.serialization.arguments import fill_slots, serialize_arguments
from millpond.serialization.layout import SerializedValue, split
from millpond.serialization.values import collect_unpickled_ref, deserialize, serialize

# The engine's refs are found again by a process's runtime. These need none: they come back as
# what they are, and what is tested is who hears of them.
KNOWN: dict[str, Ref] = {}


class Ref:
    """Stands where an `ObjectRef` would, without an engine."""

    def __init__(self, name: str) -> None:
        self.name = name
        KNOWN[name] = self

    def __reduce__(self) -> tuple[Any, ...]:
        from millpond.serialization.values import collect_pickled_ref

        collect_pickled_ref(self)
        return found, (self.name,)


def found(name: str) -> Ref:
    collect_unpickled_ref(KNOWN[name])
    return KNOWN[name]


def address(array: np.ndarray[Any, Any]) -> int:
    return int(array.__array_interface__["data"][0])


def aligned_copy(data: bytes) -> memoryview:
    """The bytes at an address that is a multiple of 64, as in the store, read-only."""
    room = np.empty(len(data) + 64, np.uint8)
    start = -address(room) % 64
    room[start : start + len(data)] = np.frombuffer(data, np.uint8)
    return room[start : start + len(data)].data.toreadonly()


def round_trip(value: Any) -> Any:
    serialized = serialize(value, "a value")
    data = serialized.to_bytes()
    assert len(data) == serialized.size
    back, refs = deserialize(data)
    assert refs == []
    return back


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
anything = st.recursive(
    plain | st.binary() | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


@settings(deadline=None)
@given(value=anything)
def test_any_plain_value(value: Any) -> None:
    assert round_trip(value) == value


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 300), max_size=6), pickled=st.binary(max_size=200))
def test_buffers_lie_at_multiples_of_64(sizes: list[int], pickled: bytes) -> None:
    contents = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
    value = SerializedValue(pickled, [memoryview(content) for content in contents], ())
    data = value.to_bytes()
    assert len(data) == value.size == sum(memoryview(part).nbytes for part in value.parts())
    base = aligned_copy(data)
    again, buffers = split(base)
    assert bytes(again) == pickled
    assert [bytes(buffer) for buffer in buffers] == contents
    start = address(np.frombuffer(base, np.uint8))
    for buffer in buffers:
        if buffer.nbytes:
            assert (address(np.frombuffer(buffer, np.uint8)) - start) % 64 == 0


def test_arrays_are_views_of_the_data_read_only_and_aligned() -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "a": np.arange(1001),
        "b": np.ones((3, 7), np.float32),
        "c": np.zeros(1, "u1"),
    }
    base = aligned_copy(serialize(arrays, "").to_bytes())
    whole = np.frombuffer(base, np.uint8)
    back, _ = deserialize(base)
    for name, array in arrays.items():
        assert np.array_equal(back[name], array)
        assert np.shares_memory(back[name], whole)
        assert address(back[name]) % 64 == 0
        assert not back[name].flags.writeable


def test_the_source_is_not_copied_before_it_is_laid_out() -> None:
    array = np.arange(100_000)
    parts = serialize(array, "").parts()
    assert any(memoryview(part).nbytes == array.nbytes for part in parts)
    assert any(np.shares_memory(np.frombuffer(part, np.uint8), array) for part in parts)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(40_000).reshape(200, 200)[:, ::2],
        np.arange(40_000).reshape(200, 200)[10:190, 5:50].T,
        np.asfortranarray(np.arange(40_000).reshape(200, 200)),
        np.arange(20_000)[::-1],
        np.broadcast_to(np.arange(1000), (50, 1000)),
        np.array([("x", 1.5)] * 2000, dtype=[("name", "U3"), ("value", "f8")])[::2],
    ],
    ids=["columns", "transposed block", "fortran", "reversed", "broadcast", "records"],
)
def test_arrays_of_any_layout_go_out_of_band(array: np.ndarray[Any, Any]) -> None:
    data = serialize(array, "").to_bytes()
    pickled, buffers = split(data)
    assert len(pickled) < 1000
    assert sum(buffer.nbytes for buffer in buffers) == array.nbytes
    back, _ = deserialize(data)
    assert np.array_equal(back, array)
    assert back.dtype == array.dtype
    assert back.flags.f_contiguous or not array.flags.f_contiguous


def test_arrays_of_objects_are_pickled_whatever_their_layout() -> None:
    array = np.array([[None, "text"], [1, [2]]] * 1000, dtype=object)[::2]
    back = round_trip(array)
    assert back.tolist() == array.tolist()
    back[0, 0] = "writable"


@pytest.mark.parametrize("value", [np.empty(0), np.empty((0, 5), "f4"), pa.array([], pa.int64())])
def test_empty_buffers(value: Any) -> None:
    back = round_trip(value)
    assert len(back) == 0
    assert getattr(back, "shape", None) == getattr(value, "shape", None)


def test_several_empty_buffers_between_full_ones() -> None:
    arrays = [np.empty(0), np.arange(5), np.empty(0), np.empty(0), np.arange(100)]
    for back, array in zip(round_trip(arrays), arrays, strict=True):
        assert np.array_equal(back, array)


def test_frames_and_tables() -> None:
    frame = pd.DataFrame({"a": range(3000), "b": ["x", "y", "z"] * 1000, "c": 0.5})
    pd.testing.assert_frame_equal(round_trip(frame), frame)
    pd.testing.assert_frame_equal(round_trip(frame[100:1000:3]), frame[100:1000:3])
    table = pa.Table.from_pandas(frame)
    assert round_trip(table).equals(table)


def test_bare_buffers_travel_if_they_are_contiguous() -> None:
    assert bytes(round_trip([pickle.PickleBuffer(b"bytes" * 100)])[0]) == b"bytes" * 100
    with pytest.raises(SerializationError, match=r"at \[0\]: .*non-contiguous"):
        serialize([pickle.PickleBuffer(memoryview(b"abcdef")[::2])], "it")


def test_functions_and_classes_of_this_module_travel() -> None:
    factor = 3

    class Local:
        def times(self, value: int) -> int:
            return value * factor

    assert round_trip(Local)().times(4) == 12
    assert round_trip(lambda value: value + factor)(1) == 4


# --- what cannot be pickled ---


class Holder:
    def __init__(self, held: object) -> None:
        self.held = held

    def held_by(self) -> object:
        return self.held


class BrokenRepr:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __repr__(self) -> str:
        raise RuntimeError("no text")


def uses_a_lock() -> Any:
    lock = threading.Lock()

    def inner(a: int = 1) -> object:
        return lock

    return inner


def cell_is_empty() -> Any:
    lock = threading.Lock()
    later = None

    def inner() -> object:
        return lock, later  # noqa: F821

    del later
    return inner


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (threading.Lock(), ""),
        ([1, (2, {"k": threading.Lock()})], " at [1][1]['k']"),
        (Holder([threading.Lock()]), " at .held[0]"),
        (Holder(Holder(threading.Lock())).held_by, " at .__self__.held.held"),
        (uses_a_lock(), " at .<variable lock>"),
        (lambda a=threading.Lock(): a, " at .__defaults__[0]"),  # noqa: B008
        (cell_is_empty(), " at .<variable lock>"),
        ({BrokenRepr(): threading.Lock()}, "BrokenRepr object at "),
        ([BrokenRepr()], " at [0].lock"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_error_names_the_path_to_the_offender(value: Any, path: str) -> None:
    with pytest.raises(SerializationError) as caught:
        serialize(value, "the result of f")
    assert str(caught.value).startswith("the result of f cannot be pickled: ")
    assert path in str(caught.value)
    if path.startswith(" at"):
        assert "(type lock)" in str(caught.value)
        assert f"{path}: TypeError: cannot pickle" in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_cycle_is_no_endless_path() -> None:
    cycle: list[Any] = []
    cycle.append({"self": cycle, "lock": threading.Lock()})
    with pytest.raises(SerializationError, match=r" at \[0\]\['lock'\]: "):
        serialize(cycle, "it")


def test_a_value_nested_too_deeply() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SerializationError, match=r"^it cannot be pickled: .*recursion"):
        serialize(deep, "it")
    while deep:  # from the outside in: the destructor of the whole would recurse
        (deep,) = deep


def test_a_reducer_that_raises() -> None:
    class Refusing:
        def __reduce__(self) -> str:
            raise ValueError("not me")

    with pytest.raises(SerializationError, match=r"Refusing\) at \['x'\]: ValueError: not me"):
        serialize({"x": Refusing()}, "it")


def test_long_values_are_cut_in_the_text() -> None:
    class Long:
        def __init__(self) -> None:
            self.lock = "x"

        def __repr__(self) -> str:
            return "long " * 1000

        def __reduce__(self) -> str:
            raise ValueError("not me")

    with pytest.raises(SerializationError) as caught:
        serialize(Long(), "it")
    assert len(str(caught.value)) < 300


# --- refs ---


def test_an_engine_ref_cannot_be_pickled_outside_of_the_engine() -> None:
    ref: ObjectRef[Any] = ObjectRef(Entry(b"driver-1" + bytes(8), owned=True))
    with pytest.raises(SerializationError, match=f"ObjectRef\\({ref.hex()}\\) can only be pickled"):
        pickle.dumps(ref)
    assert copy.copy(ref) is copy.deepcopy(ref) is ref
    assert copy.deepcopy([ref])[0] is ref
    with pytest.raises(TypeError):
        iter(ref)  # type: ignore[call-overload]


def test_refs_are_collected_on_both_sides() -> None:
    a, b = Ref("a"), Ref("b")
    serialized = serialize({"x": [a, a], "y": b}, "a value")
    assert list(serialized.contained) == [a, b]
    value, refs = deserialize(serialized.to_bytes())
    assert value == {"x": [a, a], "y": b}
    assert refs == [a, b]


def test_a_value_pickled_inside_another_keeps_its_refs_to_itself() -> None:
    inner = Ref("inner")

    class PicklesOnItsOwn:
        def __reduce__(self) -> tuple[Any, ...]:
            assert list(serialize(inner, "").contained) == [inner]
            return str, ("done",)

    outer = Ref("outer")
    assert list(serialize([PicklesOnItsOwn(), outer], "").contained) == [outer]


def test_after_a_failure_refs_are_refused_as_before() -> None:
    with pytest.raises(SerializationError):
        serialize([Ref("a"), threading.Lock()], "it")
    with pytest.raises(SerializationError, match="can only be pickled"):
        pickle.dumps(Ref("a"))


def test_threads_do_not_see_each_others_refs() -> None:
    refused: list[BaseException] = []

    class Meanwhile:
        def __reduce__(self) -> tuple[Any, ...]:
            def pickle_elsewhere() -> None:
                try:
                    pickle.dumps(Ref("elsewhere"))
                except SerializationError as error:
                    refused.append(error)

            thread = threading.Thread(target=pickle_elsewhere)
            thread.start()
            thread.join()
            return str, ("done",)

    assert list(serialize(Meanwhile(), "").contained) == []
    assert len(refused) == 1


# --- arguments ---


def test_top_level_refs_become_slots_and_nested_ones_stay() -> None:
    a, b, nested = Ref("a"), Ref("b"), Ref("nested")
    payload, refs = serialize_arguments((a, 1, a, [nested]), {"x": b, "y": 2}, Ref, "f")
    assert payload is not None
    assert refs == [a, b]
    assert list(payload.contained) == [nested]
    args, kwargs, inside = fill_slots(payload.to_bytes(), ["A", "B"])
    assert args == ("A", 1, "A", [nested])
    assert kwargs == {"x": "B", "y": 2}
    assert inside == [nested]


def test_no_arguments_are_no_bytes() -> None:
    assert serialize_arguments((), {}, Ref, "f") == (None, [])


def test_arguments_that_cannot_be_pickled() -> None:
    with pytest.raises(SerializationError, match=r"^the arguments of f .* at \[1\]\['k'\]: "):
        serialize_arguments((1,), {"k": threading.Lock()}, Ref, "the arguments of f")
