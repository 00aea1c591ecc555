"""What millpond is held to, as data: each bar is one line of the report, judged by the run."""

from __future__ import annotations

from dataclasses import dataclass

from .catalogue import unit_of
from .record import Record

SUBJECT = "millpond"
#: The peer that the report's ratios are taken against.
RIVAL = "ray"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar with what was measured against it."""

    #: What was measured, as text.
    measured: str
    passed: bool
    #: Whether other work on the machine disturbed one of the measurements.
    doubtful: bool


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit for one metric of millpond."""

    metric: str
    #: With a peer: how many times as good as its result. Otherwise a number in the metric's unit.
    limit: float
    peer: str | None = None
    #: With another metric of millpond, in the same unit: how many times as much is allowed.
    beside: str | None = None
    #: The bar in words, where the numbers do not speak for themselves.
    words: str | None = None

    @property
    def text(self) -> str:
        """The bar in words."""
        if self.words:
            return self.words
        if self.beside:
            return f"at most {self.limit:g} times {self.beside}"
        if self.peer:
            return f"at least {self.limit:g} times as good as {self.peer}"
        unit = unit_of(self.metric)
        side = "at least" if unit.higher_is_better else "at most"
        return f"{side} {self.limit:,g} {unit.value}"

    def judge(self, record: Record) -> Verdict | None:
        """Hold the run's medians against the bar; None if the run did not measure them."""
        own = record.result(SUBJECT, self.metric)
        if own is None:
            return None
        unit = unit_of(self.metric)
        if self.beside is not None:
            other = record.result(SUBJECT, self.beside)
            if other is None or not other.value:
                return None
            factor = own.value / other.value
            doubtful = own.doubtful or other.doubtful
            return Verdict(f"{number(factor)} times", factor <= self.limit, doubtful)
        if self.peer is None:
            passed = own.value >= self.limit if unit.higher_is_better else own.value <= self.limit
            return Verdict(f"{number(own.value)} {unit.value}", passed, own.doubtful)
        times = times_as_good(record, self.metric, self.peer)
        peer = record.result(self.peer, self.metric)
        if times is None or peer is None:
            return None
        return Verdict(f"{number(times)} times", times >= self.limit, own.doubtful or peer.doubtful)


def number(value: float) -> str:
    """Three significant digits, but none lost before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def times_as_good(record: Record, metric: str, peer: str) -> float | None:
    """Return how many times as good as the peer's millpond's median is; None if one is missing."""
    own, other = record.result(SUBJECT, metric), record.result(peer, metric)
    if own is None or other is None or not own.value or not other.value:
        return None
    ratio = own.value / other.value
    return ratio if unit_of(metric).higher_is_better else 1 / ratio


#: Schedulers that Dask's collections can run on beside their own threads and processes.
_DASK_PEERS = ("dask", RIVAL)

#: Modin's operations on what fits in memory, and on what does not.
_OPERATIONS = (
    *("read_csv", "read_parquet", "groupby", "groupby_agg", "merge", "sort_values"),
    *("describe", "elementwise", "to_csv", "apply_axis1"),
)
_LARGE = ("groupby", "merge", "sort_values")

BARS: tuple[Bar, ...] = (
    Bar("tasks_sync", 10, RIVAL),
    Bar("tasks_async_1k", 10, RIVAL),
    Bar("tasks_async_10k", 10, RIVAL),
    Bar("tasks_async_10k", 20_000, words="aim: 20,000 1/s"),
    Bar("tasks_nested_2x1k", 10, RIVAL),
    Bar("actor_sync_1_1", 5, RIVAL),
    Bar("actor_async_1_1", 5, RIVAL),
    Bar("actor_create", 50, RIVAL),
    Bar("put_1gib", 1 / 1.3, "memcpy", words="within 1.3 times the time of a warm memcpy"),
    Bar("put_1gib_first", 2, RIVAL),
    Bar("get_1gib", 1),
    Bar("put_small", 10, RIVAL),
    Bar("get_small", 10, RIVAL),
    Bar("get_10k_refs", 5, RIVAL),
    Bar("task_10k_ref_args", 5, RIVAL),
    Bar("wait_1k_one_by_one", 5, RIVAL),
    Bar("wait_10k_one_by_one", 5, RIVAL),
    Bar("shuffle_out_of_core", 1.5, RIVAL),
    Bar("shuffle_out_of_core", 2, "dask"),
    Bar("shuffle_in_memory", 2, RIVAL),
    Bar("init_to_first_result", 0.5),
    Bar("idle_pss", 150),
    Bar("shutdown", 0.3),
    Bar("leftover_processes", 0),
    Bar("leftover_files", 0),
    *(
        Bar(metric, 10, peer)
        for metric in ("dask_delayed_10k", "dask_tree_4096")
        for peer in _DASK_PEERS
    ),
    *(Bar(metric, 1, "dask_threads") for metric in ("dask_delayed_10k", "dask_tree_4096")),
    *(
        Bar(metric, 2, peer)
        for metric in ("dask_groupby", "dask_shuffle", "dask_set_index")
        for peer in _DASK_PEERS
    ),
    *(Bar(metric, 1, "dask_threads") for metric in ("dask_shuffle", "dask_set_index")),
    *(
        Bar(metric, 1 / 1.1, "dask_threads", words="within 1.1 times the time of dask_threads")
        for metric in ("dask_matmul", "dask_transpose_sum")
    ),
    *(
        Bar(metric, 1, peer)
        for metric in ("dask_matmul", "dask_transpose_sum")
        for peer in (*_DASK_PEERS, "dask_processes")
    ),
    *(
        Bar(f"dask_quarter_{name}", 2.5, beside=f"dask_{name}")
        for name in ("shuffle", "set_index", "matmul", "transpose_sum")
    ),
    Bar("tpch", 2, "dask"),
    *(Bar(f"modin_{operation}", 1.5, RIVAL) for operation in _OPERATIONS),
    *(Bar(f"modin_{operation}", 1, "dask") for operation in _OPERATIONS),
    *(Bar(f"modin_{name}", 1, "pandas") for name in ("apply_axis1", "describe", "read_parquet")),
    Bar("modin_sum", 2, RIVAL),
    Bar("modin_small", 3, RIVAL),
    Bar("modin_first_result", 2),
    *(Bar(f"modin_large_{operation}", 900, words="ends") for operation in _LARGE),
)
