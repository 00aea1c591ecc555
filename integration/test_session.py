"""Starting, stopping, and dying: settings, logs, and what is left behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import millpond
from integration.conftest import MIB, eventually
from millpond.errors import ConfigurationError, NotInitializedError


@millpond.remote
def identity(value: object) -> object:
    return value


@millpond.remote
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def increment(self) -> int:
        self.count += 1
        return self.count


def test_init_is_idempotent(start: Callable[..., millpond.Context]) -> None:
    assert not millpond.is_initialized()
    context = start()
    assert millpond.is_initialized()
    assert start() is context
    with pytest.raises(ConfigurationError, match=r"num_cpus=2.*not 1"):
        start(num_cpus=1)
    millpond.shutdown()
    millpond.shutdown()
    assert not millpond.is_initialized()
    assert start() is not context


def test_starts_by_itself_at_first_use() -> None:
    assert millpond.get(identity.remote(3)) == 3
    assert millpond.is_initialized()


def test_many_sessions_one_after_the_other(start: Callable[..., millpond.Context]) -> None:
    for index in range(3):
        with start():
            assert millpond.get(identity.remote(index)) == index
        assert not millpond.is_initialized()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"num_cpus": -1}, "CPU.*-1"),
        ({"num_cpus": 0}, "more than 0"),
        ({"num_cpus": float("nan")}, "nan"),
        ({"resources": {"x": -2}}, "'x'.*-2"),
        ({"object_store_memory": 1 << 60}, r"1152921504606846976 bytes.*machine has \d+"),
        ({"object_store_memory": 100}, "least"),
        ({"object_store_memory": "1G"}, "int"),
        ({"spill": "/does/not/exist"}, "/does/not/exist"),
        ({"spill": "/proc/version"}, "not a directory"),
    ],
)
def test_bad_settings(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        millpond.init(**{"object_store_memory": 64 * MIB, "preload": [], **settings})
    assert not millpond.is_initialized()


def test_read_only_and_full_spill_directories(tmp_path: Path) -> None:
    for size, error in (("1m", millpond.errors.OutOfDiskError), ("ro", ConfigurationError)):
        mount = tmp_path / size
        mount.mkdir()
        options = "ro" if size == "ro" else "size=256k"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mount)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("mounting a tmpfs is not permitted here")
        try:
            with pytest.raises(error, match=str(mount)):
                millpond.init(object_store_memory=64 * MIB, spill=mount, preload=[])
        finally:
            subprocess.run(["umount", str(mount)], check=True)


def test_refs_of_an_old_session(start: Callable[..., millpond.Context]) -> None:
    start()
    ref = identity.remote(1)
    millpond.get(ref)
    millpond.shutdown()
    start()
    for use in (
        lambda: millpond.get(ref),
        lambda: identity.remote(ref),
        lambda: millpond.wait([ref], timeout=1),
        ref.future,
        lambda: identity.remote([ref]),
        lambda: millpond.cancel(ref),
    ):
        with pytest.raises(NotInitializedError, match="shut down"):
            use()


def test_no_session_is_started_for_refs_of_an_old_one(
    start: Callable[..., millpond.Context],
) -> None:
    start()
    ref, counter = identity.remote(1), Counter.remote()
    millpond.get([ref, counter.increment.remote()])
    millpond.shutdown()
    for use in (
        lambda: millpond.get(ref),
        lambda: millpond.get([ref]),
        lambda: millpond.wait([ref], timeout=1),
        lambda: millpond.cancel(ref),
        lambda: millpond.kill(counter),
        counter.increment.remote,
        ref.future,
    ):
        with pytest.raises(NotInitializedError, match="shut down"):
            use()
    assert not millpond.is_initialized()


def test_shutdown_wakes_waiting_threads(engine: millpond.Context) -> None:
    import threading

    @millpond.remote
    def sleep() -> None:
        time.sleep(60)

    ref = sleep.remote()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            millpond.get(ref)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    millpond.shutdown()
    thread.join(10)
    assert isinstance(caught[0], NotInitializedError)


def test_inside_a_worker(engine: millpond.Context) -> None:
    @millpond.remote
    def inside() -> tuple[bool, bool, int]:
        millpond.init(num_cpus=7)
        millpond.shutdown()
        return millpond.is_worker(), millpond.is_initialized(), millpond.get(identity.remote(5))

    assert millpond.get(inside.remote()) == (True, True, 5)
    assert not millpond.is_worker()


def test_forked_child_gets_a_clear_error(engine: millpond.Context) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        answers = []
        for use in (lambda: identity.remote(1), millpond.init, lambda: millpond.put(1)):
            try:
                use()
                answers.append("no error")
            except NotInitializedError as error:
                answers.append("fork" if "fork" in str(error) else str(error))
        os.write(write, ",".join(answers).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "fork,fork,fork"
    assert millpond.get(identity.remote(1)) == 1


def test_output_reaches_the_driver_without_loss(
    engine: millpond.Context, capfd: pytest.CaptureFixture[str]
) -> None:
    @millpond.remote
    def chatty(index: int) -> None:
        for line in range(200):
            print(f"line {index}.{line}")
        print("to stderr", file=sys.stderr)
        logging.getLogger("app").warning("logged %d", index)
        os.system("echo from a child process")
        print("no newline at the end", end="")

    millpond.get([chatty.remote(index) for index in range(5)])
    millpond.shutdown()
    out, err = capfd.readouterr()
    for index in range(5):
        for line in range(200):
            assert f"line {index}.{line}\n" in out
        assert f"logged {index}" in err
    assert out.count("from a child process") == 5
    assert out.count("no newline at the end") == 5
    assert err.count("to stderr") == 5
    assert all("chatty pid=" in line for line in out.splitlines() if "line" in line)
    assert "millpond-task" not in out + err


def test_output_can_be_switched_off(
    start: Callable[..., millpond.Context], capfd: pytest.CaptureFixture[str]
) -> None:
    start(log_to_driver=False)

    @millpond.remote
    def chatty() -> None:
        print("hidden")

    millpond.get(chatty.remote())
    millpond.shutdown()
    assert "hidden" not in capfd.readouterr().out


DRIVER = """
    import os, sys, time, signal
    import numpy as np
    import millpond
    millpond.init(num_cpus=2, object_store_memory=32 << 20, preload=[])

    @millpond.remote
    def busy():
        while True: pass

    @millpond.remote
    class Actor:
        def pid(self): return os.getpid()

    actor = Actor.remote()
    millpond.get(actor.pid.remote())
    refs = [millpond.put(np.ones(4 << 20, dtype=np.uint8)) for _ in range(12)]
    running = busy.remote()
    time.sleep(0.3)
    from millpond.owner.current import current_runtime
    print(current_runtime().session_dir, *millpond.statistics().processes, flush=True)
    {end}
"""


@pytest.mark.parametrize(
    "end",
    [
        "os.kill(os.getpid(), signal.SIGKILL)",
        "raise RuntimeError('the driver fails')",
        "sys.exit(0)",
        "os._exit(1)",
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)",
        "os.kill(millpond.statistics().processes[0], signal.SIGKILL); time.sleep(1); os._exit(0)",
    ],
    ids=["sigkill", "exception", "exit", "os-exit", "sigterm", "node-killed"],
)
def test_nothing_outlives_the_driver(end: str, tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(DRIVER).replace("{end}", end))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    directory, *pids = done.stdout.split()
    begun = time.monotonic()
    eventually(
        lambda: not any(_alive(int(pid)) for pid in pids), "every process is gone", timeout=5
    )
    if "SIGKILL); time" not in end:  # a killed node cannot remove its directory
        eventually(lambda: not Path(directory).exists(), "the directory is gone", timeout=5)
    else:
        import shutil

        shutil.rmtree(directory, ignore_errors=True)
    assert time.monotonic() - begun < 5


def test_a_temporary_directory_with_too_long_a_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(millpond.errors.ConfigurationError, match="Set TMPDIR to a shorter one"):
        millpond.init(num_cpus=1, object_store_memory=16 << 20)
    assert list(long.iterdir()) == []


def test_nothing_outlives_a_driver_that_ends_while_it_starts_the_engine(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(
        "import os, signal, subprocess, millpond\n"
        "from millpond.owner.runtime import Runtime\n"
        "started = subprocess.Popen.__init__\n"
        "def start(self, *args, **kwargs):\n"
        "    started(self, *args, **kwargs)\n"
        "    print(self.pid, flush=True)\n"
        "subprocess.Popen.__init__ = start\n"
        "Runtime.hello = lambda self: os.kill(os.getpid(), signal.SIGKILL)\n"
        "millpond.init(num_cpus=1, object_store_memory=16 << 20, preload=[])\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (node,) = map(int, done.stdout.split())
    eventually(lambda: not _alive(node), "the node is gone")


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_death_of_the_node_is_an_error_not_a_hang(engine: millpond.Context) -> None:
    @millpond.remote
    def sleep() -> None:
        time.sleep(60)

    ref = sleep.remote()
    stored = millpond.put(b"x" * MIB)
    node = millpond.statistics().processes[0]
    os.kill(node, signal.SIGKILL)
    with pytest.raises(millpond.errors.NodeDiedError):
        millpond.get(ref, timeout=20)
    with pytest.raises(millpond.errors.NodeDiedError):
        millpond.get(stored)
    with pytest.raises(millpond.errors.NodeDiedError):
        millpond.get(identity.remote(1), timeout=20)
    millpond.shutdown()


def test_killed_idle_worker_is_replaced_silently(
    engine: millpond.Context, capfd: pytest.CaptureFixture[str]
) -> None:
    millpond.get(identity.remote(1))
    time.sleep(0.2)
    processes = millpond.statistics().processes
    for pid in processes[2:]:
        os.kill(pid, signal.SIGKILL)
    assert millpond.get([identity.remote(i) for i in range(20)]) == list(range(20))
    assert "rror" not in capfd.readouterr().err


def test_workers_get_the_preloaded_modules(start: Callable[..., millpond.Context]) -> None:
    start(preload=["colorsys", "no_such_module_anywhere"])

    @millpond.remote
    def loaded() -> bool:
        return "colorsys" in sys.modules

    eventually(lambda: millpond.get(loaded.remote()), "workers come from the warm zygote")

    @millpond.remote
    def niceness() -> tuple[int, int]:
        return os.getpriority(os.PRIO_PROCESS, 0), len(
            list(Path(f"/proc/{os.getppid()}/task").iterdir())
        )

    # The imports stood back, on a thread of the zygote's that is gone; the workers do not.
    assert millpond.get(niceness.remote()) == (os.getpriority(os.PRIO_PROCESS, 0), 1)


FOLLOWED = """
    import sys, time
    import millpond
    millpond.init(num_cpus=1, object_store_memory=16 << 20)

    @millpond.remote
    class Probe:
        def heavy(self): return {"numpy", "pandas", "pyarrow"} & set(sys.modules)

    @millpond.remote
    def use_numpy():
        import numpy

    def wait_for_workers_with(modules):
        while (heavy := millpond.get(Probe.remote().heavy.remote())) != modules:
            time.sleep(0.05)

    assert millpond.get(Probe.remote().heavy.remote()) == set()
    millpond.get(use_numpy.remote())
    wait_for_workers_with({"numpy", "pyarrow"})
    import pandas
    wait_for_workers_with({"numpy", "pandas", "pyarrow"})
"""


def test_workers_get_the_heavy_modules_that_somebody_imports(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(FOLLOWED))
    subprocess.run([sys.executable, str(script)], timeout=60, check=True)


def test_random_numbers_differ_between_workers(start: Callable[..., millpond.Context]) -> None:
    start(preload=["numpy", "numpy.random"])

    @millpond.remote
    def draw() -> tuple[int, float, float]:
        import random

        import numpy as np

        time.sleep(0.05)
        return os.getpid(), random.random(), float(np.random.random())  # noqa: NPY002

    time.sleep(1)
    drawn = millpond.get([draw.remote() for _ in range(12)])
    assert len({pid for pid, _, _ in drawn}) >= 2
    assert len({a for _, a, _ in drawn}) == 12
    assert len({b for _, _, b in drawn}) == 12


def test_an_interrupt_ends_a_wait_and_nothing_else(start: Callable[..., Any]) -> None:
    start(num_cpus=2)

    @millpond.remote
    def sleep(seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    @millpond.remote
    def add(a: int, b: int) -> int:
        return a + b

    slow = sleep.remote(1.5)
    for _ in range(3):
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            millpond.get(slow)
        timer.join()
        assert millpond.get(add.remote(1, 2)) == 3
    assert millpond.get(slow) == "slept"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
