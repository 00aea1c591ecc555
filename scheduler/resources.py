"""Amounts of resources, exact. A shape is what one task or actor needs.

Amounts are counted in ten-thousandths, so that fractions add up without rounding. A shape
travels as bytes, which are equal when the shapes are. They name the runtime environment, too, since
a worker serves one environment only; here that is a name and nothing more.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import msgspec

__all__ = [
    "EXPECTED_MEMORY",
    "UNIT",
    "ResourcePool",
    "amount",
    "covers",
    "environment_of",
    "expecting",
    "pack_shape",
    "quantity",
    "slots_of",
    "unpack_shape",
]

#: how many counted units make one CPU, one byte of memory, ...
UNIT = 10_000
#: names, in a shape, the memory that nobody declared but that earlier runs needed
EXPECTED_MEMORY = "expected memory"
#: amounts are 64-bit integers on the wire
_LARGEST = 2**63 // UNIT // 2

Shape = dict[str, int]


class _Packed(msgspec.Struct, array_like=True, omit_defaults=True):
    amounts: list[tuple[str, int]]
    environment: bytes = b""


_decoder = msgspec.msgpack.Decoder(_Packed)


def amount(name: str, value: object) -> int:
    """Return a requested quantity in counted units.

    Args:
        name: of the resource, for the error text.
        value: a number >= 0, at most four digits after the point count.

    Raises:
        ValueError: it is not a finite number >= 0.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = f"the amount of resource {name!r} must be a number, it is {value!r}"
        raise ValueError(text)  # noqa: TRY004 - one type for every bad amount
    if not math.isfinite(value) or value < 0:
        raise ValueError(
            f"the amount of resource {name!r} must be finite and >= 0, it is {value!r}"
        )
    if value > _LARGEST:
        raise ValueError(
            f"the amount of resource {name!r} must be at most {_LARGEST:g}, it is {value!r}"
        )
    return round(value * UNIT)


def quantity(counted: int) -> float:
    """Return counted units as the number a user would write."""
    return counted / UNIT


def slots_of(resources: Mapping[str, int]) -> int:
    """Return how many tasks of one CPU run side by side, of counted units."""
    return resources.get("CPU", 0) // UNIT


def pack_shape(shape: Mapping[str, int], environment: bytes = b"") -> bytes:
    """Return a shape as bytes; amounts of zero do not matter.

    Args:
        shape: name -> counted units.
        environment: id of the runtime environment that the worker must have; empty: none.
    """
    amounts = sorted((name, n) for name, n in shape.items() if n)
    return msgspec.msgpack.encode(_Packed(amounts, environment))


def unpack_shape(packed: bytes) -> Shape:
    """Return the amounts that `pack_shape` packed."""
    return dict(_decoder.decode(packed).amounts)


@functools.lru_cache(maxsize=1024)
def environment_of(packed: bytes) -> bytes:
    """Return the id of the runtime environment that `pack_shape` packed."""
    environment: bytes = _decoder.decode(packed).environment
    return environment


@functools.lru_cache(maxsize=1024)
def expecting(packed: bytes, memory: int) -> bytes:
    """Return a packed shape that reserves at least so much memory, in counted units.

    A shape for which memory was declared stays as it is.
    """
    shape = unpack_shape(packed)
    if "memory" in shape or shape.get(EXPECTED_MEMORY, 0) >= memory:
        return packed
    return pack_shape({**shape, EXPECTED_MEMORY: memory}, environment_of(packed))


def covers(amounts: Mapping[str, int], shape: Mapping[str, int]) -> bool:
    """Whether there is enough of everything that a shape needs."""
    for name, needed in shape.items():  # noqa: SIM110 - all() takes three times as long
        if needed > amounts.get(name, 0):
            return False
    return True


class ResourcePool:
    """The resources of one node, and what is left of them."""

    def __init__(self, total: Mapping[str, int]) -> None:
        self.total = dict(total)
        self.available = dict(total)

    def lacking(self, shape: Mapping[str, int]) -> str | None:
        """Return the name of a resource that the node could never provide, if there is one."""
        for name, needed in shape.items():
            if needed > self.total.get(name, 0):
                return name
        return None

    def fits(self, shape: Mapping[str, int]) -> bool:
        """Whether a shape can be taken now."""
        return covers(self.available, shape)

    def short_of(self, shape: Mapping[str, int]) -> set[str]:
        """Return the names of the resources of which less is left than a shape needs."""
        available = self.available
        return {name for name, needed in shape.items() if needed > available.get(name, 0)}

    def take(self, shape: Mapping[str, int]) -> None:
        """Take a shape, even if less is left (a task that waited goes on at once)."""
        for name, needed in shape.items():
            self.available[name] = self.available.get(name, 0) - needed

    def give(self, shape: Mapping[str, int]) -> None:
        """Give a shape back."""
        for name, needed in shape.items():
            self.available[name] += needed

    def validate(self) -> None:
        """Raise AssertionError when more was given back than taken."""
        for name, left in self.available.items():
            assert left <= self.total.get(name, 0), (name, left, self.total)
