"""What crossing from node to node costs, on one machine: ``python -m benchmarks.cluster``.

Bytes that moved are the kernel's count of what went over the loopback interface.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import millpond
from millpond.testing import Cluster

_MIB = 1 << 20
_GIB = 1 << 30
#: nodes that want one object at once, and its bytes
_READERS, _SHARED = 8, 256 * _MIB
#: nodes of the last two
_NODES = 3
#: blocks on each node, and their bytes
_BLOCKS, _BLOCK = 8, 8 * _MIB
#: seconds until what was dropped is free, and nothing is on its way
_SETTLE = 0.5


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="the medians are shown (3)")
    repeats = parser.parse_args().repeats
    rows: list[tuple[str, str]] = []
    raw = statistics.median(_socket_rate() for _ in range(repeats))
    rows.append(("a TCP socket between two Python processes", f"{raw / 1e9:.2f} GB/s"))
    for tls in (False, True):
        transfer, tasks = _between_two(tls=tls, repeats=repeats)
        name = "with TLS" if tls else "without TLS"
        rows.append((f"an object of 1 GiB from another node, {name}", f"{transfer / 1e9:.2f} GB/s"))
        rows.append(("the same, times the socket", f"{transfer / raw:.2f}"))
        rows.append((f"no-op tasks on another node, {name}", f"{tasks:,.0f}/s"))
    rate, sent = _broadcast(repeats)
    name = f"an object of {_SHARED // _MIB} MiB to {_READERS} nodes at once"
    rows.append((f"{name}, together", f"{rate / 1e9:.2f} GB/s"))
    rows.append(("the same: sent by the node that had it, times the object", f"{sent:.2f}"))
    with _three_nodes() as names:
        rows.append(("map over placed blocks: moved, of all bytes", f"{_map(names):.3f}"))
        rows.append(("shuffle: moved, of the bytes that must", f"{_shuffle(names):.3f}"))
    print("| what | measured |\n| --- | --- |")
    for what, measured in rows:
        print(f"| {what} | {measured} |")


def _socket_rate() -> float:
    """Return the bytes per second of 1 GiB through a socket, into memory that exists."""
    target = bytearray(b"\1") * _GIB  # its pages exist
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = multiprocessing.get_context("spawn").Process(
            target=_send, args=(server.getsockname()[1],)
        )
        sender.start()
        connection, _ = server.accept()
        with connection:
            connection.recv(1)
            began, received = time.perf_counter(), 0
            view = memoryview(target)
            while received < _GIB:
                received += connection.recv_into(view[received:])
            rate = _GIB / (time.perf_counter() - began)
        sender.join()
    return rate


def _send(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        content = memoryview(bytearray(b"\1") * _GIB)
        connection.sendall(b"!")
        connection.sendall(content)


def _between_two(*, tls: bool, repeats: int) -> tuple[float, float]:
    """Return bytes per second of an object, and tasks per second, from and on another node."""
    with Cluster(num_nodes=1, object_store_memory=3 * _GIB, tls=tls) as cluster:
        cluster.add_node(resources={"there": 1000})
        cluster.connect()
        there = millpond.remote(num_cpus=0, resources={"there": 1})

        @there
        def make(number: int) -> Any:
            return np.full(_GIB // 8, number)

        @there
        def noop() -> None:
            return None

        rates = []
        for number in range(repeats + 1):
            ref = make.remote(number)
            millpond.wait([ref])
            began = time.perf_counter()
            found = millpond.get(ref)
            rates.append(_GIB / (time.perf_counter() - began))
            if found[-1] != number:
                raise AssertionError("another object came")
            del found, ref
            time.sleep(_SETTLE)
        del rates[0]  # into memory that was not used before
        millpond.get([noop.remote() for _ in range(500)])
        tasks = []
        for _ in range(repeats):
            began = time.perf_counter()
            millpond.get([noop.remote() for _ in range(5_000)])
            tasks.append(5_000 / (time.perf_counter() - began))
    return statistics.median(rates), statistics.median(tasks)


def _broadcast(repeats: int) -> tuple[float, float]:
    """Return the bytes per second that all readers get together, and what part the first sent."""
    names = [f"node{number}" for number in range(_READERS)]
    with Cluster(num_nodes=0, object_store_memory=2 * _SHARED) as cluster:
        for name in names:
            cluster.add_node(resources={name: 1})
        cluster.connect(num_cpus=0)

        def read(block: Any) -> int:
            return int(block[-1])

        readers = [millpond.remote(resources={name: 1})(read) for name in names]
        seconds, sent = [], []
        for number in range(repeats + 1):
            ref = millpond.put(np.full(_SHARED // 8, number))
            before = millpond.statistics().sent_bytes
            began = time.perf_counter()
            if millpond.get([reader.remote(ref) for reader in readers]) != [number] * _READERS:
                raise AssertionError("another object came")
            seconds.append(time.perf_counter() - began)
            sent.append((millpond.statistics().sent_bytes - before) / _SHARED)
            del ref
            time.sleep(_SETTLE)
    # The first time goes into memory that was not used before.
    return _READERS * _SHARED / statistics.median(seconds[1:]), statistics.median(sent[1:])


@contextmanager
def _three_nodes() -> Iterator[list[str]]:
    """Yield the resources by which each of three nodes can be asked for."""
    names = [f"node{number}" for number in range(_NODES)]
    with Cluster(num_nodes=0, object_store_memory=_GIB) as cluster:
        for name in names:
            cluster.add_node(resources={name: 1000}, num_cpus=2)
        cluster.connect(num_cpus=0)
        yield names


def _place(names: list[str]) -> list[millpond.ObjectRef[Any]]:
    """Return blocks, as many on each node."""

    def block(number: int) -> Any:
        return np.full(_BLOCK // 8, number)

    refs = []
    for name in names:
        make = millpond.remote(num_cpus=0, resources={name: 1})(block)
        refs += [make.remote(number) for number in range(_BLOCKS)]
    millpond.wait(refs, num_returns=len(refs))
    time.sleep(_SETTLE)
    return refs


def _map(names: list[str]) -> float:
    """Return the part of the bytes of placed blocks that tasks which read one each have moved."""

    @millpond.remote
    def read(block: Any) -> int:
        time.sleep(0.05)
        return int(block[0])

    refs = _place(names)
    before = _moved()
    found = millpond.get([read.remote(ref) for ref in refs])
    if found != list(range(_BLOCKS)) * len(names):
        raise AssertionError("wrong blocks")
    return (_moved() - before) / (len(refs) * _BLOCK)


def _shuffle(names: list[str]) -> float:
    """Return how many times the bytes that a shuffle has to move were moved."""
    parts = len(names) * _BLOCKS

    @millpond.remote(num_returns=parts)
    def split(block: Any) -> list[Any]:
        return np.array_split(block, parts)

    @millpond.remote
    def merge(*pieces: Any) -> int:
        return sum(int(piece.sum()) for piece in pieces)

    refs = _place(names)
    before = _moved()
    rows = [split.remote(ref) for ref in refs]
    sums = [merge.remote(*[row[part] for row in rows]) for part in range(parts)]
    expected = len(names) * sum(range(_BLOCKS)) * _BLOCK // 8
    if sum(millpond.get(sums)) != expected:
        raise AssertionError("a wrong sum")
    # Each merge finds the pieces of one node where it runs.
    must = len(refs) * _BLOCK * (len(names) - 1) / len(names)
    return (_moved() - before) / must


def _moved() -> int:
    """Return the bytes that went over the loopback interface so far."""
    time.sleep(_SETTLE)
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "lo":
            return int(counts.split()[0])
    raise RuntimeError("there is no loopback interface")


if __name__ == "__main__":
    main()
