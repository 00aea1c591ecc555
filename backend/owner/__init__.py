"""The owner runtime, the same in drivers and workers: objects, tasks, leases, actor calls."""
