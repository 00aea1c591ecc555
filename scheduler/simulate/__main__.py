"""`python -m millpond.scheduler.simulate`."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence

from .node import NodeSettings
from .policies import POLICIES
from .report import table
from .simulation import ClusterSettings, Outcome, simulate
from .workloads import WORKLOADS


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate what the command line asks for, and print a table for each workload."""
    options = _parser().parse_args(arguments)
    settings = ClusterSettings(
        nodes=options.nodes,
        node=NodeSettings(
            slots=options.slots,
            memory=round(options.memory * 1e9),
            network=options.network * 1e9,
            disk=options.disk * 1e9,
            latency=options.latency / 1e3,
        ),
        stragglers=options.stragglers,
        losses=options.lose,
        report_interval=options.report_interval,
        seed=options.seed,
    )
    for name in options.workload or WORKLOADS:
        sys.stdout.write(
            f"{name}: about {options.tasks:,} tasks, {options.nodes:,} x {options.slots} slots\n"
        )
        outcomes: dict[str, Outcome] = {}
        for policy in options.policy or POLICIES:
            # The same work for each.
            rng = random.Random(options.seed)  # noqa: S311 - a simulation
            workload = WORKLOADS[name](options.tasks, rng)
            outcomes[policy] = simulate(settings, workload, POLICIES[policy])
        sys.stdout.write(f"{table(outcomes)}\n\n")
        sys.stdout.flush()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m millpond.scheduler.simulate",
        description="Simulate work on a cluster, with the engine's own placement and admission, "
        "and compare it with simpler policies.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--workload", action="append", choices=sorted(WORKLOADS), help="again for more; else all")
    add("--policy", action="append", choices=list(POLICIES), help="again for more; else all")
    add("--tasks", type=_count, default=100_000, help="how many, about")
    add("--nodes", type=_count, default=1000, help="how many")
    add("--slots", type=_count, default=16, help="of each node")
    add("--memory", type=_positive, default=32, help="of each node's object store, in GB")
    add("--network", type=_positive, default=1.25, help="of each node, in GB/s each way")
    add("--disk", type=_positive, default=1, help="of each node, in GB/s")
    add("--latency", type=_positive, default=0.5, help="of a message, in milliseconds")
    add("--stragglers", type=_share, default=0, help="part of the nodes that are 5 times as slow")
    add("--lose", type=int, default=0, help="nodes that are lost, from 1 s on, every 0.5 s")
    add(
        "--report-interval", type=_positive, default=0.1, help="between reports of load, in seconds"
    )
    add("--seed", type=int, default=0, help="of all random choices")
    return parser


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, it is {count}")
    return count


def _positive(text: str) -> float:
    if not (number := float(text)) > 0:
        raise argparse.ArgumentTypeError(f"must be more than 0, it is {text}")
    return number


def _share(text: str) -> float:
    if not 0 <= (number := float(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to below 1, it is {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
