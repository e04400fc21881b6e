"""Killed servers, killed clients, aborted mounts: the native frontend alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mount_table import fuse_mounts_below, remove
from tests.native_serving import serving
from zarrfs.frontends.native import NativeOptions, mounting

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="optional: these mount as root")

LIMIT_S = 60.0
READ = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mount"
    folder.mkdir()
    yield folder
    for mount in fuse_mounts_below(tmp_path):
        remove(mount)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "0.0").write_bytes(b"chunk" * 1000)
    return folder


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def reading(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", READ, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def can_resend() -> bool:
    release = os.uname().release.split(".")
    return (int(release[0]), int(release[1])) >= (6, 9)


@pytest.mark.skipif(not can_resend(), reason="optional: FUSE_NOTIFY_RESEND came with Linux 6.9")
def test_a_successor_goes_on_and_clients_see_no_error(tmp_path: Path, target: Path) -> None:
    """Nodeids of an archive mean the same to every process that opens it."""
    marker = tmp_path / "a read began"
    archive = tmp_path / "store.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("0.0", b"chunk" * 1000)
    shared: dict[str, object] = {"options": {"read_only": True}}
    fd = shared["fd"] = mounting.mount(str(target), NativeOptions(read_only=True))
    try:
        with serving(target, f"zip:{archive}", hang=str(marker), **shared) as first:
            clients = [reading(target / "0.0") for _ in range(3)]
            wait_until(marker.exists)
            first.kill()
        shared["negotiated"] = first.first["negotiated"]
        with serving(target, f"zip:{archive}", **shared):
            for client in clients:
                content, errors = client.communicate(timeout=LIMIT_S)
                assert (client.returncode, errors) == (0, b"")
                assert content == b"chunk" * 1000
    finally:
        os.close(fd)


@pytest.mark.skipif(not can_resend(), reason="optional: FUSE_NOTIFY_RESEND came with Linux 6.9")
def test_a_successor_answers_init_where_nobody_did(target: Path, source: Path) -> None:
    """A predecessor that read INIT and died leaves nothing but the descriptor."""
    fd = mounting.mount(str(target), NativeOptions())
    try:
        assert os.read(fd, 1 << 21)  # INIT
        with serving(target, f"directory:{source}", fd=fd) as server:
            assert (target / "0.0").read_bytes() == b"chunk" * 1000
            assert server.first["negotiated"]["minor"] >= 40
    finally:
        os.close(fd)


def test_a_killed_client_is_let_go_while_its_read_hangs(
    tmp_path: Path, target: Path, source: Path
) -> None:
    marker = tmp_path / "a read began"
    options = {"passthrough": False}
    with serving(target, f"directory:{source}", hang=str(marker), options=options) as server:
        client = reading(target / "0.0")
        wait_until(marker.exists)
        client.kill()
        client.communicate(timeout=LIMIT_S)
        assert os.listdir(target) == ["0.0"]  # by another thread
        remove(fuse_mounts_below(tmp_path)[0])
        server.kill()  # its thread hangs in a read that nobody waits for


def test_an_abort_ends_everything(tmp_path: Path, target: Path, source: Path) -> None:
    marker = tmp_path / "a read began"
    options = {"passthrough": False}
    with serving(target, f"directory:{source}", hang=str(marker), options=options) as server:
        client = reading(target / "0.0")
        wait_until(marker.exists)
        remove(fuse_mounts_below(tmp_path)[0])
        _, errors = client.communicate(timeout=LIMIT_S)
        assert client.returncode == 1 and b"Error" in errors
        assert fuse_mounts_below(tmp_path) == []
        server.kill()


def test_a_server_aborts_its_own_mount(target: Path, source: Path) -> None:
    with (
        serving(target, f"directory:{source}", options={"passthrough": False}) as server,
        open(target / "0.0", "rb") as file,
    ):
        assert server.ask("abort")
        assert fuse_mounts_below(target.parent) == []
        with pytest.raises(OSError, match=r"aborted|not connected"):
            file.read()
