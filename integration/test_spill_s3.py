"""Spilling to a real S3 server: more data than memory, wrong settings, and a server that dies."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import millpond
from integration.conftest import MIB, assert_store_empty, eventually
from integration.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from integration.shuffling import expected_sum, shuffle
from millpond.errors import ConfigurationError, SpillUnavailableError

Start = Callable[..., millpond.Context]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys in the environment, as a user would have them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def server(running: S3Server, credentials: None) -> S3Server:
    return running


def block(value: int, size: int = 4 * MIB) -> np.ndarray:
    return np.full(size, value % 256, dtype=np.uint8)


@millpond.remote
def is_block(array: np.ndarray, value: int) -> bool:
    return bool((array == value % 256).all())


@millpond.remote
def make_block(value: int) -> np.ndarray:
    return block(value)


@millpond.remote
def read_inside(refs: list[millpond.ObjectRef]) -> int:
    return int(millpond.get(refs[0])[0])


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_a_shuffle_larger_than_the_store(
    start: Start, server: S3Server, compression: str | None
) -> None:
    uri = server.uri(f"{BUCKET}/some/where")
    start(object_store_memory=32 * MIB, spill=millpond.SpillOptions(uri, compression))
    maps, sums = shuffle()
    assert sum(millpond.get(sums)) == expected_sum()
    store = millpond.statistics().store
    assert store.spilled_bytes_total > 32 * MIB
    assert store.restored_bytes_total > 32 * MIB
    keys = server.keys()
    assert keys
    assert all(key.startswith(f"{BUCKET}/some/where/millpond-") for key in keys)
    assert len(keys) < store.spilled_objects, "objects are fused"
    del maps, sums
    assert_store_empty()
    eventually(lambda: not server.keys(), "what nobody holds is deleted")
    millpond.shutdown()


def test_everything_is_deleted_at_shutdown(start: Start, server: S3Server) -> None:
    start(object_store_memory=16 * MIB, spill=server.uri(BUCKET))
    refs = [millpond.put(block(i)) for i in range(12)]
    assert server.keys()
    assert millpond.get(is_block.remote(refs[0], 0))
    millpond.shutdown()
    assert server.keys() == []


def test_a_driver_that_is_killed_leaves_nothing(server: S3Server) -> None:
    program = (
        "import millpond, os, signal, sys\n"
        "millpond.init(num_cpus=1, object_store_memory=16 << 20, spill=sys.argv[1], preload=[])\n"
        "refs = [millpond.put(bytes(4 << 20)) for _ in range(8)]\n"
        "print('full', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, server.uri(f"{BUCKET}/killed")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout == "full\n", done.stderr
    eventually(lambda: not server.keys(), "the node deletes what it spilled", 30.0)


def test_reading_more_than_fits_and_larger_than_the_store(start: Start, server: S3Server) -> None:
    start(object_store_memory=16 * MIB, spill=server.uri(f"{BUCKET}/x"))
    refs = [millpond.put(block(i)) for i in range(12)]
    arrays = millpond.get(refs)
    assert [int(array[-1]) for array in arrays] == list(range(12))
    with pytest.warns(millpond.ObjectStoreWarning, match=r"a value of 40\.0 MiB"):
        large = millpond.put(block(7, 40 * MIB))
    assert millpond.get(is_block.remote(large, 7))
    del arrays


@pytest.mark.parametrize(
    ("place", "key", "secret", "text"),
    [
        (BUCKET, ACCESS_KEY, "not-the-secret", "the secret key is wrong"),
        (BUCKET, "nobody", "not-the-secret", "the access key is not known there"),
        ("no-such-bucket", ACCESS_KEY, SECRET_KEY, "the bucket does not exist"),
    ],
)
def test_what_cannot_be_written_is_an_error_at_once(  # noqa: PLR0917 - one row of the table
    start: Start,
    server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    key: str,
    secret: str,
    text: str,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    with pytest.raises(ConfigurationError, match=text) as caught:
        start(spill=server.uri(f"{place}/prefix"))
    assert f"s3://{place}/prefix" in str(caught.value)
    assert secret not in str(caught.value)
    assert not millpond.is_initialized()


def test_keys_in_the_uri_stay_out_of_errors(start: Start, server: S3Server) -> None:
    uri = server.uri(f"{BUCKET}/x").replace("s3://", f"s3://{ACCESS_KEY}:not-the-secret@")
    with pytest.raises(ConfigurationError, match="the secret key is wrong") as caught:
        start(spill=uri)
    assert "not-the-secret" not in str(caught.value)
    start(spill=uri.replace("not-the-secret", SECRET_KEY))
    with pytest.raises(ConfigurationError) as caught:
        start(spill="elsewhere")
    assert SECRET_KEY not in str(caught.value)


@pytest.mark.parametrize("uri", ["nosuch://bucket/x", "s3://", "s3://bucket/x?color=red"])
def test_a_uri_that_means_nothing(start: Start, uri: str) -> None:
    with pytest.raises(ConfigurationError, match="the spill URI"):
        start(spill=uri)


@pytest.mark.slow
def test_a_server_that_is_killed_and_restarted_loses_nothing(
    start: Start, server: S3Server
) -> None:
    start(object_store_memory=32 * MIB, spill=server.uri(f"{BUCKET}/crash"))
    refs = [millpond.put(block(i)) for i in range(20)]
    server.kill()
    ready: list[bool] = []

    def work() -> None:
        """Read what is on the server only, and write more than fits in memory."""
        checks = [is_block.remote(ref, i) for i, ref in enumerate(refs)]
        refs.extend(millpond.put(block(i)) for i in range(20, 40))
        ready.extend(millpond.get(checks))

    worker = threading.Thread(target=work)
    worker.start()
    worker.join(3.0)
    assert worker.is_alive(), "it needs the server"
    server.start()
    worker.join(120.0)
    assert not worker.is_alive()
    assert ready == [True] * 20
    assert all(millpond.get([is_block.remote(ref, i) for i, ref in enumerate(refs)]))


@pytest.mark.slow
def test_a_server_that_answers_with_status_500_is_asked_again(
    start: Start, tmp_path: Path, credentials: None
) -> None:
    server = S3Server(tmp_path / "s3", apart=True)
    try:
        server.start()
        start(object_store_memory=16 * MIB, spill=server.uri(f"{BUCKET}/x"))
        refs = [millpond.put(block(i)) for i in range(8)]
        key = server.keys()[0]
        server.kill_data()
        with pytest.raises(OSError, match="INTERNAL_FAILURE"):
            server.read(key)
        check = is_block.remote(refs[0], 0)
        ready, _ = millpond.wait([check], timeout=3.0)
        assert not ready, "it is on the server only"
        server.start_data()
        assert millpond.get(check)
        assert all(millpond.get([is_block.remote(ref, i) for i, ref in enumerate(refs)]))
        del refs, check
        millpond.shutdown()
        assert server.keys() == []
    finally:
        server.kill()


@pytest.mark.slow
def test_a_server_that_stays_away_is_named_and_nothing_is_lost(
    start: Start, server: S3Server
) -> None:
    uri = server.uri(f"{BUCKET}/away")
    start(object_store_memory=16 * MIB, spill=millpond.SpillOptions(uri, read_timeout=1.0))
    refs = [millpond.put(block(i)) for i in range(10)]
    made = [make_block.remote(i) for i in range(10)]
    millpond.wait(made, num_returns=10)
    server.kill()
    text = rf"{refs[0].hex()} cannot be read now: .*s3://{BUCKET}/away.*It is not lost"
    with pytest.raises(SpillUnavailableError, match=text):
        millpond.get(refs[0])
    with pytest.raises(SpillUnavailableError, match=text):
        millpond.get(is_block.remote(refs[0], 0))
    with pytest.raises(SpillUnavailableError, match=text):
        millpond.get(read_inside.remote([refs[0]]))
    server.start()
    assert (millpond.get(refs[0]) == 0).all()
    assert all(millpond.get([is_block.remote(ref, i) for i, ref in enumerate(refs)]))
    assert all(millpond.get([is_block.remote(ref, i) for i, ref in enumerate(made)]))


def test_a_server_that_is_gone_does_not_stop_the_end(tmp_path: Path, start: Start) -> None:
    server = S3Server(tmp_path / "s3")
    try:
        server.start()
        uri = server.uri(f"{BUCKET}/x").replace("s3://", f"s3://{ACCESS_KEY}:{SECRET_KEY}@")
        start(object_store_memory=16 * MIB, spill=uri)
        refs = [millpond.put(block(i)) for i in range(8)]
    finally:
        server.kill()
    assert len(refs) == 8
    millpond.shutdown()
