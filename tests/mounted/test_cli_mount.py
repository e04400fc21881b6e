"""`zarrfs mount` and `unmount` as a user types them: what works, what is refused and how."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import LIMIT_S, ZARRFS, mounted, zarrfs
from tests.mount_table import fuse_mounts_below, remove
from zarrfs.cli.exit_codes import ExitCode

FILES = {"zarr.json": b'{"zarr_format": 3, "node_type": "group"}', "a/b/c": b"deep", "a/d": b""}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "store.zarr.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in FILES.items():
            file.writestr(name, content)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """A folder to mount on, free again whatever the test did."""
    folder = tmp_path / "mnt"
    folder.mkdir()
    yield folder
    for mount in fuse_mounts_below(tmp_path):
        remove(mount)


def is_mounted(target: Path) -> bool:
    return any(mount.target == target for mount in fuse_mounts_below(target.parent))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def refused(*arguments: str | Path, status: int) -> str:
    """Run a command that must fail; return its one line."""
    done = zarrfs(*arguments, check=False)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (line,) = done.stderr.splitlines()
    return line


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("frontend", ["native", "fusepy"])
def test_an_archive_is_a_folder_until_it_is_unmounted(
    archive: Path, target: Path, frontend: str
) -> None:
    before = archive.read_bytes()
    done = zarrfs("mount", archive, target, "-o", f"frontend={frontend}", "--json")
    told = json.loads(done.stdout)
    assert (told["source"], told["target"]) == (str(archive), str(target))
    assert content(target) == FILES
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").touch()
    zarrfs("unmount", target)
    assert not is_mounted(target)
    assert not os.path.exists(f"/proc/{told['pid']}/stat") or _is_zombie(told["pid"])
    assert archive.read_bytes() == before


def _is_zombie(pid: int) -> bool:
    """In a container without a reaping init, who has ended stays in the table."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_folder_is_written_through(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "store"
    source.mkdir()
    with mounted(source, target):
        (target / "g").mkdir()
        (target / "g" / "zarr.json").write_bytes(b"{}")
        assert (source / "g" / "zarr.json").read_bytes() == b"{}"
    with mounted(source, target, "-o", "ro"), pytest.raises(OSError, match="Read-only"):
        (target / "g" / "zarr.json").write_bytes(b"other")


def test_memory_begins_empty(target: Path) -> None:
    with mounted("memory:", target, "-o", "size=16M"):
        assert list(target.iterdir()) == []
        (target / "x").write_bytes(b"1")
        assert (target / "x").read_bytes() == b"1"


def test_memory_with_a_snapshot(target: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot.zip"
    with mounted("memory:", target, "-o", f"snapshot={snapshot}"):
        (target / "a").mkdir()
        (target / "a" / "x").write_bytes(b"1")
    with zipfile.ZipFile(snapshot) as file:
        assert file.read("a/x") == b"1"
    with mounted("memory:", target, "-o", f"snapshot={snapshot},frontend=fusepy"):
        assert content(target) == {"a/x": b"1"}
        (target / "a" / "y").write_bytes(b"2")
    with zipfile.ZipFile(snapshot) as file:
        assert file.read("a/y") == b"2"


def test_an_archive_compacted_at_the_end(archive: Path, target: Path) -> None:
    with mounted(archive, target, "-o", "rw,compact=10"):
        (target / "large").write_bytes(os.urandom(100_000))
        subprocess.run(["sync", str(target / "large")], check=True, timeout=LIMIT_S)
        (target / "large").unlink()
    assert archive.stat().st_size < 50_000
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None
        assert {name: file.read(name) for name in FILES} == FILES


def test_one_folder_of_an_archive(archive: Path, target: Path) -> None:
    with mounted(archive, target, "-o", "root=a/b,fmode=400,dmode=500,uid=7,gid=8"):
        assert content(target) == {"c": b"deep"}
        status = (target / "c").stat()
        assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o400, 7, 8)
        assert target.stat().st_mode & 0o777 == 0o500


def test_generic_options_of_fstab(archive: Path, target: Path) -> None:
    with mounted(archive, target, "-o", "defaults,_netdev,nofail,x-systemd.automount,noatime"):
        assert content(target) == FILES


def test_mkdir_makes_the_target(archive: Path, target: Path) -> None:
    below = target / "new" / "folder"
    assert "--mkdir makes it" in refused("mount", archive, below, status=ExitCode.USAGE)
    zarrfs("mount", archive, below, "--mkdir")
    assert content(below) == FILES
    zarrfs("umount", below)
    assert list(below.iterdir()) == []


def test_info_and_verify_inside_a_mount(archive: Path, target: Path) -> None:
    with mounted(archive, target):
        (node,) = json.loads(zarrfs("info", target, "--json").stdout)
        assert (node["kind"], node["format"]) == ("group", 3)
        assert "all is well" in zarrfs("verify", target).stdout


def test_what_cannot_be_mounted(archive: Path, target: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no archive")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(archive.read_bytes()[:-30])
    usage, inside = ExitCode.USAGE, tmp_path / "store" / "mnt"
    inside.mkdir(parents=True)
    assert "no such file" in refused("mount", tmp_path / "none.zip", target, status=usage)
    assert "not a folder" in refused("mount", archive, file, status=usage)
    assert "inside the source" in refused("mount", inside.parent, inside, status=usage)
    assert "inside the target" in refused(
        "mount", archive, tmp_path, "-o", "nonempty", status=usage
    )
    assert str(cut) in refused("mount", cut, target, status=ExitCode.CONTENT)
    assert str(file) in refused("mount", file, target, status=ExitCode.SYSTEM)
    assert "no such folder" in refused("mount", archive, target, "-o", "root=zz", status=usage)
    assert "only a memory" in refused("mount", archive, target, "-o", "size=1M", status=usage)
    assert "one of:" in refused("mount", archive, target, "-o", "view=zz", status=usage)
    assert fuse_mounts_below(tmp_path) == []


def test_a_folder_that_is_not_empty(archive: Path, target: Path) -> None:
    (target / "mine").write_text("kept")
    assert "-o nonempty" in refused("mount", archive, target, status=ExitCode.USAGE)
    with mounted(archive, target, "-o", "nonempty"):
        assert content(target) == FILES
    assert content(target) == {"mine": b"kept"}


def test_a_target_in_use(archive: Path, target: Path) -> None:
    with mounted(archive, target):
        line = refused("mount", archive, target, status=ExitCode.SYSTEM)
        assert f"zarrfs unmount {target}" in line
        assert content(target) == FILES


def test_unmount_says_why_not(archive: Path, target: Path, tmp_path: Path) -> None:
    assert "nothing is mounted" in refused("unmount", target, status=ExitCode.USAGE)
    with mounted(archive, target):
        with (target / "zarr.json").open("rb") as held:
            assert "--lazy" in refused("unmount", target, status=ExitCode.SYSTEM)
            assert held.read() == FILES["zarr.json"]
        assert content(target) == FILES


def test_lazily_unmounted_files_stay_readable(archive: Path, target: Path) -> None:
    pid = json.loads(zarrfs("mount", archive, target, "--json").stdout)["pid"]
    with (target / "a" / "b" / "c").open("rb") as held:
        zarrfs("unmount", "--lazy", target)
        assert not is_mounted(target)
        assert held.read() == FILES["a/b/c"]
    wait_until(lambda: not os.path.exists(f"/proc/{pid}/stat") or _is_zombie(pid))


def test_the_foreground_ends_with_a_signal(archive: Path, target: Path) -> None:
    command = [str(ZARRFS), "mount", str(archive), str(target), "--foreground"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: is_mounted(target) and process.poll() is None)
        assert content(target) == FILES
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.OK, log
    assert not is_mounted(target)


def test_a_symbolic_link_to_the_target(archive: Path, target: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(target)
    zarrfs("mount", archive, link)
    assert content(target) == FILES
    zarrfs("unmount", link)
    assert not is_mounted(target)


@pytest.mark.parametrize("frontend", ["native", "fusepy"])
def test_a_commit_that_fails_is_told_and_completed_later(
    target: Path, tmp_path: Path, frontend: str
) -> None:
    """Nothing that was written is lost when the disk is full at the end."""
    if os.geteuid() != 0:
        pytest.skip("optional: only root can make a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    limit = ["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(disk)]
    subprocess.run(limit, check=True, timeout=LIMIT_S)
    try:
        data = os.urandom(700_000)
        source = disk / "new.zip"
        zarrfs("mount", "--create", source, target, "-o", f"frontend={frontend}")
        (target / "chunk").write_bytes(data)
        line = refused("unmount", target, status=ExitCode.SYSTEM)
        assert f"zarrfs repair {source}" in line
        assert not is_mounted(target)
        subprocess.run(["mount", "-o", "remount,size=8M", str(disk)], check=True, timeout=LIMIT_S)
        zarrfs("repair", source)
        with zipfile.ZipFile(source) as file:
            assert file.read("chunk") == data
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True, timeout=LIMIT_S)


def test_names_with_spaces_and_bytes_that_are_not_utf8(archive: Path, tmp_path: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a b,c\xff\\n"))
    strange.mkdir()
    source = strange / "s,1.zip"
    source.write_bytes(archive.read_bytes())
    with mounted(source, strange / "mnt"):
        assert content(strange / "mnt") == FILES


def test_many_times_leaves_nothing(archive: Path, target: Path) -> None:
    for _ in range(5):
        with mounted(archive, target):
            assert (target / "a" / "d").read_bytes() == b""
    assert fuse_mounts_below(target.parent) == []
