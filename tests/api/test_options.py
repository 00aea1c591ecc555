from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from millpond.api.options import ActorOptions, TaskOptions, changed
from millpond.errors import ResourceError
from millpond.scheduler.resources import UNIT, unpack_shape

MACHINE = {"CPU": 4 * UNIT, "memory": 1000 * UNIT, "gpu": UNIT}


def test_the_shape_of_a_task() -> None:
    assert unpack_shape(TaskOptions().shape(1, MACHINE)) == {"CPU": UNIT}
    assert unpack_shape(TaskOptions(num_cpus=0).shape(1, MACHINE)) == {}
    options = TaskOptions(num_cpus=0.5, memory=10, resources={"gpu": 1})
    assert unpack_shape(options.shape(1, MACHINE)) == {
        "CPU": UNIT // 2,
        "memory": 10 * UNIT,
        "gpu": UNIT,
    }


def test_an_actor_takes_no_cpu_unless_asked_to() -> None:
    assert unpack_shape(ActorOptions().shape(0, MACHINE)) == {}
    assert unpack_shape(ActorOptions(num_cpus=2).shape(0, MACHINE)) == {"CPU": 2 * UNIT}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_cpus": 5}, r"5 of resource 'CPU' were asked for, but this machine has 4"),
        ({"memory": 1001}, r"1001 of resource 'memory' .* has 1000"),
        ({"resources": {"gpu": 1.5}}, r"1\.5 of resource 'gpu' .* has 1:"),
        ({"resources": {"tpu": 1}}, r"1 of resource 'tpu' .* has 0:"),
    ],
)
def test_what_the_machine_can_never_give(options: dict[str, Any], text: str) -> None:
    for cls in (TaskOptions, ActorOptions):
        with pytest.raises(ResourceError, match=text):
            cls(**options).shape(0, MACHINE)


@pytest.mark.parametrize(
    ("options", "error", "shown"),
    [
        ({"num_cpus": -1}, ResourceError, "-1"),
        ({"num_cpus": True}, ResourceError, "True"),
        ({"num_cpus": "2"}, ResourceError, "'2'"),
        ({"num_cpus": math.nan}, ResourceError, "nan"),
        ({"num_cpus": math.inf}, ResourceError, "inf"),
        ({"num_cpus": 1e300}, ResourceError, r"1e\+300"),
        ({"memory": -5}, ResourceError, "'memory' .*-5"),
        ({"resources": {"gpu": "x"}}, ResourceError, "'gpu' .*'x'"),
        ({"resources": {"CPU": 1}}, ResourceError, "'CPU'.*num_cpus"),
        ({"resources": {"memory": 1}}, ResourceError, "'memory'"),
        ({"resources": {"expected memory": 1}}, ResourceError, "'expected memory'"),
        ({"resources": {1: 2}}, ResourceError, "1 is no name"),
        ({"resources": 5}, ResourceError, "it is 5"),
        ({"resources": "ab"}, ResourceError, "it is 'ab'"),
        ({"resources": None}, ResourceError, "it is None"),
        ({"name": 5}, TypeError, "name must be a string, it is 5"),
    ],
    ids=repr,
)
def test_wrong_options_are_refused_with_their_value(
    options: dict[str, Any], error: type[Exception], shown: str
) -> None:
    for cls in (TaskOptions, ActorOptions):
        with pytest.raises(error, match=shown):
            cls(**options)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"num_returns": -1}, ValueError, "num_returns must be an integer >= 0, it is -1"),
        ({"num_returns": 1.5}, ValueError, r"it is 1\.5"),
        ({"num_returns": True}, ValueError, "it is True"),
        ({"num_returns": "2"}, ValueError, "it is '2'"),
        ({"max_retries": -2}, ValueError, "max_retries must be an integer >= -1, it is -2"),
        ({"max_retries": None}, ValueError, "it is None"),
        ({"in_order": 1}, TypeError, "1"),
        ({"retry_exceptions": 5}, TypeError, "5"),
        ({"retry_exceptions": None}, TypeError, "None"),
        ({"retry_exceptions": "ValueError"}, TypeError, "'ValueError'"),
        ({"retry_exceptions": [ValueError, int]}, TypeError, "<class 'int'>"),
        ({"retry_exceptions": [KeyboardInterrupt]}, TypeError, "KeyboardInterrupt"),
    ],
    ids=repr,
)
def test_wrong_task_options_are_refused_with_their_value(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        TaskOptions(**options)


@pytest.mark.parametrize(
    ("given", "packed"),
    [
        (False, None),
        (True, b"*"),
        ((), None),
        (ValueError, (ValueError,)),
        ([KeyError, OSError], (KeyError, OSError)),
    ],
)
def test_exceptions_to_retry_travel(given: Any, packed: Any) -> None:
    data = TaskOptions(retry_exceptions=given).packed_retry_exceptions()
    if isinstance(packed, tuple):
        assert pickle.loads(data) == packed
    else:
        assert data == (packed or b"")


def test_options_at_their_limits() -> None:
    options = TaskOptions(num_returns=0, max_retries=-1, num_cpus=0, memory=0)
    assert (options.num_returns, options.max_retries) == (0, -1)
    assert options.num_cpus == options.memory == 0


def test_changed_options_leave_the_others() -> None:
    options = TaskOptions(num_cpus=2, name="n")
    more = changed(options, {"num_returns": 3})
    assert (more.num_cpus, more.name, more.num_returns) == (2, "n", 3)
    assert options.num_returns == 1
    with pytest.raises(ValueError, match="it is -1"):
        changed(options, {"num_returns": -1})


def test_an_unknown_option_is_named_with_those_that_exist() -> None:
    with pytest.raises(TypeError, match=r"unknown option 'cpus'; .*num_cpus.*retry_exceptions"):
        changed(TaskOptions(), {"cpus": 1})
    with pytest.raises(TypeError, match="unknown option 'num_returns'"):
        changed(ActorOptions(), {"num_returns": 2})
