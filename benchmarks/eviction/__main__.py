"""`python -m benchmarks.eviction`: replay the recorded traces; `... record`: record them anew."""

from __future__ import annotations

import sys

from .record import TRACES, record_all
from .report import table
from .trace import Trace

if __name__ == "__main__":
    if sys.argv[1:] == ["record"]:
        record_all()
    elif sys.argv[1:]:
        sys.exit("usage: python -m benchmarks.eviction [record]")
    traces = [Trace.load(path) for path in sorted(TRACES.glob("*.json.gz"))]
    sys.stdout.write(table(traces))
