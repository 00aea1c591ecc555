"""Tasks: functions that run in parallel, and refs that pass their results on.

Estimates pi by throwing darts in parallel, then adds the hits up in a tree of tasks. Only refs pass
through this process; a task starts as soon as the results that it needs are there.
"""

import random

import millpond


@millpond.remote
def throw(darts: int, seed: int) -> int:
    """Return how many darts hit the quarter circle."""
    dart = random.Random(seed).random
    return sum(dart() ** 2 + dart() ** 2 <= 1.0 for _ in range(darts))


@millpond.remote
def add(left: int, right: int) -> int:
    """Return the sum: the two refs arrive as values."""
    return left + right


def main() -> None:
    """Run the estimate."""
    throws, darts = 16, 50_000
    hits = [throw.remote(darts, seed) for seed in range(throws)]
    while len(hits) > 1:
        hits = [add.remote(left, right) for left, right in zip(hits[::2], hits[1::2], strict=True)]
    pi = 4 * millpond.get(hits[0]) / (throws * darts)
    print(f"pi is about {pi:.3f}")
    assert abs(pi - 3.1416) < 0.02


if __name__ == "__main__":
    main()
