"""`zarrfs pack`: a complete copy or none, continued where it was interrupted."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from zarrfs.cli.exit_codes import ExitCode
from zarrfs.cli.main import run
from zarrfs.cli.pack_copy import items_of, partial_name
from zarrfs.storage import Key, Storage

Capture = pytest.CaptureFixture[str]


def pack(capsys: Capture, *arguments: str | Path) -> Any:
    assert run(["pack", *map(str, arguments), "--json"]) == ExitCode.OK
    return json.loads(capsys.readouterr().out)


def contents(path: Path) -> dict[str, bytes]:
    with Storage.open(path, read_only=True) as storage:
        keys = storage.backend.list_keys(Key(""))
        return {key: bytes(storage.backend.get(key)) for key in keys}


@pytest.mark.parametrize("workers", [1, 4])
def test_a_copy_is_complete(archive: Path, tmp_path: Path, capsys: Capture, workers: int) -> None:
    copy = tmp_path / "copy.zarr"
    done = pack(capsys, archive, copy, "--verify", "-j", str(workers))
    assert (done["files"], done["skipped"]) == (len(contents(archive)), 0)
    assert contents(copy) == contents(archive)
    assert not os.path.exists(partial_name(str(copy)))


def test_documents_lead_and_temporary_names_stay_behind(folder: Path) -> None:
    (folder / "old" / f"0.{'a' * 32}.partial").write_bytes(b"being written")
    with Storage.open(folder, read_only=True) as storage:
        keys = [item.key for item in items_of(storage.backend)]
    assert keys[:3] == ["zarr.json", "old/.zarray", "a/deep/zarr.json"]
    assert sorted(keys[3:]) == ["a/deep/c/0/0", "a/deep/c/0/1", "a/deep/c/1/0", "old/1"]


def test_what_is_there_is_not_replaced(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    copy = tmp_path / "copy.zarr"
    copy.mkdir()
    (copy / "mine").write_text("kept")
    assert run(["pack", str(folder), str(copy)]) == ExitCode.USAGE
    assert "--force" in capsys.readouterr().err
    assert [p.name for p in copy.iterdir()] == ["mine"]
    pack(capsys, folder, copy, "--force")
    assert contents(copy) == contents(folder)


def test_an_interrupted_copy_is_continued(archive: Path, tmp_path: Path, capsys: Capture) -> None:
    good = archive.read_bytes()
    bad = bytearray(good)
    at = bad.index(b"old/1") + len(b"old/1")
    bad[at] ^= 0xFF
    archive.write_bytes(bad)
    copy = tmp_path / "copy.zarr"
    command = ["pack", str(archive), str(copy), "-j", "1"]
    assert run(command) == ExitCode.CONTENT
    assert "old/1" in capsys.readouterr().err
    assert not copy.exists()
    assert os.path.isdir(partial_name(str(copy)))
    archive.write_bytes(good)
    done = pack(capsys, archive, copy)
    assert done["skipped"] == len(contents(archive)) - 1
    assert contents(copy) == contents(archive)


def test_a_copy_that_differs_is_found(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    """A key counts as done by its size and time; only --verify looks inside."""
    copy = tmp_path / "copy.zarr"
    partial = Path(partial_name(str(copy))) / "old" / "1"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"\0\0\0\0")
    assert run(["pack", str(folder), str(copy), "--verify"]) == ExitCode.CONTENT
    assert "old/1: the copy differs" in capsys.readouterr().err
    assert not copy.exists()


def test_a_source_changed_since_the_interruption(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    copy = tmp_path / "copy.zarr"
    stale = Path(partial_name(str(copy))) / "old" / "1"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"\0\0\0\0")
    os.utime(stale, (1, 1))
    assert pack(capsys, folder, copy)["skipped"] == 0
    assert contents(copy) == contents(folder)


def test_a_view_is_copied_as_it_is_shown(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    copy = tmp_path / "v3.zarr"
    pack(capsys, folder, copy, "--view", "v3")
    with Storage.open(copy) as storage:
        assert storage.layout("old").zarr_format == 3
        assert storage.read_chunk((1,), "old") == b"\1\0\2\0"


def test_ozx_needs_a_format_3_root(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(["pack", str(folder / "old"), str(tmp_path / "x.ozx")]) == ExitCode.USAGE
    assert "--view v3" in capsys.readouterr().err


def test_a_copy_cannot_be_part_of_its_source(folder: Path, capsys: Capture) -> None:
    assert run(["pack", str(folder), str(folder / "copy")]) == ExitCode.USAGE
    assert "inside the source" in capsys.readouterr().err


def test_no_zarr_no_copy(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    assert run(["pack", str(tmp_path / "empty"), str(tmp_path / "x.zip")]) == ExitCode.CONTENT
    assert not list(tmp_path.glob(".*"))


def test_no_space_is_found_before(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.statvfs_result((4096, 4096, 10, 0, 0, 10, 5, 5, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert run(["pack", str(folder), str(tmp_path / "copy.zarr")]) == ExitCode.SYSTEM
    assert "0 B are free" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["copy.zarr.zip", "copy.ozx"])
def test_an_archive_of_a_folder(folder: Path, tmp_path: Path, capsys: Capture, name: str) -> None:
    copy = tmp_path / name
    pack(capsys, folder, copy, "--verify")
    assert contents(copy) == contents(folder)
    with zipfile.ZipFile(copy) as file:
        assert file.testzip() is None
        if name.endswith(".ozx"):
            assert file.namelist()[:2] == ["zarr.json", "a/deep/zarr.json"]
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in file.infolist())
    assert [path.name for path in tmp_path.glob(".*")] == []
