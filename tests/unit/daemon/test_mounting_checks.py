"""What is refused before anything is mounted; what the kernel's table says; who serves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zarrfs.daemon import mounting_table
from zarrfs.daemon.background_records import (
    MountRecord,
    read_record,
    record_failure,
    take_failure,
    wait_until_gone,
    write_record,
)
from zarrfs.daemon.mounting import MountSpec, resolve
from zarrfs.daemon.mounting_checks import check_apart, check_source, check_target
from zarrfs.daemon.mounting_table import Mounted, canonical_target, mounts
from zarrfs.daemon.options import parse_options
from zarrfs.errors import (
    CreateFailedError,
    InvalidArgumentError,
    NotAFolderError,
    NotEmptyError,
    PathNotFoundError,
)


def test_a_target_is_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    assert check_target(str(tmp_path / "empty"), nonempty=False) == str(tmp_path / "empty")
    with pytest.raises(NotEmptyError, match="-o nonempty"):
        check_target(str(tmp_path), nonempty=False)
    assert check_target(str(tmp_path), nonempty=True) == str(tmp_path)
    with pytest.raises(NotAFolderError):
        check_target(str(tmp_path / "file"), nonempty=False)
    with pytest.raises(PathNotFoundError, match="--mkdir"):
        check_target(str(tmp_path / "none"), nonempty=False)
    check_target(str(tmp_path / "new" / "deep"), nonempty=False, mkdir=True)
    assert (tmp_path / "new" / "deep").is_dir()
    with pytest.raises(CreateFailedError):
        check_target(str(tmp_path / "file" / "below"), nonempty=False, mkdir=True)


def test_a_source_is_there_or_can_be_made(tmp_path: Path) -> None:
    new = str(tmp_path / "new.zip")
    with pytest.raises(PathNotFoundError, match="--create"):
        check_source(new, create=False)
    assert check_source(new, create=True) == new
    with pytest.raises(PathNotFoundError, match="make it first"):
        check_source(str(tmp_path / "none" / "new.zip"), create=True)
    (tmp_path / "link").symlink_to(tmp_path)
    assert check_source(str(tmp_path / "link"), create=False) == str(tmp_path / "link")


@pytest.mark.parametrize(
    ("source", "target", "apart"),
    [
        ("/a/b", "/a/c", True),
        ("/a/b", "/a/bc", True),
        ("/a/b.zip", "/a/b", True),
        ("/a/b", "/a/b", False),
        ("/a/b", "/a/b/c", False),
        ("/a/b.zip", "/a", False),
        ("/", "/a", False),
    ],
)
def test_a_mount_neither_contains_nor_hides_its_source(
    source: str, target: str, apart: bool
) -> None:
    if apart:
        check_apart(source, target)
        return
    with pytest.raises(InvalidArgumentError, match="mount it elsewhere"):
        check_apart(source, target)


def test_a_spec_is_resolved_and_travels_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    monkeypatch.chdir(tmp_path)
    options = parse_options(["ro,view=v3"])
    spec = resolve(MountSpec("source", "target", options=options))
    assert (spec.source, spec.target) == (str(tmp_path / "source"), str(tmp_path / "target"))
    assert MountSpec.from_json(spec.to_json()) == spec
    assert resolve(MountSpec("memory:", "target")).source == "memory:"


def test_the_table_of_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(
        b"24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        b"40 24 0:52 / /mnt/a\\040b\\134\xff rw,nosuid - fuse.zarrfs /src\\040x.zip rw,user_id=0\n"
    )
    monkeypatch.setattr(mounting_table, "_MOUNTINFO", str(table))
    root, ours = mounts()
    assert (root.target, root.fstype, root.is_ours) == ("/", "ext4", False)
    assert os.fsencode(ours.target) == b"/mnt/a b\\\xff"
    assert (ours.source, ours.device, ours.is_ours) == ("/src x.zip", "0:52", True)
    table.unlink()
    assert mounts() == []


def test_a_links_target_is_what_is_meant(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    assert canonical_target(str(tmp_path / "link")) == str(tmp_path / "folder")
    assert canonical_target(str(tmp_path / "link" / "x")) == str(tmp_path / "folder" / "x")


def test_who_serves_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    mounted = Mounted("/mnt/a", "/src.zip", "fuse.zarrfs", "0:52")
    assert read_record(mounted) is None
    path = write_record(mounted, "/src.zip")
    record = MountRecord.of(os.getpid(), "/src.zip", "/mnt/a")
    assert read_record(mounted) == record
    assert read_record(mounted._replace(target="/mnt/b")) is None  # the number's next mount
    record_failure(path, {"error": "NoSpaceError", "subject": "/src.zip", "reason": "full"})
    failure = take_failure(mounted, record)
    assert failure is not None
    assert failure["reason"] == "full"
    assert take_failure(mounted, record) is None
    assert list(tmp_path.iterdir()) == []


def test_waiting_for_a_process_to_end() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        record = MountRecord.of(process.pid, "", "")
        assert not wait_until_gone(record, 0)
        assert process.stdin is not None
        process.stdin.close()
        assert wait_until_gone(record, 60)
    assert wait_until_gone(record, 0)
    reused = MountRecord(os.getpid(), "long ago", "", "")
    assert wait_until_gone(reused, 0)
