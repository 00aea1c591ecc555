"""The object store of a node: memory, files, and the rules between them.

`core` decides, without touching a byte; `arena`, `mapping` and `files` touch bytes and decide
nothing. The program that joins them is the node's.
"""
