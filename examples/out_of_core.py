"""Objects: data four times larger than the object store.

Makes 256 MB of random numbers with 64 MB of store. What does not fit is spilled to disk and comes
back when a task needs it; arrays arrive in tasks without a copy, read-only.
"""

import numpy as np
import numpy.typing as npt

import millpond

MB = 1_000_000
_NUMBERS_A_BLOCK = MB  # of 8 bytes


@millpond.remote
def make(seed: int) -> npt.NDArray[np.float64]:
    """Return 8 MB of random numbers."""
    return np.random.default_rng(seed).random(_NUMBERS_A_BLOCK)


@millpond.remote
def total(block: npt.NDArray[np.float64]) -> float:
    """Return the sum of a block."""
    return float(block.sum())


def main() -> None:
    """Make all blocks, then read all blocks."""
    millpond.init(object_store_memory=64 * MB)
    blocks = [make.remote(seed) for seed in range(32)]
    millpond.wait(blocks, num_returns=len(blocks))
    mean = sum(millpond.get([total.remote(block) for block in blocks])) / (32 * _NUMBERS_A_BLOCK)
    store = millpond.statistics().store
    print(f"mean {mean:.3f}; the store never held more than {store.peak / MB:.0f} MB")
    print(f"spilled {store.spilled_bytes_total / MB:.0f} MB")
    assert abs(mean - 0.5) < 0.001
    assert store.peak <= store.capacity
    assert store.spilled_bytes_total > 0
    millpond.shutdown()


if __name__ == "__main__":
    main()
