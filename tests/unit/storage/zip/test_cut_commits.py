"""Reading an archive whose newest commit is not whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.unit.storage.zip.raw_zip import RawEntry, RawZip
from tests.unit.storage.zip.reading import content_of
from zarrfs.storage.backend import Key
from zarrfs.storage.zip.backend import ZipBackend
from zarrfs.storage.zip.writable_journal import journal_path


@pytest.mark.parametrize("cut_bytes", [1, 30, 5_000, 150_000, 199_000])
def test_the_last_whole_commit_is_shown(tmp_path: Path, cut_bytes: int) -> None:
    """What is cut off holds an archive of its own, as a chunk may."""
    path = tmp_path / "a.zip"
    inner = RawZip([RawEntry(b"inner", b"not ours")]).build()
    RawZip([RawEntry(b"old", b"1")]).write(path)
    writer = ZipBackend.open(str(path), read_only=False)
    try:
        writer.set(Key("second"), b"2" * 100_000)
        writer.flush()
        whole = path.stat().st_size
        writer.set(Key("third"), os.urandom(100_000) + inner + os.urandom(100_000))
        shutil.copy(journal_path(str(path)), journal_path(str(tmp_path / "b.zip")))
        writer.flush()
        shutil.copy(path, tmp_path / "b.zip")
    finally:
        writer.close()
    copy = tmp_path / "b.zip"
    assert set(content_of(copy)) == {"old", "second", "third"}
    os.truncate(copy, copy.stat().st_size - cut_bytes)
    assert copy.stat().st_size > whole
    assert content_of(copy) == {"old": b"1", "second": b"2" * 100_000}
