"""What Dask's `ResourceProfiler` samples: all processes of the engine, workers among them.

Dask's own tracker is a process, forked from this one, that adds up the memory and CPU of the
driver and its children. But workers are children of the node's, and they share the store's
memory and much else. The tracker here counts all descendants, and what they share once.
"""

from __future__ import annotations

import threading
from multiprocessing import Pipe
from timeit import default_timer
from typing import Any

import psutil

__all__ = ["track_workers"]

#: time, megabytes of memory, and percent of one CPU since the sample before
_Sample = tuple[float, float, float]


def track_workers(profiler: Any) -> None:
    """Have a `ResourceProfiler` sample the workers too, from now on."""
    former = profiler._tracker if profiler._is_running() else None  # noqa: SLF001
    if isinstance(former, _Tracker):
        return
    samples: list[_Sample] = []
    if former is not None:  # it has sampled since the beginning of the block
        former.parent_conn.send("send_data")
        samples = former.parent_conn.recv()
        former.shutdown()
    profiler._tracker = _Tracker(profiler._dt, samples)  # noqa: SLF001
    profiler._tracker.start()  # noqa: SLF001


class _Tracker(threading.Thread):
    """Samples this process and its descendants; serves the same messages as Dask's tracker.

    Args:
        interval: seconds between two samples.
        samples: earlier ones, to be handed out with its own.
    """

    def __init__(self, interval: float, samples: list[_Sample]) -> None:
        super().__init__(name="dask-resource-profiler", daemon=True)
        self._interval = interval
        self._samples = samples
        #: by process id; CPU time is counted from one sample to the next
        self._processes: dict[int, psutil.Process] = {}
        self.parent_conn, self._conn = Pipe()

    def run(self) -> None:
        """Sample from "collect" on; hand out the samples at "send_data"; end at "shutdown"."""
        with self._conn:
            while (message := self._conn.recv()) != "shutdown":
                if message == "send_data":
                    self._conn.send(self._samples)
                    self._samples = []
                    continue
                self._samples.append(self._sample())
                while not self._conn.poll(self._interval):
                    self._samples.append(self._sample())

    def _sample(self) -> _Sample:
        now = default_timer()
        driver = psutil.Process()
        found = {process.pid: process for process in [driver, *driver.children(recursive=True)]}
        self._processes = {
            pid: known if (known := self._processes.get(pid)) == process else process
            for pid, process in found.items()
        }
        memory = cpu = 0.0
        for process in self._processes.values():
            try:
                proportional = process.memory_full_info().pss
                cpu += process.cpu_percent()
            except psutil.Error:  # it has ended, or is another user's
                continue
            memory += proportional
        return now, memory / 1e6, cpu

    def shutdown(self) -> None:
        """End the thread."""
        if not self.parent_conn.closed:
            self.parent_conn.send("shutdown")
            self.join()
            self.parent_conn.close()
