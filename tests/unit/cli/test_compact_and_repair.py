"""`zarrfs compact` and `zarrfs repair` on archives that need it, and on others."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from zarrfs.cli.exit_codes import ExitCode
from zarrfs.cli.main import run
from zarrfs.storage import Key, Storage

Capture = pytest.CaptureFixture[str]


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        return {name: file.read(name) for name in file.namelist()}


@pytest.fixture
def wasteful(archive: Path) -> Path:
    """An archive in which a large chunk was replaced by a small one."""
    for content in (b"x" * 100_000, b"y" * 16):
        with Storage.open(archive, read_only=False) as storage:
            storage.backend.set(Key("a/deep/c/1/1"), content)
    return archive


def test_compacting_frees_what_was_replaced(wasteful: Path, capsys: Capture) -> None:
    before, size = contents(wasteful), wasteful.stat().st_size
    assert run(["compact", "--dry-run", "--json", str(wasteful)]) == ExitCode.OK
    estimate = json.loads(capsys.readouterr().out)
    assert wasteful.stat().st_size == size
    assert estimate["before_bytes"] == size
    assert estimate["after_bytes"] < 20_000
    assert run(["compact", str(wasteful)]) == ExitCode.OK
    assert "less" in capsys.readouterr().out
    assert wasteful.stat().st_size < 20_000
    assert contents(wasteful) == before
    assert [path.name for path in wasteful.parent.glob("*zarrfs*")] == []


def test_an_archive_that_is_being_written_is_not_compacted(wasteful: Path, capsys: Capture) -> None:
    with Storage.open(wasteful, read_only=False):
        assert run(["compact", str(wasteful)]) == ExitCode.SYSTEM
    assert str(wasteful) in capsys.readouterr().err


def test_an_archive_without_its_directory_is_repaired(archive: Path, capsys: Capture) -> None:
    before = contents(archive)
    data = archive.read_bytes()
    archive.write_bytes(data[: data.index(b"PK\1\2")])
    command = ["repair", str(archive)]
    assert run([*command, "--dry-run"]) == ExitCode.CONTENT
    assert "would" in capsys.readouterr().out
    assert not zipfile.is_zipfile(archive)
    assert run([*command, "--json"]) == ExitCode.OK
    done = json.loads(capsys.readouterr().out)
    assert done["actions"]
    assert done["remaining"] == []
    assert contents(archive) == before
    assert run(command) == ExitCode.OK
    assert "nothing to repair" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["compact", "repair"])
def test_what_is_no_archive(command: str, tmp_path: Path, capsys: Capture) -> None:
    other = tmp_path / "other"
    other.write_text("nothing of the kind")
    assert run([command, str(other)]) == ExitCode.CONTENT
    assert run([command, str(tmp_path / "none.zip")]) == ExitCode.USAGE
    told = capsys.readouterr().err
    assert "other" in told
    assert "none.zip" in told
