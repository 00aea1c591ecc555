"""`millpond.dask.Client` and its futures: what users of dask.distributed's client expect."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import millpond
from integration.conftest import assert_store_empty, eventually
from millpond.dask import Client, Future, as_completed, futures_of, progress, wait
from millpond.errors import ConfigurationError, GetTimeoutError, NotInitializedError


def inc(x: int) -> int:
    return x + 1


def add(x: int, y: int = 0, *, z: int = 0) -> int:
    return x + y + z


def fail(x: object) -> None:
    raise LookupError(x)


@pytest.fixture
def client(engine: millpond.Context) -> Client:
    return Client(set_as_default=False)


def test_a_client_is_the_default_scheduler_while_it_is_open(engine: millpond.Context) -> None:
    before = dask.config.get("scheduler", None)
    with Client() as client:
        assert da.ones(20, chunks=5).sum().compute() == 20
        assert dask.base.get_scheduler() is millpond.dask.get
        assert da.ones(20, chunks=5).sum().compute(scheduler=client) == 20
        assert futures_of(dask.persist(da.ones(20, chunks=5), scheduler=client))
        assert client.status == "running"
    assert dask.config.get("scheduler", None) == before
    assert client.status == "closed"
    client.close()
    with pytest.raises(NotInitializedError, match="closed"):
        client.submit(inc, 1)
    assert millpond.is_initialized()  # the client did not start it


def test_a_client_stops_the_engine_that_it_started() -> None:
    settings = {"object_store_memory": 64 << 20, "preload": []}
    with Client(n_workers=2, threads_per_worker=1, **settings) as client:
        context = millpond.context()
        assert context is not None
        assert context.num_cpus == 2
        assert client.submit(inc, 1).result() == 2
    assert not millpond.is_initialized()
    with pytest.raises(ConfigurationError, match="awaited"):
        Client(asynchronous=True)


def test_submit_and_map(client: Client) -> None:
    one = client.submit(inc, 1)
    assert isinstance(one, Future)
    two = client.submit(add, one, y=one, z=1)
    assert two.result() == 5
    assert (one.status, one.done(), one.cancelled(), one.exception()) == (
        "finished",
        True,
        False,
        None,
    )
    assert client.submit(sum, [one, two, 1]).result() == 8
    assert client.submit(lambda d: d["a"][0], {"a": (one,)}).result() == 2
    assert client.gather(client.map(inc, range(100))) == list(range(1, 101))
    added = client.map(add, [one, two], [10, 20], z=100)
    assert client.gather(added) == [112, 125]
    keyed = client.map(inc, range(2), key=["a", "b"])
    assert [future.key for future in keyed] == ["a", "b"]
    assert client.map(inc, [7], key="prefix")[0].key.startswith("prefix-")
    with pytest.raises(ValueError, match="2 keys for 3 calls"):
        client.map(inc, range(3), key=["a", "b"])
    with pytest.raises(TypeError, match="must be a function"):
        client.submit(3)  # type: ignore[arg-type]


def test_pure_calls_are_not_repeated(client: Client, tmp_path: Path) -> None:
    def touch(i: int) -> None:
        with (tmp_path / str(i)).open("a") as file:
            file.write("x")

    first, second = client.submit(touch, 1), client.submit(touch, 1)
    assert first.key == second.key
    client.gather([first, second, client.submit(touch, 2, pure=False)])
    client.gather(client.submit(touch, 2, pure=False))
    assert (tmp_path / "1").read_text() == "x"
    assert (tmp_path / "2").read_text() == "xx"
    del first, second
    client.submit(touch, 1).result()
    assert (tmp_path / "1").read_text() == "xx"


def test_scatter_and_gather_keep_the_structure(client: Client) -> None:
    array = np.arange(100_000)
    future = client.scatter(array)
    np.testing.assert_array_equal(future.result(), array)
    result = future.result()
    result[0] = 5  # the caller's own
    listed = client.scatter([1, [2, 3]])
    assert [one.result() for one in listed] == [1, [2, 3]]
    named = client.scatter({"x": 1, "y": array}, broadcast=True)
    assert client.submit(lambda x, y: x + int(y.sum()), named["x"], named["y"]).result() == (
        1 + array.sum()
    )
    assert client.gather({"a": listed, "b": (named["x"], 9)}) == {"a": [1, [2, 3]], "b": (1, 9)}


def test_errors(client: Client) -> None:
    future = client.submit(fail, 3)
    after = client.submit(inc, future)
    with pytest.raises(LookupError, match="3"):
        future.result()
    assert isinstance(after.exception(), LookupError)
    assert future.status == after.status == "error"
    assert future.traceback() is not None
    good = client.submit(inc, 1)
    with pytest.raises(LookupError):
        client.gather([good, future])
    assert client.gather([good, future, after], errors="skip") == [2]
    with pytest.raises(ValueError, match="errors must be"):
        client.gather([good], errors="ignore")


def test_retries_of_a_submitted_function(client: Client, tmp_path: Path) -> None:
    def third_time(folder: Path) -> int:
        attempt = len(list(folder.iterdir()))
        (folder / str(attempt)).touch()
        if attempt < 2:
            raise OSError(attempt)
        return attempt

    assert client.submit(third_time, tmp_path, retries=2).result() == 2
    (tmp_path / "0").unlink()
    (tmp_path / "1").unlink()
    (tmp_path / "2").unlink()
    assert isinstance(
        client.submit(third_time, tmp_path, retries=1, pure=False).exception(), OSError
    )
    assert len(list(tmp_path.iterdir())) == 2


def test_cancel(client: Client, tmp_path: Path) -> None:
    def nap(i: int) -> int:
        (tmp_path / str(i)).touch()
        while True:
            time.sleep(0.01)

    futures = client.map(nap, range(20))
    dependent = client.submit(inc, futures[-1])
    eventually(lambda: len(list(tmp_path.iterdir())) >= 2, "two run")
    client.cancel([futures, dependent])
    assert futures[0].cancelled()
    assert dependent.status == "cancelled"
    with pytest.raises(CancelledError):
        futures[0].result()
    with pytest.raises(CancelledError):
        client.gather(futures)
    assert client.submit(inc, 1).result() == 2  # the workers are free
    assert len(list(tmp_path.iterdir())) < 20
    done = client.submit(inc, 5)
    wait(done)
    done.cancel()
    assert done.status == "cancelled"
    assert client.submit(inc, 5).result() == 6  # not the cancelled one


def test_callbacks_waiting_and_timeouts(client: Client, tmp_path: Path) -> None:
    go = tmp_path / "go"

    def wait_for_go(i: int) -> int:
        while not go.exists():
            time.sleep(0.005)
        return i

    called = threading.Event()
    waiting = client.submit(wait_for_go, 1)
    quick = client.submit(inc, 1)
    quick.add_done_callback(lambda future: called.set() if future is quick else None)
    assert called.wait(30)
    assert waiting.status == "pending"
    with pytest.raises(GetTimeoutError):
        waiting.result(timeout="10 ms")
    with pytest.raises(TimeoutError):
        waiting.exception(timeout=0.01)
    found = wait([waiting, quick], return_when="FIRST_COMPLETED")
    assert found == ({quick}, {waiting})
    with pytest.raises(GetTimeoutError, match="1 of 2"):
        wait([waiting, quick], timeout=0.01)
    with pytest.raises(ValueError, match="return_when"):
        wait([quick], return_when="NEVER")
    with pytest.raises(GetTimeoutError):
        next(as_completed([waiting], timeout=0.01))
    completed = as_completed([waiting, quick])
    assert next(completed) is quick
    assert completed.count() == 1
    go.touch()
    assert wait([waiting, quick]).not_done == set()
    assert completed.next_batch() == [waiting]
    assert completed.is_empty()
    assert list(completed) == []


def test_as_completed_with_more_to_come(client: Client) -> None:
    completed = as_completed(client.map(inc, range(5)), with_results=True)
    results = []
    for future, value in completed:
        results.append(value)
        if value < 5:
            completed.add(client.submit(add, future, 10))
    assert sorted(results) == sorted([*range(1, 6), *range(11, 15)])
    failing = as_completed([client.submit(fail, 1)], with_results=True, raise_errors=False)
    assert isinstance(next(failing)[1], LookupError)
    with pytest.raises(LookupError):
        next(as_completed([client.submit(fail, 1)], with_results=True))


def test_compute_returns_futures(client: Client) -> None:
    x = da.arange(100, chunks=10)
    total, number, bag = client.compute([x.sum(), 5, db.from_sequence(range(5)).sum()])
    assert (total.result(), number, bag.result()) == (4950, 5, 10)
    assert client.compute(x[::2]).result().tolist() == list(range(0, 100, 2))
    assert client.compute(dask.delayed(inc)(1), sync=True) == 2
    frame = dd.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=3)
    assert len(client.compute(frame).result()) == 10
    broken = client.compute(dask.delayed(fail)(1), retries=1)
    assert isinstance(broken.exception(), LookupError)


def test_futures_in_collections(client: Client) -> None:
    parts = client.map(lambda i: pd.DataFrame({"a": [i, i + 1]}), range(3))
    with millpond.dask.enable():
        assert dd.from_delayed(parts, meta={"a": int}).a.sum().compute() == 9
        assert dask.delayed(inc)(client.submit(inc, 1)).compute() == 3
        assert dask.delayed(sum)([client.submit(inc, 1), 4]).compute() == 6
        row = client.submit(np.arange, 5)
        assert da.from_delayed(row, (5,), dtype=int).sum().compute() == 10
        assert db.from_delayed([client.submit(list, "ab")]).compute() == ["a", "b"]


def test_futures_of_persisted_collections(client: Client) -> None:
    x = client.persist(da.ones(100, chunks=10))
    table = dd.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=2)
    (frame,) = client.persist([table + 1])  # what is here already needs no future
    assert len(futures_of(x)) == 10
    assert len(futures_of(frame, [x])) == 12
    assert wait(frame).not_done == set()
    out = io.StringIO()
    progress(x, frame, out=out)
    assert "100% Completed" in out.getvalue()
    assert sum(value.sum() for _, value in as_completed(x, with_results=True)) == 100
    assert futures_of(5, {"a": "b"}) == []
    with millpond.dask.enable():
        assert x.sum().compute() == 100
    del x, frame
    assert_store_empty()


def test_awaiting_a_future(client: Client) -> None:
    import asyncio

    async def both() -> int:
        return int(await client.submit(inc, 1)) + int(await client.submit(inc, 2))

    assert asyncio.run(both()) == 5

    async def cancelled() -> None:
        future = client.submit(time.sleep, 60)
        future.cancel()
        await future

    with pytest.raises(CancelledError):
        asyncio.run(cancelled())


def test_a_client_inside_a_task(client: Client) -> None:
    def nested(n: int) -> int:
        with Client() as inner:
            return sum(inner.gather(inner.map(inc, range(n))))

    assert client.submit(nested, 4).result() == 10
    assert client.submit(os.getpid).result() != os.getpid()


def test_what_a_task_needs(start: Callable[..., millpond.Context]) -> None:
    start(resources={"GPU": 1})
    client = Client(set_as_default=False)
    assert client.submit(inc, 1, resources={"GPU": 1}, memory="256 MiB").result() == 2
    with pytest.raises(millpond.errors.ResourceError, match="GPU"):
        client.submit(inc, 2, resources={"GPU": 2})
    with pytest.raises(TypeError, match="memory must be bytes"):
        client.submit(inc, 2, memory="much")
