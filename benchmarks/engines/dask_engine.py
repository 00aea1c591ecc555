"""dask.distributed: its Client on a LocalCluster of one-thread worker processes."""

# ruff: noqa: D102 - the interface documents the methods

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, LocalCluster, as_completed, worker_client
from distributed.actor import BaseActorFuture

from .. import shuffling
from ..frames import modin_on
from .interface import Engine, Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


#: A smaller limit, at small scales, would leave little room beside a worker's own imports.
_LEAST_WORKER_BYTES = 500_000_000
#: With limits as small as those here workers are killed at them, mostly until the shuffle fails.
_NO_KILLING = {
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}


@dataclass(frozen=True, slots=True)
class _Submit:
    """A function bound to a client; keeps the function in sight for `Client.map`."""

    client: Any
    function: Callable[..., Any]
    options: dict[str, Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.client.submit(self.function, *arguments, pure=False, **self.options)


class DaskEngine(Engine):
    """distributed's Client API, in its own idiom: `map`, `scatter` of lists, `as_completed`."""

    def __init__(self) -> None:
        self._cluster: Any = None
        self._client: Any = None
        self._workers: list[str] = []

    def start(self, settings: Settings) -> None:
        limit = settings.worker_bytes
        if limit is not None:
            dask.config.set(_NO_KILLING)
        self._cluster = LocalCluster(
            n_workers=settings.cpus,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit="auto" if limit is None else max(limit, _LEAST_WORKER_BYTES),
        )
        self._client = Client(self._cluster)
        self._workers = sorted(self._client.scheduler_info(n_workers=-1)["workers"])

    def stop(self) -> None:
        self._client.close()
        self._cluster.close()

    def dask(self) -> AbstractContextManager[object]:
        return nullcontext()  # the latest client is Dask's default

    @contextmanager
    def inside_worker(self) -> Iterator[None]:
        # worker_client() also leaves the worker's only thread to the tasks that are submitted here.
        with worker_client() as client:
            self._client = client
            yield

    def _placed(self, slot: int | None) -> dict[str, Any]:
        if slot is None:
            return {}
        return {"workers": [self._workers[slot % len(self._workers)]], "allow_other_workers": False}

    def remote(
        self, function: Callable[..., Any], slot: int | None = None, returns: int = 1
    ) -> Callable[..., Any]:
        del returns
        return _Submit(self._client, function, self._placed(slot))

    def submit_many(self, task: Callable[..., Any], count: int) -> list[Any]:
        if not isinstance(task, _Submit):
            raise TypeError(f"not made by remote(): {type(task).__name__}")
        futures: list[Any] = self._client.map(task.function, range(count), pure=False)
        return futures

    def get(self, ref: Any) -> Any:
        if isinstance(ref, BaseActorFuture):
            return ref.result()
        if isinstance(ref, list) and ref and isinstance(ref[0], BaseActorFuture):
            return [future.result() for future in ref]
        return self._client.gather(ref)

    def put(self, value: Any) -> Any:
        return self._client.scatter(value, hash=False)

    def put_many(self, values: Sequence[Any]) -> list[Any]:
        futures: list[Any] = self._client.scatter(list(values), hash=False)
        return futures

    def drain(self, refs: list[Any]) -> int:
        return sum(1 for _ in as_completed(refs))

    def actor(self, cls: type, slot: int | None = None) -> Callable[[], Any]:
        def create() -> Any:
            future = self._client.submit(cls, actor=True, pure=False, **self._placed(slot))
            return future.result()

        return create

    def method(self, handle: Any, name: str) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(handle, name)
        return call

    def kill(self, handle: Any) -> None:
        """Do nothing: an actor ends when its last handle is dropped."""

    def frames(self) -> ModuleType:
        return modin_on("Dask")

    def shuffle(self, work: shuffling.Work) -> NDArray[np.uint64]:
        """Rechunk an array from rows to columns peer to peer, Dask's way to shuffle arrays."""
        import dask.array as da
        import numpy as np

        parts, numbers = work.parts, work.numbers

        def make(block_id: tuple[int, int]) -> NDArray[np.uint64]:
            return shuffling.make_partition(block_id[0], work).reshape(1, -1)

        def sums(column: NDArray[np.uint64]) -> NDArray[np.uint64]:
            return shuffling.sum_pieces(work, *column).reshape(-1, 1)

        rows = da.map_blocks(
            make,
            chunks=((1,) * parts, (parts * numbers,)),
            dtype=np.uint64,
            meta=np.empty((0, 0), np.uint64),
        )
        columns = rows.rechunk((parts, numbers), method="p2p")
        result = columns.map_blocks(sums, chunks=((parts,), (1,) * parts), dtype=np.uint64)
        found: NDArray[np.uint64] = self._client.compute(result).result()
        return found
