"""A service that is told to end does so within its bound, whatever its workers and clients do."""

from __future__ import annotations

import os
import signal
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.clients_at_work import Client
from tests.mount_table import fuse_mounts_below
from tests.service import ServiceRun, running

pytestmark = pytest.mark.timeout(240)

CONFIG = """\
defaults: {mkdir: true, hang_timeout: 2s}
mounts:
  - {name: memory, source: "memory:", target: memory, mode: rw, snapshot: memory.zip}
  - {name: archive, source: archive.zip, target: archive, mode: rw, commit: 10m}
  - {name: directory, source: source, target: directory, mode: rw}
"""
NAMES = ("memory", "archive", "directory")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceRun]:
    (tmp_path / "source").mkdir()
    with zipfile.ZipFile(tmp_path / "archive.zip", "w"):
        pass
    with running(tmp_path, CONFIG) as service:
        service.wait_until_serving()
        yield service


def stored(folder: Path, name: str) -> set[str]:
    """Return what a mount's source holds."""
    if name == "directory":
        return set(os.listdir(folder / "source"))
    with zipfile.ZipFile(folder / f"{name}.zip") as archive:
        assert archive.testzip() is None
        return set(archive.namelist())


def close(descriptor: int) -> None:
    """Close what may be on a connection that has ended."""
    with suppress(OSError):
        os.close(descriptor)


@pytest.mark.parametrize("held", [False, True], ids=["unused", "open files"])
def test_hung_workers_lose_nothing(service: ServiceRun, held: bool) -> None:
    """They are killed while there is time, and their successors write what they did not."""
    root = service.folder
    with ExitStack() as files:
        for name in NAMES:
            (root / name / "written").write_bytes(b"1")
            if held:
                file = os.open(root / name / "held", os.O_CREAT | os.O_WRONLY)
                files.callback(close, file)
                os.write(file, b"2")
                os.fsync(file)
        for mount in service.mounts().values():
            os.kill(mount["pid"], signal.SIGSTOP)
        assert service.stop() == 0
    for name in NAMES:
        assert stored(root, name) >= ({"written", "held"} if held else {"written"})
    assert fuse_mounts_below(root) == []
    assert "nothing is mounted there" not in service.log.read_text()


def test_writers_that_never_stop_are_cut_off(service: ServiceRun) -> None:
    """Told twice and three times, it still ends once; what was whole stays whole."""
    root = service.folder
    clients, held = [], []
    for name in NAMES:
        held.append(os.open(root / name / "held", os.O_CREAT | os.O_WRONLY))

        def write(folder: Path = root / name, descriptor: int = held[-1]) -> None:
            (folder / "part").write_bytes(b"x" * 300_000)
            os.rename(folder / "part", folder / "whole")
            os.pwrite(descriptor, b"y" * 70_000, 0)

        clients.append(Client(write))
    try:
        for client in clients:
            client.wait_for_more()
        service.process.send_signal(signal.SIGTERM)
        service.process.send_signal(signal.SIGINT)
        assert service.stop() == 0
    finally:
        errors = [client.end() for client in clients]
        for descriptor in held:
            close(descriptor)
    assert all(error is None or isinstance(error, OSError) for error in errors)
    assert fuse_mounts_below(root) == []
    for name in NAMES:
        assert "whole" in stored(root, name)
    with zipfile.ZipFile(root / "archive.zip") as archive:
        assert archive.read("whole") == b"x" * 300_000
