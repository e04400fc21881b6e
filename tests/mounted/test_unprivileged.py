"""A service of a user without any privilege, who mounts by fusermount3."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients_at_work import Client
from tests.commands import ZARRFS
from tests.namespaces import (
    DETACH_FOREIGN_MOUNTS,
    NOBODY,
    OWN_FUSE_DEVICE,
    open_program_to_others,
)
from tests.service import ServiceRun, need_root, running

pytestmark = pytest.mark.timeout(240)

AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
CONFIG = """\
defaults: {mkdir: true, permissions: {allow_other: true}}
mounts:
  - {name: zip, source: a.zip, target: zip}
  - {name: folder, source: source, target: folder, mode: rw}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of that user; pytest's own are closed to others."""
    need_root()
    if shutil.which("fusermount3") is None or shutil.which("unshare") is None:
        pytest.skip("optional: no fusermount3 or no unshare")
    with tempfile.TemporaryDirectory(prefix="zarrfs-nobody-") as name:
        folder = Path(name)
        with zipfile.ZipFile(folder / "a.zip", "w") as archive:
            archive.writestr("file", "content")
        (folder / "source").mkdir()
        for path in (folder, *folder.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        yield folder


@pytest.fixture
def service(folder: Path, tmp_path: Path) -> Iterator[ServiceRun]:
    boot = tmp_path / "boot.sh"
    (tmp_path / "fuse.conf").write_text("user_allow_other\n")
    boot.write_text(
        DETACH_FOREIGN_MOUNTS
        + open_program_to_others(tmp_path)
        + OWN_FUSE_DEVICE
        + f"mount --bind {tmp_path}/fuse.conf /etc/fuse.conf\n"
        + f'exec {" ".join(AS_NOBODY)} "$@"\n'
    )
    under = ("unshare", "--mount", "bash", str(boot))
    with running(folder, CONFIG, under=under) as service:
        service.wait_until_serving("zip", "folder")
        yield service


def run_inside(service: ServiceRun, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as that user, where its mounts are seen."""
    return subprocess.run(
        ["nsenter", "-t", str(service.process.pid), "-m", "--", *AS_NOBODY, *command],
        env={**os.environ, "RUNTIME_DIRECTORY": str(service.runtime)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_serves_survives_a_kill_and_unmounts(service: ServiceRun) -> None:
    root = Path(f"/proc/{service.process.pid}/root{service.folder}")
    owner = os.stat(f"/proc/{service.mount('zip')['pid']}")
    assert owner.st_uid == NOBODY

    def read() -> None:
        assert (root / "zip/file").read_text() == "content"

    def write() -> None:
        (root / "folder/new.partial").write_text("new")
        os.rename(root / "folder/new.partial", root / "folder/new")
        assert (root / "folder/new").read_text() == "new"

    for name, work in (("zip", read), ("folder", write)):
        client = Client(work)
        try:
            service.kill_worker(name)
            client.wait_for_more()
        finally:
            client.stop()
    shown = run_inside(service, str(ZARRFS), "status")
    assert shown.returncode == 0 and "serving" in shown.stdout, shown.stdout + shown.stderr
    unmounted = run_inside(service, str(ZARRFS), "unmount", str(service.folder / "folder"))
    assert unmounted.returncode == 0, unmounted.stderr
    service.wait_until("folder", "stopped")
    assert os.listdir(root / "folder") == []
    assert (service.folder / "source/new").read_text() == "new"
    assert service.stop() == 0


def test_the_next_service_takes_over(service: ServiceRun) -> None:
    worker = service.mount("folder")["pid"]
    root = Path(f"/proc/{worker}/root{service.folder}")
    service.under = ("nsenter", "-t", str(worker), "-m", "--", *AS_NOBODY)
    process = service.prepare_next()
    with (root / "folder/new").open("w") as file:
        file.write("before")
        file.flush()
        service.kill_and_go_on_with(process, workers_too=False)
        file.write(" after")
    assert service.log.read_text().count("taken over from the last run") == 2
    assert (service.folder / "source/new").read_text() == "before after"
    assert service.stop() == 0
