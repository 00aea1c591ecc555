"""Where the objects of a simulated cluster are, and who will still read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from ..placement import Copies
from .workloads import Object, Task

__all__ = ["Directory"]

_NOWHERE: Final[Copies] = {}


class Directory:
    """All objects that may still be read.

    Args:
        keep_lineage: whether objects may have to be made again: who makes an object is kept then
            for as long as somebody may read it, or what is made from it.
    """

    def __init__(self, *, keep_lineage: bool) -> None:
        self._keep_lineage = keep_lineage
        #: object -> node -> whether it is in that node's memory
        self._copies: dict[bytes, dict[bytes, bool]] = {}
        #: object -> tasks that have not read it (again)
        self._readers: dict[bytes, int] = {}
        self._makers: dict[bytes, Task] = {}
        #: object -> kept makers that read it, should they run again
        self._needed: Counter[bytes] = Counter()
        #: maker -> its outputs that are of no more use
        self._useless: Counter[int] = Counter()

    @property
    def kept(self) -> int:
        """Objects of which anything is known."""
        return len(self._copies.keys() | self._readers.keys() | self._makers.keys())

    def copies(self, object_id: bytes) -> Copies:
        """Return where an object is."""
        return self._copies.get(object_id, _NOWHERE)

    def exists(self, object_id: bytes) -> bool:
        """Whether an object can be read; what no task makes can be read again from its source."""
        return bool(self._copies.get(object_id)) or object_id not in self._makers

    def maker(self, object_id: bytes) -> Task:
        """Return the task that makes an object."""
        return self._makers[object_id]

    def expect(self, task: Task) -> None:
        """A task will make its outputs."""
        for output in task.outputs:
            self._makers[output.id] = task
        if self._keep_lineage and task.outputs:
            self._needed.update(task.arguments.keys())

    def make(self, made: Object) -> bool:
        """An object was made; False when nobody will read it (any more)."""
        return self._readers.setdefault(made.id, made.readers) > 0

    def put(self, object_id: bytes, node: bytes, *, in_memory: bool) -> None:
        """A node has an object, in memory or only on its disk."""
        self._copies.setdefault(object_id, {})[node] = in_memory

    def drop(self, object_id: bytes, node: bytes) -> None:
        """A node has an object no more."""
        self._copies[object_id].pop(node, None)

    def read(self, object_id: bytes) -> Iterable[bytes]:
        """A task has read an object; return the nodes that may drop it, if it was the last to."""
        self._readers[object_id] -= 1
        if self._readers[object_id]:
            return ()
        if not self._keep_lineage:
            self._makers.pop(object_id, None)
            del self._readers[object_id]
        elif not self._needed[object_id]:
            self._forget(object_id)
        return self._copies.pop(object_id, ())

    def read_again(self, object_id: bytes) -> None:
        """One more task than was known will read an object."""
        self._readers[object_id] += 1

    def _forget(self, object_id: bytes) -> None:
        """Keep nothing of an object that nobody will need, nor of what is of use only for that."""
        useless = [object_id]
        while useless:
            object_id = useless.pop()
            del self._needed[object_id]
            maker = self._makers.get(object_id)
            if maker is None:
                del self._readers[object_id]
                continue
            self._useless[maker.key] += 1
            if self._useless[maker.key] < len(maker.outputs):
                continue
            del self._useless[maker.key]
            for output in maker.outputs:
                del self._makers[output.id], self._readers[output.id]
            for argument in maker.arguments:
                self._needed[argument] -= 1
                if not (self._needed[argument] or self._readers[argument]):
                    useless.append(argument)
