"""What a simulated cluster has to do: objects that are there, and tasks in the order of submission.

Tasks are made when they are submitted, so that a million of them needs little memory.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ..placement import Need
from ..resources import UNIT

__all__ = ["SHAPE", "WORKLOADS", "Object", "Task", "Workload"]

#: What each task needs to run.
SHAPE: Final = {"CPU": UNIT}

_MB: Final = 1_000_000
#: Tasks of each side of one shuffle.
_SHUFFLE: Final = 32
#: Objects that many tasks of the skewed workload read, the first ones most often.
_HOT: Final = 64


@dataclass(slots=True, frozen=True)
class Object:
    """Something in the store.

    Attributes:
        id: names it.
        size: bytes.
        readers: how many tasks will read it; it is freed after the last one.
    """

    id: bytes
    size: int
    readers: int


@dataclass(slots=True, eq=False)
class Task:
    """Something to be run.

    Attributes:
        key: names it; its place in the order of submission.
        arguments: object -> bytes.
        seconds: that it takes on a node of normal speed, its arguments being there.
        outputs: what it stores.
    """

    key: int
    arguments: dict[bytes, int]
    seconds: float
    outputs: tuple[Object, ...] = ()
    #: how often it was submitted; what an earlier attempt says is ignored
    attempt: int = 0
    #: arguments that do not exist yet
    lacking: int = 0
    #: how often this attempt was handed on by a node
    moves: int = 0
    #: what it says to the policy
    need: Need = field(init=False)

    def __post_init__(self) -> None:
        output = sum(made.size for made in self.outputs)
        self.need = Need(SHAPE, self.arguments, output)


@dataclass(slots=True)
class Workload:
    """All of it.

    Attributes:
        blocks: objects that exist from the start, each on a random node.
        tasks: in the order of submission; what they read is a block or made by an earlier one.
    """

    tasks: Iterator[Task]
    blocks: list[Object] = field(default_factory=list)


def _map(count: int, rng: random.Random) -> Workload:
    """Every task reads a block of its own."""
    blocks = [Object(_name(b"block", i), 64 * _MB, 1) for i in range(count)]
    return Workload(
        (Task(i, {b.id: b.size}, _around(0.5, rng)) for i, b in enumerate(blocks)), blocks
    )


def _shuffle(count: int, rng: random.Random) -> Workload:
    """Independent shuffles: tasks that split a block for others that read a piece of each."""
    rounds = max(1, count // (2 * _SHUFFLE))
    blocks = [Object(_name(b"block", i), 64 * _MB, 1) for i in range(rounds * _SHUFFLE)]

    def tasks() -> Iterator[Task]:
        keys = itertools.count()
        for first in range(0, len(blocks), _SHUFFLE):
            pieces = []
            for block in blocks[first : first + _SHUFFLE]:
                row = tuple(
                    Object(block.id + reducer.to_bytes(2), block.size // _SHUFFLE, 1)
                    for reducer in range(_SHUFFLE)
                )
                pieces.append(row)
                yield Task(next(keys), {block.id: block.size}, _around(0.3, rng), row)
            for column in zip(*pieces, strict=True):
                yield Task(next(keys), {p.id: p.size for p in column}, _around(0.3, rng))

    return Workload(tasks(), blocks)


def _tree(count: int, rng: random.Random) -> Workload:
    """Blocks are reduced two by two, as soon as two are there."""
    leaves = max(2, (count + 1) // 2)
    blocks = [Object(_name(b"block", i), 16 * _MB, 1) for i in range(leaves)]

    def tasks() -> Iterator[Task]:
        keys = itertools.count()
        #: the results that wait for a second one, by their height
        single: dict[int, Object] = {}
        for block in blocks:
            made, height = _made(next(keys), [block], rng), 0
            yield made
            while (other := single.pop(height, None)) is not None:
                made = _made(next(keys), [other, made.outputs[0]], rng)
                yield made
                height += 1
            single[height] = made.outputs[0]
        while len(single) > 1:
            made = _made(next(keys), [single.popitem()[1], single.popitem()[1]], rng)
            yield made
            single[0] = made.outputs[0]

    return Workload(tasks(), blocks)


def _made(key: int, arguments: list[Object], rng: random.Random) -> Task:
    output = Object(_name(b"sum", key), 16 * _MB, 1)
    return Task(key, {a.id: a.size for a in arguments}, _around(0.2, rng), (output,))


def _skewed(count: int, rng: random.Random) -> Workload:
    """Every task reads a block of its own and one of a few hot ones; some take far longer."""
    shares = [1 / (rank + 1) for rank in range(_HOT)]
    chosen = rng.choices(range(_HOT), shares, k=count)
    hot = [Object(_name(b"hot", i), 256 * _MB, chosen.count(i)) for i in range(_HOT)]
    own = [Object(_name(b"block", i), 32 * _MB, 1) for i in range(count)]

    def tasks() -> Iterator[Task]:
        for key, (block, index) in enumerate(zip(own, chosen, strict=True)):
            arguments = {block.id: block.size, hot[index].id: hot[index].size}
            yield Task(key, arguments, 0.5 * rng.lognormvariate(0.0, 0.8))

    return Workload(tasks(), hot + own)


def _around(seconds: float, rng: random.Random) -> float:
    return seconds * rng.uniform(0.8, 1.2)


def _name(kind: bytes, index: int) -> bytes:
    return kind + index.to_bytes(4)


#: name -> makes about so many tasks
WORKLOADS: Final[dict[str, Callable[[int, random.Random], Workload]]] = {
    "map": _map,
    "shuffle": _shuffle,
    "tree": _tree,
    "skewed": _skewed,
}
