"""For tests of programs that use millpond: clusters of several nodes on one machine."""

from .cluster import Cluster, ClusterNode

__all__ = ["Cluster", "ClusterNode"]
