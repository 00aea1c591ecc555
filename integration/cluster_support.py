"""What tests of several nodes share: when they can run, and clusters of the usual kinds."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

import millpond
from integration.conftest import MIB, eventually
from millpond.testing import Cluster, ClusterNode

__all__ = ["add_node", "far_cluster", "needs_cluster", "small_cluster"]

needs_cluster = pytest.mark.skipif(
    not (importlib.util.find_spec("grpc") and importlib.util.find_spec("cryptography")),
    reason="needs millpond[cluster]",
)


@contextlib.contextmanager
def small_cluster(num_nodes: int) -> Iterator[Cluster]:
    """Nodes of one CPU each, and a driver whose own node has one too."""
    with Cluster(num_nodes=num_nodes, num_cpus=1, object_store_memory=64 * MIB) as nodes:
        nodes.connect()
        yield nodes


@contextlib.contextmanager
def far_cluster(num_cpus: int = 2, **resources: float) -> Iterator[Cluster]:
    """A head of one CPU, a node with resources of its own, and a driver with a small node."""
    with Cluster(num_nodes=1, num_cpus=1, object_store_memory=64 * MIB) as nodes:
        nodes.add_node(resources=resources, num_cpus=num_cpus)
        nodes.connect()
        yield nodes


def add_node(cluster: Cluster, **settings: Any) -> ClusterNode:
    """Add a node, and wait until the driver's node knows of it."""
    added = cluster.add_node(**settings)
    ids = {added.node_id}
    eventually(lambda: ids <= {each.node_id for each in millpond.nodes()}, "the node is known")
    return added
