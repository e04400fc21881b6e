"""What operators see of a service: metrics, status on a terminal, logs."""

from __future__ import annotations

import errno
import fcntl
import http.client
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.commands import ZARRFS, zarrfs
from tests.service import PATIENCE_S, ServiceRun, running, wait_for

pytestmark = pytest.mark.timeout(240)

CONFIG = """\
logging: {format: json, level: error}
metrics: {socket: metrics.sock}
defaults: {mkdir: true, commit: 1h}
mounts:
  - {name: packed, source: a.zip, target: packed, log_level: info}
  - {name: writable, source: b.zip, target: writable, mode: rw}
"""
COLUMNS = 80


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceRun]:
    for name in ("a.zip", "b.zip"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("file", "content" * 10_000)
    with running(tmp_path, CONFIG) as service:
        service.wait_until_serving()
        yield service


def scrape(path: Path) -> dict[tuple[str, str], float]:
    """Return every sample that has no other label than the mount, by name and mount."""
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(PATIENCE_S)
    connection.sock.connect(str(path))
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {
        (sample.name, sample.labels["mount"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if set(sample.labels) == {"mount"}
    }


def test_metrics_tell_what_was_done(service: ServiceRun) -> None:
    for _ in range(2):
        descriptor = os.open(service.folder / "packed/file", os.O_RDONLY)
        assert len(os.pread(descriptor, 70_000, 0)) == 70_000
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    with (service.folder / "writable/new").open("wb") as file:
        file.write(bytes(100_000))
    wait_for("the exporter", (service.folder / "metrics.sock").exists)

    def complete() -> dict[tuple[str, str], float]:
        found = scrape(service.folder / "metrics.sock")
        return found if found.get(("zarrfs_pending_bytes", "writable"), 0) >= 100_000 else {}

    found = wait_for("the statistics", complete)
    assert found["zarrfs_mount_up", "packed"] == 1
    assert found["zarrfs_read_bytes_total", "packed"] >= 70_000
    assert found["zarrfs_written_bytes_total", "writable"] == 100_000
    assert found["zarrfs_cache_misses_total", "packed"] == 1
    assert found["zarrfs_cache_hits_total", "packed"] >= 1
    assert found["zarrfs_cache_bytes", "packed"] == 70_000
    assert found["zarrfs_worker_restarts_total", "packed"] == 0
    assert found["zarrfs_worker_resident_memory_bytes", "packed"] > 1 << 20
    service.process.send_signal(signal.SIGUSR2)
    wait_for(
        "the commit",
        lambda: scrape(service.folder / "metrics.sock")["zarrfs_pending_bytes", "writable"] == 0,
    )


def test_logs_are_json_with_a_level_for_each_mount(service: ServiceRun) -> None:
    service.process.send_signal(signal.SIGUSR1)
    wait_for("the statistics", lambda: "statistics: " in service.log.read_text())
    # Stacks are written piece by piece, so a record may begin within a line of another worker's.
    lines = [line for line in service.log.read_text().splitlines() if '{"time"' in line]
    records = [json.loads(line[line.index('{"time"') :]) for line in lines]
    assert {record["mount"] for record in records} == {"packed"}
    assert {"serving", "statistics:"} <= {record["message"].split()[0] for record in records}
    assert {record["level"] for record in records} == {"info"}


def test_a_reload_moves_sockets_and_changes_what_running_workers_log(service: ServiceRun) -> None:
    before = service.mounts()
    (service.folder / "precious").write_text("no socket")
    text = CONFIG.replace("metrics.sock}", "other.sock}\ncontrol: {socket: precious}")
    service.reload(text)
    wait_for("the new exporter", lambda: (service.folder / "other.sock").exists())
    wait_for(
        "an answer there",
        lambda: scrape(service.folder / "other.sock").get(("zarrfs_mount_up", "packed")) == 1,
    )
    assert (service.folder / "precious").read_text() == "no socket"
    assert "precious: is not a socket" in service.log.read_text()
    service.reload(text.replace("socket: precious", "socket: my.sock").replace("json", "text"))
    wait_for("the control socket", lambda: (service.folder / "my.sock").exists())
    assert {mount["pid"] for mount in service.mounts().values()} == {
        mount["pid"] for mount in before.values()
    }
    service.process.send_signal(signal.SIGUSR1)
    wait_for(
        "a worker's text",
        lambda: re.search(r"^\S+ \S+ info packed: statistics: {", service.log.read_text(), re.M),
    )
    assert "writable: statistics" not in service.log.read_text()


def test_a_live_table_fits_a_terminal(service: ServiceRun) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, COLUMNS, 0, 0))
    environment = {**os.environ, "RUNTIME_DIRECTORY": str(service.runtime), "TERM": "xterm"}
    with subprocess.Popen(
        # Of all mounts those that fit are shown, and other tests have theirs.
        [str(ZARRFS), "status", "--watch", "--interval", "0.1", str(service.folder / "packed")],
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment,
    ) as watching:  # fmt: skip
        os.close(theirs)
        shown = ""
        while shown.count("serving") < 4:
            shown += os.read(ours, 1 << 16).decode(errors="replace")
        watching.send_signal(signal.SIGINT)
        os.set_blocking(ours, False)
        assert watching.wait(PATIENCE_S) == 0
    os.close(ours)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").split("\n")
    assert max(map(len, lines)) <= COLUMNS
    assert any(re.match(r"serving +\d+s +\d+ ", line) for line in lines), lines
    assert any(line.startswith("packed ") for line in lines), lines


def test_a_pipe_gets_one_table_after_the_other(service: ServiceRun) -> None:
    watch = f"{ZARRFS} status --watch --interval 0.1 {service.folder}/packed"
    done = subprocess.run(
        ["bash", "-c", f"{watch} | head -n 6"],
        env={**os.environ, "RUNTIME_DIRECTORY": str(service.runtime), "COLUMNS": "500"},
        capture_output=True, text=True, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    assert done.stdout.count("STATE") == 2
    assert done.stdout.count("serving") == 2


LONG = f"{'long-' * 30}folder/{'and-' * 20}on"


def test_status_shows_all_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("damaged", os.urandom(5_000))
        archive.writestr("file", "content" * 10_000)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[100] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    config = CONFIG.replace("target: packed", f"target: {LONG}").replace("metrics", "#metrics")
    with zipfile.ZipFile(tmp_path / "b.zip", "w"):
        pass
    with running(tmp_path, config) as service:
        service.wait_until_serving()
        assert (tmp_path / LONG / "file").read_text() == "content" * 10_000
        with pytest.raises(OSError, match="Input/output error"):
            (tmp_path / LONG / "damaged").read_bytes()
        (tmp_path / "writable/new").write_bytes(bytes(100_000))
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(service.runtime))
        monkeypatch.setenv("COLUMNS", str(COLUMNS))
        # Others' mounts would be shown as well.
        shown = zarrfs("status", tmp_path / LONG).stdout
        shown += zarrfs("status", tmp_path / "writable").stdout
        (packed,) = json.loads(zarrfs("status", tmp_path / LONG, "--json").stdout)
    lines = [line.rstrip() for line in shown.splitlines()]
    assert max(map(len, lines)) <= COLUMNS
    assert str(tmp_path / LONG) in shown.replace("\n", "").replace(" \n", "")
    titles = lines[0].split()
    figures = [
        dict(zip(titles, line.split(), strict=True)) for line in lines if line.startswith("serving")
    ]
    of_packed, of_writable = figures
    assert (of_packed["CACHE"], of_packed["PEND"]) == ("0%", "-")
    assert int(of_packed["ERR"]) >= 1 and of_writable["ERR"] == "0"
    assert re.fullmatch(r"(9[89]|1\d\d)(\.\d)?K", of_writable["PEND"])
    assert of_writable["WRITE"] == "97.7K"
    unwrapped = " ".join(shown.split())
    assert re.search(r"last error, \d+s ago: (read|open): \S+ damaged: ", unwrapped), shown
    assert f"{tmp_path}/a.zip: damaged" in packed["statistics"]["last_error"][3]
    assert packed["type"] == "zip"
    assert packed["statistics"]["latency_s"]["all"]["p50"] > 0
    assert packed["statistics"]["last_error"][2] == errno.EIO
