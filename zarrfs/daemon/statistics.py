"""What a worker's statistics say in few words: percentiles in place of buckets.

Pure; any thread. The statistics are those of `CounterSnapshot`, as they travel
to the supervisor.
"""

from __future__ import annotations

from typing import Any, Final

from zarrfs.frontends.native.counters import percentile_s

PERCENTILES: Final = (50, 90, 99)


def all_latencies(statistics: dict[str, Any]) -> list[int]:
    """Return the requests of all operations by bucket, as `counters` keeps them."""
    rows = (statistics.get("latencies") or {}).values()
    return [sum(column) for column in zip(*rows, strict=True)]


def percentiles_s(buckets: list[int]) -> dict[str, float]:
    """Return percentiles, each the upper bound of its bucket. Units: seconds."""
    return {f"p{percent}": percentile_s(buckets, percent / 100) for percent in PERCENTILES}


def summarised(statistics: dict[str, Any]) -> dict[str, Any]:
    """Return statistics as people read them: with percentiles, without buckets."""
    latencies = statistics.get("latencies") or {}
    return {
        **{key: value for key, value in statistics.items() if key != "latencies"},
        "latency_s": {
            "all": percentiles_s(all_latencies(statistics)),
            **{operation: percentiles_s(buckets) for operation, buckets in latencies.items()},
        },
    }
