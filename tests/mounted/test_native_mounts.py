"""The native frontend and the kernel: mounting, caching, passthrough, the end."""

from __future__ import annotations

import os
import stat
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mount_table import fuse_mounts_below, remove
from tests.native_serving import serving

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="optional: these mount as root")

LIMIT_S = 60.0


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mount"
    folder.mkdir()
    yield folder
    for mount in fuse_mounts_below(tmp_path):
        remove(mount)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def mount_line(target: Path) -> list[str]:
    """Return source, type and options as `mount` shows them."""
    for line in Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines():
        source, where, kind, options, *_ = line.split(" ")
        if where == str(target):
            return [source, kind, *options.split(",")]
    return []


def test_what_the_mount_table_shows(target: Path) -> None:
    options = {"fsname": "a,store", "allow_other": True, "read_only": True}
    with serving(target, options=options) as server:
        source, kind, *shown = mount_line(target)
        assert (source, kind) == ("a,store", "fuse.zarrfs")
        wanted = {"ro", "nosuid", "nodev", "allow_other", "default_permissions", "user_id=0"}
        assert wanted <= set(shown)
        with pytest.raises(OSError, match="Read-only"):
            (target / "new").touch()
        assert server.first["negotiated"]["minor"] >= 31
    assert mount_line(target) == []


def test_the_kernel_is_asked_no_more_than_needed(tmp_path: Path, target: Path) -> None:
    """A cold chunk of an archive is LOOKUP and READ, a warm one is nothing."""
    archive = tmp_path / "store.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(20):
            file.writestr(f"0.{number}", bytes([number]) * 5000)
    with serving(target, f"zip:{archive}", options={"read_only": True}) as server:
        fd = os.open(target / "0.0", os.O_RDONLY)  # the first OPEN is answered ENOSYS
        os.close(fd)
        before = server.ask("operations")
        for _ in range(3):
            for number in range(1, 20):
                fd = os.open(target / f"0.{number}", os.O_RDONLY)
                assert os.read(fd, 6000) == bytes([number]) * 5000
                os.close(fd)
        after = server.ask("operations")
        asked = {name: count - before.get(name, 0) for name, count in after.items()}
        assert {name for name, count in asked.items() if count} == {"lookup", "read"}
        # 19 each, but for what a kernel short of memory forgot; three rounds would be 57.
        assert 19 <= asked["lookup"] < 30 and 19 <= asked["read"] < 30
        for _ in range(20):
            assert not (target / "absent").exists()
        assert server.ask("operations")["lookup"] - after["lookup"] < 10


def test_large_listings_are_whole_and_need_no_lookups(tmp_path: Path, target: Path) -> None:
    archive = tmp_path / "store.zip"
    names = {f"{'n' * (number % 30)}.{number}" for number in range(10_000)}
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.writestr(f"c/{name}", b"x" * (len(name) % 7))
    with serving(target, f"zip:{archive}", options={"read_only": True}) as server:
        folder = target / "c"
        listed = os.listdir(folder)
        assert len(listed) == len(names) and set(listed) == names
        sizes = {name: os.stat(folder / name).st_size for name in listed}
        assert sizes == {name: len(name) % 7 for name in names}
        # That of the folder; a kernel short of memory may have dropped a few names.
        assert server.ask("operations")["lookup"] < 100


def test_changes_by_storage_are_seen_through_what_the_kernel_remembers(target: Path) -> None:
    """Told at once: names, absences, listings, sizes and content were all cached."""
    with serving(target, content={"a": "old", "g/x": ""}) as server:
        assert (target / "a").read_text() == "old"
        assert not (target / "b").exists()
        assert sorted(os.listdir(target)) == ["a", "g"]
        server.ask("set", "a", "newer")
        server.ask("set", "b", "here")
        server.ask("delete", "g/x")
        wait_until(lambda: (target / "a").read_text() == "newer")
        wait_until(lambda: (target / "b").exists())
        wait_until(lambda: sorted(os.listdir(target)) == ["a", "b"])
        assert (target / "b").read_text() == "here"


def test_big_writes_arrive_whole(target: Path) -> None:
    content = os.urandom(3 << 20) + b"end"
    with serving(target) as server:
        (target / "big").write_bytes(content)
        assert (target / "big").read_bytes() == content
        assert server.ask("operations")["write"] <= 5  # of 1 MiB each, not of 4 KiB
        with open(target / "big", "wb") as file:  # O_TRUNC
            file.write(b"short")
        assert (target / "big").read_bytes() == b"short"


def test_set_id_bits_go_when_another_writes(target: Path) -> None:
    with serving(target, options={"allow_other": True}):
        file = target / "f"
        file.write_bytes(b"1")
        os.chmod(file, 0o6777)
        # The folders above the mount are root's alone, but it starts inside.
        user = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
        writing = [*user, "sh", "-c", "printf 2 1<>f"]
        subprocess.run(writing, cwd=target, check=True, timeout=LIMIT_S)
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o777
        assert file.read_bytes() == b"2"


def test_files_of_a_directory_are_read_and_written_by_the_kernel(
    tmp_path: Path, target: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "0.0").write_bytes(b"chunk")
    with serving(target, f"directory:{source}") as server:
        with open(target / "0.0", "r+b", buffering=0) as first, open(target / "0.0", "rb") as again:
            assert first.read() == again.read() == b"chunk"
            first.write(b"s of it")
            assert again.read() == b"s of it"
        with open(target / "0.0", "ab") as appending:
            appending.write(b"!")
        assert (source / "0.0").read_bytes() == (target / "0.0").read_bytes() == b"chunks of it!"
        assert not {"read", "write"} & server.ask("operations").keys()
    with serving(target, f"directory:{source}", options={"passthrough": False}) as server:
        assert (target / "0.0").read_bytes() == b"chunks of it!"
        assert "read" in server.ask("operations")


def test_read_ahead_is_raised(target: Path) -> None:
    with serving(target, options={"read_ahead_kb": 2048}):
        device = os.stat(target).st_dev
        bdi = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
        assert bdi.read_text().strip() == "2048"


def test_a_hundred_mounts_leave_nothing(target: Path) -> None:
    with serving(target, cycles=100) as server:
        assert server.first["before"] == server.first["after"]
    assert fuse_mounts_below(target.parent) == []


def test_unmounting_while_in_use_is_refused_and_then_ends(target: Path) -> None:
    with serving(target, content={"a": "x"}) as server, open(target / "a", "rb") as file:
        from zarrfs.errors import BusyError
        from zarrfs.frontends.native.mounting import unmount

        with pytest.raises(BusyError):
            unmount(str(target))
        unmount(str(target), lazy=True)
        assert mount_line(target) == []
        assert not server.ask("wait", 0.1)
        assert file.read() == b"x"
        file.close()
        assert server.ask("wait", LIMIT_S)


def test_where_nothing_can_be_mounted_the_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, error in (("absent", "PathNotFoundError"), ("file", "NotAFolderError")):
        with serving(tmp_path / name) as server:
            assert server.first["error"] == error
