"""An archive on a disk that is full, or that fails."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.archive_work import archived, recovered
from zarrfs.errors import NoSpaceError, UnavailableError
from zarrfs.storage.backend import Key
from zarrfs.storage.zip.writable import WritableZip

SMALL_DISK_BYTES = 4 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(mount_point)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield mount_point
    subprocess.run(["umount", "-l", str(mount_point)], check=True)


def opened(path: Path) -> WritableZip:
    return WritableZip(str(path), create=True, commit_interval_s=0)


def test_writing_until_the_disk_is_full(small_disk: Path) -> None:
    """The journal and the archive share the disk; the writer is told, nothing is lost."""
    folder = small_disk / "store"
    folder.mkdir()
    path = folder / "a.zip"
    archive = opened(path)
    archive.set(Key("first"), b"1" * 100_000)
    archive.commit()
    kept = {"first": b"1" * 100_000}
    with pytest.raises(NoSpaceError):
        for number in range(1000):
            archive.set(Key(f"c/{number}"), os.urandom(100_000))
            kept[f"c/{number}"] = bytes(archive.get(Key(f"c/{number}")))
    before = path.read_bytes()
    assert len(kept) > 10
    with pytest.raises(NoSpaceError):
        archive.commit()
    assert path.read_bytes() == before, "the archive is what it was"
    found = {str(key): bytes(archive.get(key)) for key in archive.list_keys(Key(""))}
    assert found == kept
    with pytest.raises(NoSpaceError):
        archive.close()
    assert archived(path) == {"first": b"1" * 100_000}
    _enlarge(small_disk)
    assert recovered(path) == kept


def test_deleting_makes_room(small_disk: Path) -> None:
    folder = small_disk / "store"
    folder.mkdir()
    archive = opened(folder / "a.zip")
    with pytest.raises(NoSpaceError):
        for number in range(1000):
            archive.set(Key(f"c/{number}"), bytes(100_000))
    for key in list(archive.list_keys(Key(""))):
        archive.delete(key)
    archive.set(Key("small"), b"fits")
    archive.close()
    assert archived(folder / "a.zip") == {"small": b"fits"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["pwrite", "fsync", "link"])
def test_any_call_of_a_commit_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """Whichever it is, the archive is cut back, and the next commit succeeds."""
    for commits_before in (0, 1):
        path = tmp_path / f"{commits_before}" / "a.zip"
        path.parent.mkdir()
        archive = opened(path)
        expected = {"a": b"1" * 5000}
        archive.set(Key("a"), expected["a"])
        if commits_before:
            archive.commit()
        before = archived(path)
        expected |= {"large": bytes(3 << 20), "b": b"2"}
        archive.set(Key("large"), expected["large"])
        archive.set(Key("b"), expected["b"])
        for victim in range(1, 20):
            if not _fails(archive, monkeypatch, call, number, victim):
                break
            assert archived(path) == before
        archive.close()
        assert archived(path) == expected
        assert os.listdir(path.parent) == [path.name]


def _fails(
    archive: WritableZip, monkeypatch: pytest.MonkeyPatch, call: str, number: int, victim: int
) -> bool:
    """Whether a commit failed whose so-manieth call of a kind, on the archive, did."""
    real = getattr(os, call)
    calls = 0

    def failing(*arguments: object) -> object:
        nonlocal calls
        if call == "link" or arguments[0] == archive._opened.fd:
            calls += 1
            if calls == victim:
                raise OSError(number, os.strerror(number))
        return real(*arguments)

    with monkeypatch.context() as disk:
        disk.setattr(os, call, failing)
        try:
            archive.commit()
        except NoSpaceError:
            assert number == errno.ENOSPC
            return True
        except UnavailableError:
            return True
    return False


def _enlarge(mount_point: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(mount_point)], check=True)
