"""Without spilling: who waits for room that nobody will ever make is told so.

Each case is a program of its own, so that no thread but its own counts.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from integration.cluster_support import needs_cluster

BEGIN = """
import sys, threading, time
sys.path[:0] = eval(sys.argv[1])
import numpy as np
import millpond
from millpond.errors import GetTimeoutError, ObjectStoreFullError

MIB = 1 << 20
millpond.init(num_cpus=2, object_store_memory=32 * MIB, spill=False, preload=[])

def block(mebibytes):
    return np.ones(mebibytes * MIB, dtype=np.uint8)

@millpond.remote
def make(mebibytes):
    return block(mebibytes)

@millpond.remote
def fill_and_make(refs, mebibytes):
    held = millpond.get(refs)
    return millpond.get(make.remote(mebibytes)).copy()

@millpond.remote
class Keeper:
    def keep(self, array):
        self.array = array
    def put(self, mebibytes):
        millpond.get(millpond.put(block(mebibytes)))
    def drop(self):
        time.sleep(1.5)
        self.array = None

def put():
    return millpond.put(block(7))
"""


def outcome(program: str, begin: str = BEGIN) -> str:
    """Run a program; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", begin + program, repr(sys.path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_driver_that_waits_for_a_task_while_it_pins_everything() -> None:
    text = outcome("""
held = millpond.get([put() for _ in range(4)])
try:
    millpond.get(make.remote(10))
except ObjectStoreFullError as error:
    print(error)
assert all(array[0] == 1 for array in held)
del held
assert millpond.get(make.remote(10))[0] == 1
print("went on")
""")
    assert "spilling is off" in text
    assert "The largest objects" in text
    assert text.count("7.0 MiB") >= 4, text
    assert "<string>" in text, "the line that put them"
    assert text.endswith("went on\n")


def test_everything_is_pinned_by_an_idle_actor() -> None:
    text = outcome("""
keepers = [Keeper.remote() for _ in range(4)]
millpond.get([keeper.keep.remote(put()) for keeper in keepers])
try:
    millpond.put(block(10))
except ObjectStoreFullError as error:
    print("refused", error.requested_bytes)
millpond.kill(keepers.pop())
millpond.get(millpond.put(block(7)))
print("went on")
""")
    assert text.startswith("refused 104")
    assert text.endswith("went on\n")


def test_processes_that_wait_for_each_other() -> None:
    """The driver waits for a task, that for a task of its own, which waits for room."""
    text = outcome("""
refs = [put() for _ in range(4)]
try:
    millpond.get(fill_and_make.remote(refs, 10))
except ObjectStoreFullError:
    print("refused")
""")
    assert text == "refused\n"


def test_only_the_oldest_of_those_who_wait_is_refused_at_once() -> None:
    text = outcome("""
held = millpond.get([put() for _ in range(3)])
refs = [make.remote(8) for _ in range(2)]
last = millpond.get(put())
ready, rest = millpond.wait(refs, num_returns=1)  # either may have asked first
for ref in ready + rest:
    try:
        millpond.get(ref)
        print("made")
    except ObjectStoreFullError:
        print("refused")
        held.clear()
""")
    assert sorted(text.split()) in (["made", "refused"], ["made", "made"]), text


@pytest.mark.parametrize("daemon", [False, True])
def test_a_thread_that_lets_go_later_is_waited_for(*, daemon: bool) -> None:
    text = outcome(f"""
held = millpond.get([put() for _ in range(4)])
def let_go():
    time.sleep(3.0)
    held.clear()
threading.Thread(target=let_go, daemon={daemon}).start()
assert millpond.get(make.remote(10))[0] == 1
print("made")
""")
    assert text == "made\n"


def test_an_actor_that_lets_go_later_is_waited_for() -> None:
    text = outcome("""
keepers = [Keeper.remote() for _ in range(4)]
millpond.get([keeper.keep.remote(put()) for keeper in keepers])
done = [keeper.drop.remote() for keeper in keepers]
millpond.put(block(20))
print("put")
""")
    assert text == "put\n"


def test_who_waits_for_a_limited_time_is_waited_for() -> None:
    text = outcome("""
held = millpond.get([put() for _ in range(4)])
ref = make.remote(10)
try:
    millpond.get(ref, timeout=4.0)
except GetTimeoutError:
    print("too late")
del held
assert millpond.get(ref)[0] == 1
print("made")
""")
    assert text == "too late\nmade\n"


# --- on another node ----------------------------------------------------------------------------

FAR = (
    BEGIN.replace(
        "millpond.init(num_cpus=2, object_store_memory=32 * MIB, spill=False, preload=[])",
        """from millpond.testing import Cluster
cluster = Cluster(0, object_store_memory=32 * MIB, spill=False)
cluster.add_node(num_cpus=2, resources={"far": 10})
cluster.connect(num_cpus=0, object_store_memory=32 * MIB, spill=False)
""",
    )
    + """
far = {"resources": {"far": 1}, "num_cpus": 0}
keeper = Keeper.options(**far).remote()
kept = make.options(**far).remote(20)
millpond.get(keeper.keep.remote(kept))
del kept
"""
)


@needs_cluster
def test_a_driver_of_another_node_may_free_what_a_task_waits_for() -> None:
    told = outcome(
        """
made = make.options(**far).remote(20)
time.sleep(5)                          # it works, and then it frees
millpond.get(keeper.drop.remote())
print(millpond.get(made).nbytes == 20 * MIB)
cluster.shutdown()
""",
        FAR,
    )
    assert told.split() == ["True"]


@needs_cluster
def test_a_task_of_another_node_that_waits_for_ever_is_told_so() -> None:
    told = outcome(
        """
try:
    millpond.get(make.options(**far).remote(20))
except ObjectStoreFullError as error:
    print(type(error).__name__)
cluster.shutdown()
""",
        FAR,
    )
    assert told.split() == ["ObjectStoreFullError"]
