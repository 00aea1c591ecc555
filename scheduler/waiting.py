"""What each owner waits for, and who was overtaken how often by others. Pure bookkeeping."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace

from .requests import Request

__all__ = ["PATIENCE", "Overtaken", "OwnerQueue"]

#: grants that may overtake somebody who waits for more resources than are free
PATIENCE = 8

#: who waits: an owner and a shape
Waiting = tuple[bytes, bytes]
#: an item of a heap: order, serial, request
_Place = tuple[int, int, Request]


class OwnerQueue:
    """What one owner waits for, and the number of leases that it holds."""

    def __init__(self) -> None:
        #: shape -> [leases wanted, order of the first task that waits for one]
        self.leases_wanted: dict[bytes, list[int]] = {}
        self.leases_held = 0
        #: shape -> heap of (order, serial, request), with some that wait no more
        self._requests: dict[bytes, list[_Place]] = {}
        #: shape -> key -> serial, of those that wait
        self._serials: dict[bytes, dict[Hashable, int]] = {}
        self._serial = itertools.count()

    def waiting(self) -> Iterator[tuple[bytes, int]]:
        """Yield shapes, and how many requests or leases of each it waits for."""
        for shape, serials in self._serials.items():
            yield shape, len(serials)
        for shape, (count, _) in self.leases_wanted.items():
            yield shape, count

    def add(self, request: Request) -> None:
        """Put a request in its place."""
        heap, serial = self._requests.setdefault(request.shape, []), next(self._serial)
        heapq.heappush(heap, (request.order, serial, request))
        self._serials.setdefault(request.shape, {})[request.key] = serial

    def withdraw(self, key: Hashable) -> bool:
        """Forget a request; False when it does not wait here."""
        found = [serials.pop(key, None) is not None for serials in self._serials.values()]
        return any(found)

    def head(self, shape: bytes) -> Request | None:
        """Return the first request of a shape."""
        heap = self._requests.get(shape, [])
        while heap and not self._waits(heap[0]):
            heapq.heappop(heap)
        if heap:
            return heap[0][2]
        self._requests.pop(shape, None)
        self._serials.pop(shape, None)
        return None

    def heads(self) -> Iterator[Request]:
        """Yield the first request of each shape."""
        for shape in list(self._requests):
            request = self.head(shape)
            if request is not None:
                yield request

    def in_order(self) -> Iterator[Request]:
        """Yield the requests of all shapes in the order of submission; not to be changed while."""
        for place in heapq.merge(*(_ascending(heap) for heap in self._requests.values())):
            if self._waits(place):
                yield place[2]

    def remove_head(self, request: Request) -> None:
        """Take out the first request of its shape."""
        _, _, first = heapq.heappop(self._requests[request.shape])
        assert first is request, (first, request)
        del self._serials[request.shape][request.key]

    def reshape(self, shape_of: Callable[[Request], bytes]) -> None:
        """Give waiting requests other shapes; their order stays."""
        places = itertools.chain(*self._requests.values())
        waiting = [place for place in places if self._waits(place)]
        self._requests.clear()
        self._serials.clear()
        for order, serial, request in waiting:
            shape = shape_of(request)
            moved = request if shape == request.shape else replace(request, shape=shape)
            self._requests.setdefault(shape, []).append((order, serial, moved))
            self._serials.setdefault(shape, {})[request.key] = serial
        for heap in self._requests.values():
            heapq.heapify(heap)

    def remove_lease(self, shape: bytes) -> None:
        """One lease of a shape that was wanted is held from now on."""
        wanted = self.leases_wanted[shape]
        wanted[0] -= 1
        if wanted[0] == 0:
            del self.leases_wanted[shape]
        self.leases_held += 1

    def _waits(self, place: _Place) -> bool:
        """Whether what is in a heap was not withdrawn."""
        _, serial, request = place
        return self._serials[request.shape].get(request.key) == serial

    def validate(self) -> None:
        """Raise AssertionError where it contradicts itself."""
        assert self._requests.keys() == self._serials.keys()
        for shape, serials in self._serials.items():
            waiting = {r.key: serial for _, serial, r in filter(self._waits, self._requests[shape])}
            assert waiting == serials, shape
        assert all(count > 0 for count, _ in self.leases_wanted.values()), self.leases_wanted


def _ascending(heap: list[_Place]) -> Iterator[_Place]:
    """Yield the items of a heap in order, without the cost of sorting those nobody asks for."""
    border = [(place, index) for index, place in enumerate(heap[:1])]
    while border:
        place, index = heapq.heappop(border)
        yield place
        for child in range(2 * index + 1, min(2 * index + 3, len(heap))):
            heapq.heappush(border, (heap[child], child))


class Overtaken:
    """How often those who wait for resources were overtaken, the first who waits first."""

    def __init__(self) -> None:
        self._counts: dict[Waiting, tuple[frozenset[str], int]] = {}

    def begin(self, waiting: Waiting, shape: Mapping[str, int]) -> None:
        """Somebody waits for a shape, perhaps for a while already."""
        if waiting not in self._counts:
            self._counts[waiting] = frozenset(shape), 0

    def granted(self, to: Waiting, shape: Mapping[str, int]) -> None:
        """Somebody waits no more, and took resources before the others could."""
        self._counts.pop(to, None)
        for waiting, (names, count) in self._counts.items():
            if not names.isdisjoint(shape):
                self._counts[waiting] = names, count + 1

    def end(self, waiting: Waiting) -> None:
        """Somebody waits no more."""
        self._counts.pop(waiting, None)

    def drop_owner(self, owner: bytes) -> None:
        """An owner died."""
        for waiting in [waiting for waiting in self._counts if waiting[0] == owner]:
            del self._counts[waiting]

    def owners(self) -> set[bytes]:
        """Return the owners of which something waits."""
        return {owner for owner, _ in self._counts}

    def too_often(self) -> list[Waiting]:
        """Return those who should be overtaken no more."""
        return [waiting for waiting, (_, count) in self._counts.items() if count >= PATIENCE]
