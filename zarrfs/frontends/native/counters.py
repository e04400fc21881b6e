"""What a session has done so far: operations, errors, bytes, latencies.

Each serving thread counts in lists of its own, so counting takes no lock; a
reader adds the threads up and may be one request behind. Latencies are kept in
buckets of powers of two: bucket n holds requests that took less than 2**n ns.

`ThreadCounters` belongs to its thread; `Counters` may be used by any.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from zarrfs.fuse_protocol.opcodes import OPCODE_LIMIT, Opcode

BUCKETS = 64
"""Enough for any time that fits into 64 bits of nanoseconds."""


class LastError(NamedTuple):
    """The newest request that was answered with an errno worth telling."""

    time_s: float
    operation: str
    errno: int
    reason: str


InFlight: TypeAlias = tuple[int, int, int, int]
"""A request that a thread is working on: unique, opcode, pid, and when it began
by `time.perf_counter_ns`. A plain tuple, because one is made for each request."""

IDLE: InFlight = (0, 0, 0, 0)


class ThreadCounters:
    """One serving thread's counts."""

    __slots__ = (
        "bytes_read", "bytes_written", "errors", "in_flight", "last_error", "latencies",
        "operations", "was_long",
    )  # fmt: skip

    def __init__(self) -> None:
        self.operations = [0] * OPCODE_LIMIT
        self.errors = [0] * OPCODE_LIMIT
        self.latencies = [[0] * BUCKETS for _ in range(OPCODE_LIMIT)]
        self.bytes_read = 0
        self.bytes_written = 0
        self.in_flight = IDLE
        self.was_long = False
        """Whether the last request is a reason to bring in another thread."""
        self.last_error: LastError | None = None


@dataclass(frozen=True, slots=True)
class CounterSnapshot:
    """All threads' counts, by the opcodes' names in lower case."""

    operations: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    """Answers with an errno, but for those that mean no more than "no such file"."""
    latencies: dict[str, list[int]] = field(default_factory=dict)
    """Requests by bucket; bucket n holds those that took less than 2**n ns."""
    bytes_read: int = 0
    bytes_written: int = 0
    last_error: LastError | None = None
    longest_in_flight_s: float = 0.0
    """How long the oldest unanswered request has been waiting."""


class Counters:
    """The counts of all threads of a session."""

    def __init__(self) -> None:
        self._threads: list[ThreadCounters] = []

    def add_thread(self) -> ThreadCounters:
        """Return counters for a new thread."""
        counters = ThreadCounters()
        self._threads.append(counters)
        return counters

    def in_flight(self) -> list[InFlight]:
        """Return the requests being worked on now."""
        return [busy for thread in self._threads if (busy := thread.in_flight) is not IDLE]

    def snapshot(self) -> CounterSnapshot:
        """Return the sums as of now."""
        now_ns = time.perf_counter_ns()
        oldest_ns = min((began_ns for _, _, _, began_ns in self.in_flight()), default=now_ns)
        errors = [thread.last_error for thread in self._threads if thread.last_error]
        used = [op for op in Opcode if any(thread.operations[op] for thread in self._threads)]
        return CounterSnapshot(
            operations=self._sums(used, [thread.operations for thread in self._threads]),
            errors=self._sums(used, [thread.errors for thread in self._threads]),
            latencies={op.name.lower(): self._latencies(op) for op in used},
            bytes_read=sum(thread.bytes_read for thread in self._threads),
            bytes_written=sum(thread.bytes_written for thread in self._threads),
            last_error=max(errors, default=None),
            longest_in_flight_s=max(now_ns - oldest_ns, 0) / 1e9,
        )

    @staticmethod
    def _sums(used: list[Opcode], threads: list[list[int]]) -> dict[str, int]:
        sums = {op.name.lower(): sum(counts[op] for counts in threads) for op in used}
        return {name: count for name, count in sums.items() if count}

    def _latencies(self, opcode: Opcode) -> list[int]:
        rows = [thread.latencies[opcode] for thread in self._threads]
        return [sum(column) for column in zip(*rows, strict=True)]


def percentile_s(buckets: list[int], fraction: float) -> float:
    """Return the upper bound of the latency that `fraction` of requests kept to.

    Units: seconds; 0 where nothing was counted.

    >>> percentile_s([0, 0, 0, 9, 1], 0.5)
    8e-09
    """
    total = sum(buckets)
    seen = 0
    for power, count in enumerate(buckets):
        seen += count
        if total and seen >= fraction * total:
            return float(2**power) / 1e9
    return 0.0
