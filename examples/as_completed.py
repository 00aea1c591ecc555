"""Waiting: results in the order in which they come, in plain and in async code."""

import asyncio
import time

import millpond


@millpond.remote
def nap(seconds: float) -> float:
    """Sleep, then return how long."""
    time.sleep(seconds)
    return seconds


def in_order_of_completion() -> list[float]:
    """Take whatever is ready first, one by one."""
    waiting = [nap.remote(seconds) for seconds in (0.4, 0.1)]
    done: list[float] = []
    while waiting:
        ready, waiting = millpond.wait(waiting, num_returns=1)
        done += millpond.get(ready)
    return done


async def in_a_coroutine() -> list[float]:
    """Await refs like any other awaitable: the event loop stays free."""
    return list(await asyncio.gather(nap.remote(0.2), nap.remote(0.1)))


def main() -> None:
    """Show both ways."""
    millpond.init(num_cpus=2)
    print(done := in_order_of_completion())
    assert done == [0.1, 0.4]
    print(done := asyncio.run(in_a_coroutine()))
    assert done == [0.2, 0.1]


if __name__ == "__main__":
    main()
