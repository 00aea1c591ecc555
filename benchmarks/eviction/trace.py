"""What a program asked of the store: its tasks in order, their arguments, and their results."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Trace", "TracedTask"]


@dataclass(frozen=True, slots=True)
class TracedTask:
    """A task, or a `put`: objects that are needed, and objects that are made. Numbers name both."""

    arguments: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """A run, free of time.

    Attributes:
        name: what was run.
        sizes: bytes of each object.
        tasks: in the order of their submission. A task can run when its arguments exist.
        kept: objects that were held until the end; all others go after their last use.
        in_order: the tasks asked to be run in the order of submission.
    """

    name: str
    sizes: Sequence[int]
    tasks: Sequence[TracedTask]
    kept: frozenset[int] = frozenset()
    in_order: bool = False

    @property
    def total(self) -> int:
        """The bytes of all objects."""
        return sum(self.sizes)

    @property
    def working_set(self) -> int:
        """The most bytes of objects that are alive at once when the tasks run one by one."""
        left = self.uses()
        alive = most = 0
        for task in self.tasks:
            alive += sum(self.sizes[number] for number in task.outputs)
            most = max(most, alive)
            for number in dict.fromkeys((*task.arguments, *task.outputs)):
                left[number] -= number in task.arguments
                if left[number] == 0 and number not in self.kept:
                    alive -= self.sizes[number]
        return most

    def uses(self) -> list[int]:
        """How many tasks need each object."""
        counts = [0] * len(self.sizes)
        for task in self.tasks:
            for number in set(task.arguments):
                counts[number] += 1
        return counts

    def save(self, path: Path) -> None:
        """Write it to a compressed file."""
        content = {
            "name": self.name,
            "sizes": list(self.sizes),
            "kept": sorted(self.kept),
            "in_order": self.in_order,
            "tasks": [[task.arguments, task.outputs] for task in self.tasks],
        }
        data = json.dumps(content, separators=(",", ":")).encode()
        path.write_bytes(gzip.compress(data, mtime=0))

    @classmethod
    def load(cls, path: Path) -> Trace:
        """Read what `save` wrote."""
        content = json.loads(gzip.decompress(path.read_bytes()))
        tasks = [TracedTask(tuple(needed), tuple(made)) for needed, made in content["tasks"]]
        kept = frozenset(content["kept"])
        return cls(content["name"], content["sizes"], tasks, kept, content["in_order"])
