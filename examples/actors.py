"""Actors: objects that live in a worker of their own and keep state between calls.

Several tasks report words to one actor. The calls of one caller run in the order it made them.
"""

from collections import Counter

import millpond
from millpond import ActorHandle


@millpond.remote
class Tally:
    """Counts words."""

    def __init__(self) -> None:
        """Start with no words."""
        self._words: Counter[str] = Counter()

    def add(self, words: list[str]) -> None:
        """Count the words."""
        self._words.update(words)

    def most_common(self, count: int) -> list[tuple[str, int]]:
        """Return the most frequent words and their numbers."""
        return self._words.most_common(count)


@millpond.remote
def report(line: str, tally: ActorHandle) -> None:
    """Split a line and hand its words to the actor."""
    millpond.get(tally.add.remote(line.lower().split()))


def main() -> None:
    """Count the words of a poem with one actor and many tasks."""
    poem = ["the mill goes round", "the pond lies still", "the pond feeds the mill"]
    tally = Tally.remote()
    millpond.get([report.remote(line, tally) for line in poem])
    words = millpond.get(tally.most_common.remote(2))
    print(words)
    assert words[0] == ("the", 4)
    millpond.kill(tally)


if __name__ == "__main__":
    main()
