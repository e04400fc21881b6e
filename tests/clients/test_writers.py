"""Real writers on real mounts: arrays created, overwritten, resized and deleted.

Each writer does the same to a mount and to a plain folder; other clients then read both,
through the mount, and again from the store beneath after the unmount.
"""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.clients.catalogue import CLIENTS, LIMIT_S, WRITERS, available, client
from tests.clients.corpus import arrays_below
from tests.commands import mounted


@pytest.fixture(params=[pytest.param(w, marks=pytest.mark.xdist_group(w)) for w in WRITERS])
def writer(request: pytest.FixtureRequest) -> str:
    return client(request.param).name


@pytest.fixture
def plain(writer: str, tmp_path: Path) -> Path:
    """A folder with what the writer does to an ordinary file system."""
    folder = tmp_path / "plain"
    folder.mkdir()
    CLIENTS[writer].run("change", folder / f"{writer}.zarr")
    return folder


def files_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def agree(written: Path, plain: Path, writer: str) -> None:
    """Compare names, and values as read by every other client that reads them."""
    assert files_below(written) == files_below(plain)
    arrays = arrays_below(plain)
    readers = [name for name in ("zarr3", "tensorstore", "zarr2") if available(name)]
    others = [name for name in readers if name != writer][:2]
    assert others
    for reader in others:
        digests = CLIENTS[reader].digest(written, arrays)
        assert digests == CLIENTS[reader].digest(plain, arrays)
        assert any(not digest.startswith("error") for digest in digests.values())


def test_directory(writer: str, plain: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with mounted(source, tmp_path / "mnt", "-o", "rw") as mount:
        CLIENTS[writer].run("change", mount / f"{writer}.zarr")
        agree(mount, plain, writer)
    agree(source, plain, writer)


def test_memory(writer: str, plain: Path, tmp_path: Path) -> None:
    with mounted("memory:", tmp_path / "mnt", "-o", "rw") as mount:
        CLIENTS[writer].run("change", mount / f"{writer}.zarr")
        agree(mount, plain, writer)


def test_zip(writer: str, plain: Path, tmp_path: Path) -> None:
    archive = tmp_path / "new.zip"
    with mounted(archive, tmp_path / "mnt", "--create", "-o", "rw") as mount:
        CLIENTS[writer].run("change", mount / f"{writer}.zarr")
        agree(mount, plain, writer)
    check_archive(archive, tmp_path / "unzipped")
    agree(tmp_path / "unzipped", plain, writer)
    with mounted(archive, tmp_path / "again", "-o", "ro") as mount:
        agree(mount, plain, writer)


def check_archive(archive: Path, folder: Path) -> None:
    """Let other programs test and unpack an archive."""
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        assert len(names) == len(set(names))
        opened.extractall(folder)
    for command in (["unzip", "-tqq", str(archive)], ["7z", "t", str(archive)]):
        subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
