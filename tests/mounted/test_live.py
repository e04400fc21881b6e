"""`zarrfs.mount`: a Storage of this very program, as files for everybody.

Other programs read and write the mount here; this process does so only from a
thread that can be left behind.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import zarrfs
from tests.commands import LIMIT_S
from tests.mount_table import fuse_mounts_below, remove
from zarrfs.storage import Storage
from zarrfs.zarr_format.documents import Json

ARRAY: dict[str, Json] = {
    "zarr_format": 2,
    "shape": [4, 4],
    "chunks": [2, 2],
    "dtype": "<i4",
    "fill_value": 0,
    "order": "C",
    "compressor": None,
    "filters": None,
}


@pytest.fixture
def storage() -> Iterator[Storage]:
    with Storage.init("memory") as store:
        store.write_metadata(ARRAY)
        yield store


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mnt"
    folder.mkdir()
    yield folder
    for mount in fuse_mounts_below(tmp_path):
        remove(mount)


@pytest.fixture(params=["native", "fusepy"])
def frontend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def shell(script: str, folder: Path) -> str:
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def eventually(script: str, folder: Path, expected: str) -> None:
    """The kernel is told of changes by another thread, a moment later."""
    deadline = time.monotonic() + LIMIT_S
    while (shown := shell(script, folder)) != expected:
        assert time.monotonic() < deadline, shown
        time.sleep(0.02)


def test_program_and_files_see_one_truth(storage: Storage, target: Path, frontend: str) -> None:
    with zarrfs.mount(storage, target, frontend=frontend) as mount:
        assert mount.target == str(target)
        storage.write_chunk((0, 0), b"p" * 16)
        assert shell("ls -A | sort; cat 0.0", target) == ".zarray\n0.0\n" + "p" * 16
        shell("printf ffffffffffffffff > 1.1; rm 0.0", target)
        assert storage.list_chunks() == [(1, 1)]
        assert storage.read_chunk((1, 1)) == b"f" * 16
    assert list(target.iterdir()) == []
    storage.write_chunk((0, 1), b"still open, you s")
    assert sorted(storage.list_chunks()) == [(0, 1), (1, 1)]


def test_changes_are_seen_by_who_has_looked_before(storage: Storage, target: Path) -> None:
    """What the kernel remembers of a store that the program changes is taken back."""
    with zarrfs.mount(storage, target, frontend="native"):
        storage.write_chunk((0, 0), b"a" * 16)
        assert shell("cat 0.0; test ! -e 1.0; ls", target) == "a" * 16 + "0.0\n"
        storage.write_chunk((0, 0), b"b" * 16)
        storage.write_chunk((1, 0), b"c" * 16)
        eventually("cat 0.0 1.0 2>&1; ls", target, "b" * 16 + "c" * 16 + "0.0\n1.0\n")
        storage.delete_chunk((0, 0))
        eventually("test -e 0.0 || ls", target, "1.0\n")


def test_this_program_may_use_its_own_mount(storage: Storage, target: Path, frontend: str) -> None:
    """System calls release the GIL, so that the serving threads can answer them."""
    found: list[bytes] = []
    with zarrfs.mount(storage, target, frontend=frontend):
        storage.write_chunk((0, 0), b"0" * 16)

        def use() -> None:
            (target / "1.0").write_bytes(b"1" * 16)
            found.extend(sorted(path.read_bytes() for path in target.glob("[0-9]*")))

        user = threading.Thread(target=use, daemon=True)
        user.start()
        user.join(LIMIT_S)
    assert found == [b"0" * 16, b"1" * 16]
    assert storage.read_chunk((1, 0)) == b"1" * 16


def test_read_only_and_a_part(storage: Storage, target: Path) -> None:
    storage.write_metadata(ARRAY, path="below/here")
    with zarrfs.mount(storage, target, root="below/here", read_only=True):
        assert shell("ls -A; touch x 2>&1 || true", target).startswith(".zarray\ntouch:")


def test_open_files_outlive_the_block(storage: Storage, target: Path) -> None:
    storage.write_chunk((0, 0), b"o" * 16)
    with zarrfs.mount(storage, target) as mount:
        # The shell opens the file, says so, and reads it when it is told to go on.
        script = "exec 3< 0.0; echo open; read go; cat <&3"
        reader = subprocess.Popen(
            ["sh", "-c", script], cwd=target, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"open\n"
        with pytest.raises(zarrfs.BusyError):
            mount.unmount()
    assert fuse_mounts_below(target.parent) == []
    read, _ = reader.communicate(b"go\n", timeout=LIMIT_S)
    assert read == b"o" * 16
    assert mount.wait(LIMIT_S)


def test_a_target_that_is_not_free(storage: Storage, target: Path) -> None:
    with zarrfs.mount(storage, target), pytest.raises(zarrfs.BusyError, match="mounted here"):
        zarrfs.mount(storage, target)
    (target / "file").write_text("in the way")
    with pytest.raises(zarrfs.NotEmptyError):
        zarrfs.mount(storage, target)
    with pytest.raises(zarrfs.PathNotFoundError):
        zarrfs.mount(storage, target / "none")
    with zarrfs.mount(storage, target / "none", mkdir=True, nonempty=True):
        pass
    with pytest.raises(zarrfs.InvalidArgumentError, match="allow_other"):
        zarrfs.mount(storage, target, "alow_other")


def test_the_same_storage_twice_in_a_row_and_at_once(
    storage: Storage, target: Path, tmp_path: Path
) -> None:
    with zarrfs.mount(storage, target), zarrfs.mount(storage, tmp_path / "too", mkdir=True):
        shell("printf 0123456789abcdef > mnt/0.0; cmp mnt/0.0 too/0.0", tmp_path)
    with zarrfs.mount(storage, target):
        assert shell("cat 0.0", target) == "0123456789abcdef"


def test_a_program_that_just_ends_leaves_no_mount(tmp_path: Path, frontend: str) -> None:
    target = tmp_path / "mnt"
    program = (
        "import sys, zarrfs\n"
        "storage = zarrfs.Storage.init('memory')\n"
        f"zarrfs.mount(storage, {str(target)!r}, mkdir=True, frontend={frontend!r})\n"
        "print('mounted', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT_S
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "mounted\n", "")
    assert fuse_mounts_below(tmp_path) == []
