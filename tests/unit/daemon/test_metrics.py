"""The metrics, scraped over a real socket and parsed by Prometheus's own parser."""

from __future__ import annotations

import http.client
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from zarrfs.daemon import metrics
from zarrfs.errors import UnavailableError

_LABELS = ("mount", "operation", "state", "le")
MOUNT: dict[str, Any] = {
    "name": "a",
    "source": "/srv/a.zip",
    "target": "/mnt/a",
    "type": "zip",
    "state": "serving",
    "uptime_s": 12.5,
    "restarts": 2,
    "memory_bytes": 1 << 20,
    "statistics": {
        "bytes_read": 100,
        "bytes_written": 0,
        "errors": {"lookup": 3},
        "latencies": {"read": [0] * 12 + [5, 0, 1] + [0] * 33},
        "cache": {"hits": 7, "misses": 1, "bytes": 64},
    },
}


class Scraped:
    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "metrics.sock")
        self.mounts: list[dict[str, Any]] | None = [MOUNT]
        self.server = metrics._make_server(self.handler(), None, self.path)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def handler(self) -> Any:
        registry = CollectorRegistry()
        registry.register(metrics.MountCollector(self.status))
        return metrics._handler(registry)

    def status(self) -> list[dict[str, Any]]:
        if self.mounts is None:
            raise UnavailableError("socket", "gone")
        return self.mounts

    def get(self, path: str = "/metrics") -> tuple[int, str]:
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.path)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def samples(self) -> dict[tuple[str, ...], float]:
        return {
            (
                sample.name,
                *(sample.labels[label] for label in _LABELS if label in sample.labels),
            ): sample.value
            for family in text_string_to_metric_families(self.get()[1])
            for sample in family.samples
        }


@pytest.fixture
def scraped(tmp_path: Path) -> Iterator[Scraped]:
    scraped = Scraped(tmp_path)
    scraped.thread.start()
    yield scraped
    scraped.server.shutdown()
    scraped.thread.join()
    scraped.server.server_close()


def test_every_mount_is_shown(scraped: Scraped) -> None:
    found = scraped.samples()
    assert found["zarrfs_up",] == 1
    assert found["zarrfs_mount_up", "a"] == 1
    assert found["zarrfs_worker_restarts_total", "a"] == 2
    assert found["zarrfs_read_bytes_total", "a"] == 100
    assert found["zarrfs_cache_hits_total", "a"] == 7
    assert found["zarrfs_mount_state", "a", "serving"] == 1
    assert found["zarrfs_mount_state", "a", "idle"] == 0
    assert found["zarrfs_operation_errors_total", "a", "lookup"] == 3
    assert ("zarrfs_pending_bytes", "a") not in found


def test_latencies_are_cumulative(scraped: Scraped) -> None:
    found = scraped.samples()
    bucket = "zarrfs_operation_duration_seconds_bucket"
    assert found[bucket, "a", "read", "4.096e-06"] == 5
    assert found[bucket, "a", "read", "1.6384e-05"] == 6
    assert found[bucket, "a", "read", "+Inf"] == 6


def test_a_supervisor_that_is_gone_is_down(scraped: Scraped) -> None:
    scraped.mounts = None
    assert scraped.samples() == {("zarrfs_up",): 0}


def test_only_metrics_are_there(scraped: Scraped) -> None:
    assert scraped.get("/etc/passwd")[0] == 404
    assert os.stat(scraped.path).st_mode & 0o777 == 0o660


def test_a_local_address_is_listened_on(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(metrics.MountCollector(lambda: [MOUNT]))
    with metrics._make_server(metrics._handler(registry), "127.0.0.1:0", None) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        address = server.server_address
        assert isinstance(address, tuple)
        connection = http.client.HTTPConnection(str(address[0]), int(address[1]), timeout=30)
        connection.request("GET", "/metrics")
        assert b'zarrfs_mount_up{mount="a"} 1.0' in connection.getresponse().read()
        connection.close()
        thread.join()


def test_the_documented_metrics_are_those_that_are_exported(scraped: Scraped) -> None:
    """Counters are documented with the `_total` of their samples."""
    statistics = {**MOUNT["statistics"], "pending_bytes": 1, "longest_in_flight_s": 0.5}
    scraped.mounts = [{**MOUNT, "statistics": statistics}]
    families = list(text_string_to_metric_families(scraped.get()[1]))
    exported = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in families
    }
    page = (Path(__file__).parents[3] / "docs/operating.md").read_text()
    documented = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(
            r"^\| `(zarrfs_\w+)` \| (\w+) \| (.*?) ?\| \S", page, re.MULTILINE
        )
    }
    assert documented == exported
    assert all(family.documentation for family in families)
    assert all(family.samples for family in families)


def test_counters_are_named_as_counters(scraped: Scraped) -> None:
    text = scraped.get()[1]
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        assert (kind == "counter") == name.endswith("_total")
        assert re.search(rf"^# HELP {name} \S", text, re.MULTILINE)
    assert len(set(re.findall(r"^# TYPE (\S+)", text, re.M))) == text.count("# TYPE")
