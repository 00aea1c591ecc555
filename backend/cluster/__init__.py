"""Nodes as one cluster: membership, the links between them, and who may join."""
