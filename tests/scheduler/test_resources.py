from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.scheduler.resources import (
    UNIT,
    ResourcePool,
    amount,
    environment_of,
    expecting,
    pack_shape,
    quantity,
    unpack_shape,
)

shapes = st.dictionaries(
    st.sampled_from(["CPU", "GPU", "memory", "wheel"]), st.integers(0, 5 * UNIT)
)


def test_fractions_add_up_exactly() -> None:
    tenth = amount("CPU", 0.1)
    assert sum([tenth] * 10) == amount("CPU", 1) == UNIT
    assert quantity(3 * tenth) == 0.3


@given(st.integers(0, 10**9))
def test_what_was_counted_reads_as_it_was_written(counted: int) -> None:
    assert amount("CPU", quantity(counted)) == counted


@pytest.mark.parametrize("value", ["2", None, True, b"1", [1], 1j])
def test_an_amount_that_is_no_number_is_refused_by_name_and_value(value: object) -> None:
    with pytest.raises(ValueError) as caught:
        amount("wheel", value)
    assert "'wheel'" in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [-1, -0.5, math.inf, -math.inf, math.nan])
def test_an_amount_must_be_finite_and_not_negative(value: float) -> None:
    with pytest.raises(ValueError, match=f"'CPU'.*{value}"):
        amount("CPU", value)


@given(shapes)
def test_a_shape_comes_back_without_its_zeros(shape: dict[str, int]) -> None:
    assert unpack_shape(pack_shape(shape)) == {name: n for name, n in shape.items() if n}


@given(shapes)
def test_equal_shapes_are_equal_bytes(shape: dict[str, int]) -> None:
    backwards = dict(reversed(shape.items()))
    assert pack_shape(backwards) == pack_shape(shape)


@given(shapes, shapes)
def test_other_shapes_are_other_bytes(one: dict[str, int], other: dict[str, int]) -> None:
    same = all(one.get(name, 0) == other.get(name, 0) for name in {*one, *other})
    assert (pack_shape(one) == pack_shape(other)) is same


@given(shapes, st.binary(max_size=16), st.binary(max_size=16))
def test_a_shape_names_its_environment(shape: dict[str, int], one: bytes, other: bytes) -> None:
    packed = pack_shape(shape, one)
    assert environment_of(packed) == one
    assert unpack_shape(packed) == unpack_shape(pack_shape(shape))
    assert (packed == pack_shape(shape, other)) is (one == other)
    assert environment_of(expecting(packed, 5)) == one


def test_a_pool_knows_what_it_can_give_now_and_ever() -> None:
    pool = ResourcePool({"CPU": 4, "GPU": 1})
    assert pool.lacking({"CPU": 4, "GPU": 1}) is None
    assert pool.lacking({"CPU": 5}) == "CPU"
    assert pool.lacking({"CPU": 1, "wheel": 1}) == "wheel"
    pool.take({"CPU": 3})
    assert pool.fits({"CPU": 1, "GPU": 1})
    assert not pool.fits({"CPU": 2})
    assert pool.lacking({"CPU": 4}) is None, "it is only taken"
    assert not pool.fits({"wheel": 1})
    assert pool.fits({})


def test_a_task_that_goes_on_may_take_more_than_is_left() -> None:
    pool = ResourcePool({"CPU": 1})
    pool.take({"CPU": 1})
    pool.take({"CPU": 1})
    assert not pool.fits({"CPU": 1})
    pool.give({"CPU": 1})
    assert not pool.fits({"CPU": 1})
    pool.give({"CPU": 1})
    assert pool.fits({"CPU": 1})
    pool.validate()


def test_giving_back_more_than_was_taken_is_noticed() -> None:
    pool = ResourcePool({"CPU": 1})
    pool.give({"CPU": 1})
    with pytest.raises(AssertionError):
        pool.validate()
