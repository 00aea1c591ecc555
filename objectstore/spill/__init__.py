"""Where the bytes of spilled objects are kept, outside memory.

`storage` is the contract with the node; `local` keeps it with files in directories, `remote` with
objects in a bucket. `segments` has the books of both and `rotation` the choice among directories,
both without I/O; `encoding` has checksums and compression, `segment_files` the system calls.
"""
