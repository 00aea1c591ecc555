"""The node process: object store, lease queue, workers, joined by one event loop."""
