from __future__ import annotations

from dataclasses import replace

import pytest

from millpond.report.memory import OwnerTotals, Pins, Process, build_report
from millpond.report.memory_text import format_bytes, table
from millpond.wire import messages as m
from tests.report.reports import MIB, report, row, store

DRIVER, WORKER, GONE = b"d" * 8, b"w" * 8, b"g" * 8


def oid(owner: bytes, number: int) -> bytes:
    return owner + number.to_bytes(8, "big")


def stored(owner: bytes, number: int, size: int, **changes: object) -> m.StoredObject:
    made = m.StoredObject(oid(owner, number), size, "in memory", True, False, {})
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def state() -> m.MemoryState:
    return m.MemoryState(
        request=1,
        objects=[
            stored(WORKER, 1, 9 * MIB, pins={WORKER: 2, GONE: 1}),
            stored(DRIVER, 2, 5 * MIB, state="spilled", in_memory=False, in_file=True),
            stored(DRIVER, 3, 4 * MIB),
            stored(DRIVER, 4, 3 * MIB, in_file=True),
            stored(GONE, 5, 1 * MIB),
        ],
        total_bytes=22 * MIB,
        waiting_bytes=7 * MIB,
        owners=[
            m.OwnerMemory(
                DRIVER,
                [
                    m.ObjectOrigin(oid(DRIVER, 2), "load", 0, 1, 0),
                    m.ObjectOrigin(oid(DRIVER, 3), "put", 1, 2, 3),
                    m.ObjectOrigin(oid(DRIVER, 4), "clean", 0, 1, 0),
                ],
                ["app.py:3", "app.py:9"],
                4,
                100,
            )
        ],
        silent=[WORKER],
        processes=[m.ProcessInfo(DRIVER, "driver", 10), m.ProcessInfo(WORKER, "worker", 11)],
        store=store(num_objects=5, used=16 * MIB, capacity=64 * MIB),
        spill_location="/spill",
        spill_free=1 << 40,
    )


def test_what_node_and_owners_know_is_joined() -> None:
    rows = build_report(state()).objects
    assert [one.size // MIB for one in rows] == [9, 5, 4, 3, 1]
    first, second, third, _, last = rows
    assert first.owner == Process("worker", 11)
    assert first.pins == (Pins(Process("worker", 11), 2), Pins(Process("gone", 0), 1))
    assert (first.made_by, first.call_site, first.refs) == (None, None, None)  # it did not answer
    assert (second.made_by, second.call_site, second.state) == ("load", "app.py:3", "spilled")
    assert (third.refs, third.borrowers, third.id) == (2, 3, oid(DRIVER, 3).hex())
    assert last.owner == Process("gone", 0)


def test_totals_are_of_all_objects_whatever_is_listed() -> None:
    told = build_report(state(), limit=2)
    assert len(told.objects) == 2
    assert (told.total_objects, told.total_bytes, told.waiting_bytes) == (5, 22 * MIB, 7 * MIB)
    assert told.owners == (
        OwnerTotals(Process("driver", 10), True, 4, 100),
        OwnerTotals(Process("worker", 11), False, 0, 0),
    )
    assert "2 of 5 objects are listed." in str(told)
    assert "listed" not in str(build_report(state()))


def test_groups_sum_up_what_they_have_in_common() -> None:
    told = build_report(state(), group_by="call_site")
    assert told.objects == ()
    unknown, three, nine = told.groups
    assert (unknown.key, unknown.size, unknown.objects) == ("unknown", 10 * MIB, 2)
    assert (three.key, three.size, three.made_by) == ("app.py:3", 8 * MIB, ("clean", "load"))
    assert (three.memory_bytes, three.file_bytes, three.pinned_bytes) == (3 * MIB, 8 * MIB, 0)
    assert unknown.pinned_bytes == 9 * MIB
    assert nine.key == "app.py:9"
    assert [group.key for group in build_report(state(), group_by="made_by").groups] == [
        "unknown",
        "load",
        "put",
        "clean",
    ]
    by_owner = build_report(state(), group_by="owner", limit=1).groups
    assert [(group.key, group.size) for group in by_owner] == [("driver 10", 12 * MIB)]


def test_the_text_is_a_table_with_totals() -> None:
    lines = str(build_report(state())).splitlines()
    first, second = oid(WORKER, 1).hex(), oid(DRIVER, 3).hex()
    assert _words(lines[0]) == "size state pinned by owner refs made by call site object"
    assert _words(lines[1]) == (f"9.0 MiB in memory worker 11 x2, gone worker 11 ? ? ? {first}")
    assert _words(lines[3]) == f"4.0 MiB in memory - driver 10 2+3 put app.py:9 {second}"
    assert len({line.index("driver 10") for line in lines[2:5]}) == 1  # columns are aligned
    total, *others = lines[7:]
    assert total == (
        "5 objects, 22.0 MiB. In memory: 16.0 MiB of 64.0 MiB, of which 0 B can leave it. "
        "In files: 0 B (/spill, 1.0 TiB free)."
    )
    assert others == [
        "New objects of 7.0 MiB wait for room.",
        "driver 10 holds 4 small values of 100 B itself, outside of the store.",
        "No answer in time from worker 11: what they know is missing.",
    ]


def _words(line: str) -> str:
    return " ".join(line.split())


def test_the_text_tells_where_values_are_spilled() -> None:
    assert "Spilling is off." in str(report())
    (node,) = report().nodes
    remote = replace(report(), nodes=(replace(node, spill_location="s3://bucket"),))
    assert "(s3://bucket)." in str(remote)


HERE, THERE, SILENT = b"here", b"ther", b"node"
FAR = THERE + b"work"


def cluster() -> m.MemoryState:
    """Two nodes; the driver owns an object that both have, and one that only the other has."""
    here, there = state(), state()
    here.node_id, there.node_id = HERE, THERE
    here.silent = [SILENT]
    there.objects = [
        stored(DRIVER, 6, 8 * MIB, pins={FAR: 1}),
        stored(DRIVER, 3, 4 * MIB),
    ]
    there.processes = [m.ProcessInfo(FAR, "worker", 10)]
    there.silent = [FAR]
    there.owners[0].origins = [m.ObjectOrigin(oid(DRIVER, 6), "far away", 0, 1, 0)]
    here.others = [there]
    return here


def test_the_nodes_of_a_cluster_are_one_report() -> None:
    told = build_report(cluster())
    assert [(row.size // MIB, row.node) for row in told.objects] == [
        *((9, HERE.hex()), (8, THERE.hex()), (5, HERE.hex()), (4, HERE.hex())),
        *((4, THERE.hex()), (3, HERE.hex()), (1, HERE.hex())),
    ]
    far = told.objects[1]
    assert (far.made_by, far.call_site) == ("far away", "app.py:3")
    assert far.owner == Process("driver", 10, DRIVER[:4].hex())
    assert far.pins == (Pins(Process("worker", 10, THERE.hex()), 1),)
    assert told.objects[4].made_by == "put"  # as the other node was told
    assert [node.node for node in told.nodes] == [HERE.hex(), THERE.hex()]
    assert (told.total_objects, told.total_bytes) == (10, 44 * MIB)
    assert [(owner.inline_objects, owner.answered) for owner in told.owners] == [
        (4, True),
        (0, False),
    ]
    text = str(told)
    assert "10 objects, 44.0 MiB." in text
    assert f"Node {THERE.hex()}: 5 objects, 22.0 MiB. In memory: 16.0 MiB of 64.0 MiB" in text
    assert f"No answer in time from the nodes {SILENT.hex()}" in text
    assert f"No answer in time from worker 10 on {THERE.hex()}" in text


def test_the_oldest_of_several_nodes_take_turns() -> None:
    told = build_report(cluster(), limit=3, oldest_first=True)
    assert [row.node for row in told.objects] == [HERE.hex(), THERE.hex(), HERE.hex()]


def test_an_empty_store_has_a_report_too() -> None:
    assert str(report()).startswith("0 objects, 0 B.")


def test_long_call_sites_keep_their_end() -> None:
    text = str(report((row(1, call_site="/very/long" * 10 + f"/app.py:7 in {'f' * 100}"),)))
    assert "long/app.py:7 in ...fff" in text
    assert "/very/long" * 10 not in text
    assert "f" * 100 not in text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (1 << 20, "1.0 MiB"),
        ((1 << 30) - 1, "1.0 GiB"),
        (5 << 40, "5.0 TiB"),
        (5000 << 40, "5000.0 TiB"),
    ],
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert format_bytes(size) == text


def test_tables_align_their_columns() -> None:
    assert table(("n", "name"), [("1", "a"), ("100", "bb")]) == "  n  name\n  1  a\n100  bb"
