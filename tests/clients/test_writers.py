"""Real writers on real mounts: arrays created, overwritten, resized and deleted.

Each writer does the same to a mount and to a plain folder; other clients then read both,
through the mount, and the store beneath must hold the same files after the unmount.
"""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.clients.catalogue import CLIENTS, LIMIT_S, WRITERS, client
from tests.clients.corpus import Corpus
from tests.commands import mounted


@pytest.fixture(params=[pytest.param(w, marks=pytest.mark.xdist_group(w)) for w in WRITERS])
def writer(request: pytest.FixtureRequest) -> str:
    return client(request.param).name


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def change(mount: Path, writer: str, corpus: Corpus) -> dict[str, bytes]:
    """Let a writer change a mount, compare with the plain folder, return the files."""
    CLIENTS[writer].run("change", mount / f"{writer}.zarr")
    written = contents(mount)
    assert written.keys() == contents(corpus.changed / writer).keys()
    for reader, expected in corpus.expected_changes(writer).items():
        digests = CLIENTS[reader].digest(mount, list(expected))
        assert digests == expected, reader
        assert any(not digest.startswith("error") for digest in digests.values())
    return written


def test_directory(writer: str, corpus: Corpus, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with mounted(source, tmp_path / "mnt", "-o", "rw") as mount:
        written = change(mount, writer, corpus)
    assert contents(source) == written


def test_memory(writer: str, corpus: Corpus, tmp_path: Path) -> None:
    with mounted("memory:", tmp_path / "mnt", "-o", "rw") as mount:
        change(mount, writer, corpus)


def test_zip(writer: str, corpus: Corpus, tmp_path: Path) -> None:
    archive = tmp_path / "new.zip"
    with mounted(archive, tmp_path / "mnt", "--create", "-o", "rw") as mount:
        written = change(mount, writer, corpus)
    check_archive(archive, tmp_path / "unzipped")
    assert contents(tmp_path / "unzipped") == written
    with mounted(archive, tmp_path / "again", "-o", "ro") as mount:
        assert contents(mount) == written


def check_archive(archive: Path, folder: Path) -> None:
    """Let other programs test and unpack an archive."""
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        assert len(names) == len(set(names))
        opened.extractall(folder)
    for command in (["unzip", "-tqq", str(archive)], ["7z", "t", str(archive)]):
        subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
