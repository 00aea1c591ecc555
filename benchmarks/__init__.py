"""The benchmark suite: millpond beside its peers. Started by ``python -m benchmarks``."""
