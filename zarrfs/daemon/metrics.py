"""Prometheus metrics of all mounts of one supervisor.

Owns the metrics' names and the small HTTP server that shows them at `/metrics`,
on a local address or a unix socket. It runs in a process of its own, which asks
the supervisor's control socket at each scrape: neither the supervisor nor a
worker has a thread for it.

Source: Prometheus documentation, "Metric and label naming" (base units,
`_total` for counters) and "Exposition formats".
"""

from __future__ import annotations

import http.server
import socket
import socketserver
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from zarrfs.daemon.runtime_folders import make_way_for_socket, sockets_of_mode
from zarrfs.errors import UnavailableError

Status = Callable[[], list[dict[str, Any]]]
"""Returns what `zarrfs status --json` shows of each mount. Raises: UnavailableError."""

STATES: Final = (
    *("waiting", "opening", "serving", "replacing", "idle", "stopping", "stopped", "given up"),
)
_BUCKETS_NS_POWERS: Final = range(12, 36, 2)
"""Bounds of latency: powers of two, from 4 us to 17 s."""

_PER_MOUNT: Final = {
    "zarrfs_mount_up": ("Whether the mount answers.", "gauge"),
    "zarrfs_mount_uptime_seconds": ("Time in the present state.", "gauge"),
    "zarrfs_worker_restarts": ("Workers that died and were replaced.", "counter"),
    "zarrfs_worker_resident_memory_bytes": ("Resident memory of the worker.", "gauge"),
    "zarrfs_read_bytes": ("Bytes of content sent to the kernel.", "counter"),
    "zarrfs_written_bytes": ("Bytes of content taken from the kernel.", "counter"),
    "zarrfs_cache_hits": ("Decompressed entries found in memory.", "counter"),
    "zarrfs_cache_misses": ("Entries that had to be decompressed.", "counter"),
    "zarrfs_cache_bytes": ("Decompressed bytes held in memory.", "gauge"),
    "zarrfs_pending_bytes": ("Bytes written and not yet in the archive.", "gauge"),
    "zarrfs_longest_request_seconds": ("Age of the oldest unanswered request.", "gauge"),
}


class MountCollector(Collector):
    """Turns the status of all mounts into metrics, at each scrape."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("zarrfs_up", "Whether the supervisor answers.")
        try:
            mounts = self._status()
        except UnavailableError:
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        return [up, *_families(mounts)]


def _families(mounts: list[dict[str, Any]]) -> Iterator[Metric]:
    yield from _plain(mounts)
    yield _states(mounts)
    yield from _operations(mounts)
    about = InfoMetricFamily("zarrfs_mount", "What is mounted where.", labels=["mount"])
    for mount in mounts:
        known = {key: str(mount.get(key) or "") for key in ("source", "target", "type")}
        about.add_metric([mount["name"]], known)
    yield about


def _plain(mounts: list[dict[str, Any]]) -> Iterator[Metric]:
    for name, (help_text, kind) in _PER_MOUNT.items():
        family_class = GaugeMetricFamily if kind == "gauge" else CounterMetricFamily
        family = family_class(name, help_text, labels=["mount"])
        for mount in mounts:
            value = _plain_value(name, mount)
            if value is not None:
                family.add_metric([mount["name"]], value)
        yield family


def _plain_value(name: str, mount: dict[str, Any]) -> float | None:
    statistics = mount.get("statistics") or {}
    cache = statistics.get("cache") or {}
    value = {
        "zarrfs_mount_up": float(mount["state"] in ("serving", "idle")),
        "zarrfs_mount_uptime_seconds": mount.get("uptime_s"),
        "zarrfs_worker_restarts": mount.get("restarts"),
        "zarrfs_worker_resident_memory_bytes": mount.get("memory_bytes"),
        "zarrfs_read_bytes": statistics.get("bytes_read"),
        "zarrfs_written_bytes": statistics.get("bytes_written"),
        "zarrfs_cache_hits": cache.get("hits"),
        "zarrfs_cache_misses": cache.get("misses"),
        "zarrfs_cache_bytes": cache.get("bytes"),
        "zarrfs_pending_bytes": statistics.get("pending_bytes"),
        "zarrfs_longest_request_seconds": statistics.get("longest_in_flight_s"),
    }[name]
    return None if value is None else float(value)


def _states(mounts: list[dict[str, Any]]) -> Metric:
    family = GaugeMetricFamily(
        "zarrfs_mount_state", "1 for the state a mount is in.", labels=["mount", "state"]
    )
    for mount in mounts:
        for state in STATES:
            family.add_metric([mount["name"], state], float(mount["state"] == state))
    return family


def _operations(mounts: list[dict[str, Any]]) -> Iterator[Metric]:
    labels = ["mount", "operation"]
    errors = CounterMetricFamily(
        "zarrfs_operation_errors",
        "Requests that failed; no such file and the like are none.",
        labels=labels,
    )
    durations = HistogramMetricFamily(
        "zarrfs_operation_duration_seconds",
        "Time from request to answer; the sum is estimated from the buckets.",
        labels=labels,
    )
    for mount in mounts:
        statistics = mount.get("statistics") or {}
        for operation, count in (statistics.get("errors") or {}).items():
            errors.add_metric([mount["name"], operation], count)
        for operation, buckets in (statistics.get("latencies") or {}).items():
            durations.add_metric([mount["name"], operation], _cumulative(buckets), _sum_s(buckets))
    yield errors
    yield durations


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    """Turn counts by power of two of nanoseconds into Prometheus's buckets."""
    bounds = [
        (repr(2**power / 1e9), float(sum(buckets[: power + 1]))) for power in _BUCKETS_NS_POWERS
    ]
    return [*bounds, ("+Inf", float(sum(buckets)))]


def _sum_s(buckets: list[int]) -> float:
    """Estimate the sum of latencies: each in the middle of its bucket."""
    return float(sum(count * 0.75 * 2**power for power, count in enumerate(buckets))) / 1e9


class _UnixServer(socketserver.UnixStreamServer):
    def get_request(self) -> tuple[socket.socket, Any]:
        connection, _ = super().get_request()
        return connection, ("unix", 0)  # BaseHTTPRequestHandler wants a host


def serve_metrics(status: Status, *, listen: str | None, path: str | None) -> None:
    """Answer scrapes for ever.

    Raises: OSError when the address cannot be bound; as `make_way_for_socket`.
    """
    registry = CollectorRegistry()
    registry.register(MountCollector(status))
    with _make_server(_handler(registry), listen, path) as server:
        server.serve_forever(poll_interval=60)


def _make_server(
    handler: type[http.server.BaseHTTPRequestHandler], listen: str | None, path: str | None
) -> socketserver.BaseServer:
    if path is not None:
        make_way_for_socket(path)
        with sockets_of_mode(0o660):
            return _UnixServer(path, handler)
    host, _, port = (listen or "").rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET

    class Server(http.server.HTTPServer):
        address_family = family

    return Server((host.strip("[]"), int(port)), handler)


def _handler(registry: CollectorRegistry) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path.partition("?")[0] not in ("/", "/metrics"):
                self.send_error(404)
                return
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            body = encode(registry)
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Scrapes are not worth a line each."""

    return Handler
