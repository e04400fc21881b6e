"""Repairing archives whose directory is lost, without losing anything else."""

from __future__ import annotations

import os
import random
import zipfile
from pathlib import Path

import pytest

from tests.unit.storage.zip.raw_zip import RawEntry, RawZip, Unseekable, deflated
from tests.unit.storage.zip.reading import content_of
from zarrfs.errors import CorruptError
from zarrfs.storage.zip.repair import repair

CONTENT = {
    "zarr.json": b"{}",
    "c/0/0": random.Random(1).randbytes(30_000),
    "c/0/1": b"again " * 5000,
    "c/1/0": random.Random(2).randbytes(90_000),
}


def written(path: Path, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for key, data in CONTENT.items():
            archive.writestr(key, data)
    return path


def without_directory(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"PK\x01\x02")])
    return path


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_lost_directory(tmp_path: Path, method: int) -> None:
    path = without_directory(written(tmp_path / "a.zip", method))
    body = path.read_bytes()
    with pytest.raises(CorruptError, match="repair"):
        content_of(path)
    planned = repair(str(path), dry_run=True)
    assert path.read_bytes() == body
    done = repair(str(path))
    assert planned.actions == done.actions and "4 entries" in done.actions[0]
    assert not done.remaining
    assert content_of(path) == CONTENT
    assert path.read_bytes().startswith(body)
    assert os.listdir(tmp_path) == ["a.zip"]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    assert repair(str(path)).actions == []


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_entries_whose_sizes_follow_them(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with open(path, "wb") as file, zipfile.ZipFile(Unseekable(file), "w", method) as archive:
        for key, data in CONTENT.items():
            archive.writestr(key, data)
    without_directory(path)
    repair(str(path))
    assert content_of(path) == CONTENT


def test_a_writer_killed_in_the_middle_of_an_entry(tmp_path: Path) -> None:
    """What it was writing holds an archive, whose entries are not ours."""
    inner = RawZip([RawEntry(b"inner", b"not ours")]).build()
    path = RawZip(
        [RawEntry(b"a", b"1"), RawEntry(b"a", b"2"), RawEntry(b"big", inner + bytes(10**6))]
    ).write(tmp_path / "a.zip")
    os.truncate(path, 500_000)
    done = repair(str(path))
    assert any("leave out" in action for action in done.actions)
    assert content_of(path) == {"a": b"2"}


def test_a_broken_entry_between_whole_ones(tmp_path: Path) -> None:
    entries = [RawEntry(b"a", b"1"), RawEntry(b"bad", b"2" * 99, crc=7), deflated(b"c", b"3" * 99)]
    path = without_directory(RawZip(entries).write(tmp_path / "a.zip"))
    repair(str(path))
    assert content_of(path) == {"a": b"1", "c": b"3" * 99}


def test_an_earlier_directory_and_what_came_after(tmp_path: Path) -> None:
    """Without it, what was deleted before would come back."""
    earlier = RawZip([RawEntry(b"deleted", b"0", central=False), RawEntry(b"a", b"1")]).build()
    later = RawZip([RawEntry(b"b", b"2")]).build()
    later = later[: later.index(b"PK\x01\x02")]
    path = tmp_path / "a.zip"
    path.write_bytes(earlier + later + bytes(100_000))
    done = repair(str(path))
    assert content_of(path) == {"a": b"1", "b": b"2"}
    assert done.actions[0] == "take the 1 entries of an earlier directory"


def test_what_cannot_be_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for content in (b"", b"no archive at all" * 100):
        path.write_bytes(content)
        with pytest.raises(CorruptError, match="nothing to repair it from"):
            repair(str(path))
        assert path.read_bytes() == content


def test_what_is_left_is_told(tmp_path: Path) -> None:
    path = RawZip([RawEntry(b"../x", b""), RawEntry(b"y", b"1", flags=1)], suffix=bytes(100)).write(
        tmp_path / "a.zip"
    )
    before = path.read_bytes()
    done = repair(str(path))
    assert not done.actions and len(done.remaining) == 3
    assert path.read_bytes() == before


def test_the_journal_of_a_killed_writer(tmp_path: Path) -> None:
    import signal
    import subprocess
    import sys

    path = written(tmp_path / "a.zip")
    program = f"""
import os, signal
from zarrfs.storage.zip.backend import ZipBackend
writer = ZipBackend.open({str(path)!r}, read_only=False)
writer.set("new", b"survives")
writer.delete("c/0/0")
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], timeout=100, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert "interrupted" in repair(str(path), dry_run=True).actions[0]
    assert content_of(path) == CONTENT
    assert len(repair(str(path)).actions) == 1
    expected = {key: data for key, data in CONTENT.items() if key != "c/0/0"}
    assert content_of(path) == expected | {"new": b"survives"}
    assert os.listdir(tmp_path) == ["a.zip"]
