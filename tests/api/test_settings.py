from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from millpond.api.settings import Settings, machine_memory
from millpond.api.spill_options import SpillOptions, spill_settings
from millpond.errors import ConfigurationError
from millpond.scheduler.resources import UNIT
from millpond.wire.messages import SpillSettings

MIB = 1 << 20


def checked(**given: Any) -> Settings:
    settings: dict[str, Any] = {
        "num_cpus": 2,
        "resources": None,
        "object_store_memory": 10 * MIB,
        "spill": None,
        "preload": None,
        "log_to_driver": True,
    }
    return Settings.checked(**{**settings, **given})


def test_the_machine_decides_what_is_not_given() -> None:
    settings = checked(num_cpus=None, object_store_memory=None)
    assert settings.num_cpus == len(os.sched_getaffinity(0))
    assert 0.29 < settings.object_store_memory / machine_memory() < 0.31
    assert settings.preload is None
    assert settings.resources == {}


def test_everything_a_task_can_ask_for_is_counted() -> None:
    settings = checked(num_cpus=1.5, resources={"gpu": 2})
    assert settings.counted_resources() == {
        "CPU": UNIT * 3 // 2,
        "memory": settings.task_memory() * UNIT,
        "gpu": 2 * UNIT,
    }


def test_tasks_may_use_what_the_store_and_a_reserve_leave() -> None:
    machine = machine_memory()
    half = checked(object_store_memory=machine // 2).task_memory()
    assert 0.35 * machine < half < 0.5 * machine
    assert checked(object_store_memory=10 * MIB).task_memory() > half
    # Even a store as large as the machine leaves them something.
    assert checked(object_store_memory=machine).task_memory() == machine // 10
    assert checked(memory=64 * MIB).task_memory() == 64 * MIB
    assert checked(memory=machine).task_memory() == machine


def test_settings_at_their_limits() -> None:
    assert checked(object_store_memory=MIB).object_store_memory == MIB
    memory = machine_memory()
    assert checked(object_store_memory=memory).object_store_memory == memory


@pytest.mark.parametrize(
    ("spill", "directories", "uri"),
    [
        (None, [], ""),
        ("dir", ["dir"], ""),
        (Path("dir"), ["dir"], ""),
        (["a", Path("b")], ["a", "b"], ""),
        (SpillOptions(["a", "b"]), ["a", "b"], ""),
        ("file:///tmp/a%20b", ["/tmp/a b"], ""),
        ("s3://bucket/dir", [], "s3://bucket/dir"),
        (["s3://bucket/dir"], [], "s3://bucket/dir"),
    ],
)
def test_ways_to_say_where_to_spill(spill: Any, directories: list[str], uri: str) -> None:
    found = spill_settings(checked(spill=spill).spill)
    assert found is not None
    assert (found.directories, found.uri) == (directories, uri)
    assert checked(spill=spill) == checked(spill=spill)


def test_never_spilling() -> None:
    assert checked(spill=False).spill is False
    assert spill_settings(False) is None


def test_everything_about_spilling_reaches_the_node() -> None:
    options = SpillOptions("dir", "zstd", 10, 0, 5, page_cache=7)
    found = spill_settings(checked(spill=options).spill)
    assert found == SpillSettings(["dir"], "", "zstd", 10, 0, 5.0, 120.0, 7)


def test_options_do_not_show_secrets() -> None:
    uri = "s3://KEY:SECRET@bucket/dir?region=eu&session=TOKEN"
    shown = repr(SpillOptions(uri))
    assert "s3://bucket/dir?region=eu" in shown
    for secret in ("KEY", "SECRET", "TOKEN"):
        assert secret not in shown
    with pytest.raises(ConfigurationError) as caught:
        SpillOptions([uri, 5])  # type: ignore[list-item]
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"s3://bucket/dir.* among 2") as caught:
        SpillOptions([uri, "dir"])
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"compression": "gzip"}, "one of lz4, zstd, or None, it is 'gzip'"),
        ({"compression": 1}, "it is 1"),
        ({"quota": 0}, "quota must be bytes as an int of at least 1, it is 0"),
        ({"quota": 1e9}, "it is 1000000000"),
        ({"quota": True}, "it is True"),
        ({"free_space_floor": -1}, "free_space_floor must be .* at least 0, it is -1"),
        ({"disk_full_timeout": -1}, "seconds, 0 or more, it is -1"),
        ({"disk_full_timeout": math.nan}, "it is nan"),
        ({"read_timeout": -1}, "read_timeout must be seconds, 0 or more, it is -1"),
        ({"disk_full_timeout": math.inf}, "it is inf"),
        ({"disk_full_timeout": "1"}, "it is '1'"),
        ({"locations": []}, r"spill must be a directory, .*, it is \[\]"),
        ({"locations": ["a", "b", "a"]}, r"names a directory twice: \['a'\]"),
        ({"locations": "file://host/dir"}, "file:///path"),
    ],
    ids=repr,
)
def test_wrong_spill_options_are_refused_with_their_value(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        SpillOptions(**given)


def test_modules_to_preload_come_from_any_iterable() -> None:
    assert checked(preload=[]).preload == ()
    assert checked(preload=("json", "csv")).preload == ("json", "csv")
    assert checked(preload=(name for name in ["json"])).preload == ("json",)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"num_cpus": 0}, "num_cpus must be more than 0, it is 0"),
        ({"num_cpus": 0.0}, r"it is 0\.0"),
        ({"num_cpus": -1}, "'CPU' .*-1"),
        ({"num_cpus": "4"}, "'CPU' .*'4'"),
        ({"num_cpus": True}, "'CPU' .*True"),
        ({"num_cpus": math.nan}, "nan"),
        ({"num_cpus": math.inf}, "inf"),
        ({"num_cpus": 1e300}, r"1e\+300"),
        ({"resources": {"gpu": -1}}, "'gpu' .*-1"),
        ({"resources": {"gpu": 1e300}}, r"'gpu' .*1e\+300"),
        ({"resources": {"CPU": 1}}, "CPU and memory are no custom resources"),
        ({"resources": {"memory": 1}}, "CPU and memory are no custom resources"),
        ({"resources": {"expected memory": 1}}, "are no custom resources"),
        ({"memory": 1000}, "memory is 1000 bytes; it must be at least 67108864"),
        ({"memory": 1 << 60}, f"at most what this machine has, {machine_memory()}"),
        ({"memory": 1e9}, r"memory must be bytes as an int, it is 1000000000\.0"),
        ({"memory": True}, "it is True"),
        ({"memory_threshold": 0}, "more than 0 and at most 1, it is 0"),
        ({"memory_threshold": 1.1}, r"it is 1\.1"),
        ({"memory_threshold": math.nan}, "it is nan"),
        ({"memory_threshold": "95%"}, "must be a number, it is '95%'"),
        ({"resources": {1: 2}}, r"strings, not \[1\]"),
        ({"resources": 5}, "resources must be a mapping, it is 5"),
        ({"resources": "ab"}, "resources must be a mapping, it is 'ab'"),
        ({"object_store_memory": 1000}, r"1000 bytes; the least is 1048576"),
        ({"object_store_memory": 0}, "0 bytes"),
        ({"object_store_memory": -1}, "-1 bytes"),
        ({"object_store_memory": 1 << 60}, f"{1 << 60} bytes, but this machine has"),
        ({"object_store_memory": 1e9}, r"bytes as an int, it is 1000000000\.0"),
        ({"object_store_memory": "1GB"}, "it is '1GB'"),
        ({"object_store_memory": True}, "it is True"),
        ({"spill": True}, "spill must be a directory, .*, False, or None, it is True"),
        ({"spill": 5}, "it is 5"),
        ({"spill": 0}, "it is 0"),
        ({"spill": b"/x"}, "it is b'/x'"),
        ({"spill": ["s3://bucket/dir", "dir"]}, "several directories, or one URI, but not both"),
        ({"preload": "numpy"}, "list of module names, it is 'numpy'"),
        ({"preload": b"numpy"}, "it is b'numpy'"),
        ({"preload": 5}, "it is 5"),
        ({"preload": ["json", 5]}, r"it is \['json', 5\]"),
    ],
    ids=repr,
)
def test_wrong_settings_are_refused_with_their_value(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        checked(**given)
    assert isinstance(caught.value, ValueError)
