"""A worker is killed while a client is in the middle of something; the client goes on.

Where `test_killed_workers` kills under load, each test here stops at one moment: in
the middle of a folder, between two writes, with locks held, with a file mapped.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.clients_at_work import Client
from tests.mount_table import fuse_mounts_below
from tests.service import ServiceRun, running, wait_for

pytestmark = pytest.mark.timeout(240)

NAMES = ("archive", "writable", "directory", "memory")
WRITABLE = NAMES[1:]
MANY = [f"{number:04}" for number in range(1500)]
"""More than one READDIR answers."""
CHUNK = bytes(range(256)) * 200
CONFIG = """\
defaults: {threads: 2, mkdir: true}
mounts:
  - {name: archive, source: a.zip, target: archive}
  - {name: writable, source: b.zip, target: writable, mode: rw, commit: 0.5s}
  - {name: directory, source: source, target: directory, mode: rw}
  - {name: memory, source: "memory:", target: memory, mode: rw}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceRun]:
    folder = tmp_path_factory.mktemp("moments")
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("chunk", CHUNK)
        for name in MANY:
            archive.writestr(f"many/{name}", b"")
    shutil.copy(folder / "a.zip", folder / "b.zip")
    with zipfile.ZipFile(folder / "a.zip") as archive:
        archive.extractall(folder / "source")
    with running(folder, CONFIG) as service:
        service.wait_until_serving()
        shutil.copytree(folder / "source", folder / "memory", dirs_exist_ok=True)
        yield service


class OpenFolder:
    """opendir(3) and its sisters, which Python keeps to itself."""

    def __init__(self, path: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.opendir.restype = self._libc.readdir.restype = ctypes.c_void_p
        self._libc.telldir.restype = ctypes.c_long
        self._stream = ctypes.c_void_p(self._libc.opendir(os.fsencode(path)))

    def read(self, count: int = sys.maxsize) -> list[str]:
        """Return the next names, at most so many. Source: struct dirent of readdir(3)."""
        names: list[str] = []
        ctypes.set_errno(0)
        while len(names) < count and (entry := self._libc.readdir(self._stream)):
            names.append(ctypes.string_at(entry + 19).decode())
        assert ctypes.get_errno() == 0, os.strerror(ctypes.get_errno())
        return names

    def tell(self) -> int:
        return int(self._libc.telldir(self._stream))

    def seek(self, position: int) -> None:
        self._libc.seekdir(self._stream, ctypes.c_long(position))

    def close(self) -> None:
        self._libc.closedir(self._stream)


@pytest.mark.parametrize("name", NAMES)
def test_in_the_middle_of_a_folder(service: ServiceRun, name: str) -> None:
    folder = OpenFolder(service.folder / name / "many")
    try:
        first = folder.read(100)
        position = folder.tell()
        service.kill_worker(name)
        rest = folder.read()
        assert sorted(first + rest) == [".", "..", *MANY]
        service.kill_worker(name)
        folder.seek(position)
        assert folder.read() == rest
    finally:
        folder.close()


@pytest.mark.parametrize("name", WRITABLE)
def test_between_the_writes_of_a_chunk(service: ServiceRun, name: str) -> None:
    root, content = service.folder / name, os.urandom(900_000)
    with ExitStack() as stack:
        file = os.open(root / "chunk.partial", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        stack.callback(os.close, file)
        for start in range(0, len(content), 300_000):
            os.pwrite(file, content[start : start + 300_000], start)
            service.kill_worker(name)
        assert os.pread(file, 1 << 20, 0) == content
        os.rename(root / "chunk.partial", root / "written")
        service.kill_worker(name)
        os.ftruncate(file, 500_000)
        os.pwrite(file, b"again", 7)
        os.fsync(file)
        service.kill_worker(name)
        assert os.fstat(file).st_size == 500_000
    assert (root / "written").read_bytes() == content[:7] + b"again" + content[12:500_000]


@pytest.mark.parametrize("name", NAMES)
def test_locks_are_held_on(service: ServiceRun, name: str) -> None:
    """Locks are the kernel's; what matters is that nobody else gets them meanwhile."""
    f_ofd_setlk = 37  # <fcntl.h>
    kind = fcntl.F_RDLCK if name == "archive" else fcntl.F_WRLCK
    lock = struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 10, 0)
    flags = os.O_RDONLY if name == "archive" else os.O_RDWR
    with ExitStack() as stack:
        holder, ranges, other = (os.open(service.folder / name / "chunk", flags) for _ in range(3))
        for descriptor in (holder, ranges, other):
            stack.callback(os.close, descriptor)
        fcntl.flock(holder, fcntl.LOCK_EX)
        fcntl.fcntl(ranges, f_ofd_setlk, lock)
        service.kill_worker(name)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if kind == fcntl.F_WRLCK:
            with pytest.raises(BlockingIOError):
                fcntl.fcntl(other, f_ofd_setlk, lock)
        fcntl.flock(holder, fcntl.LOCK_UN)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


MAPPED = """
import mmap, os, sys
path, chunk = sys.argv[1], bytes(range(256)) * 200
writes = len(sys.argv) > 2
file = os.open(path, os.O_RDWR if writes else os.O_RDONLY)
mapped = mmap.mmap(file, 0, access=mmap.ACCESS_WRITE if writes else mmap.ACCESS_READ)
assert mapped[0] == 0
print("mapped", flush=True)
sys.stdin.readline()
assert mapped[:] == chunk
if writes:
    mapped[40_000:40_003] = b"new"
    mapped.flush()
    print("flushed", flush=True)
    sys.stdin.readline()
    mapped[30_000:30_003] = b"two"
    mapped.flush()
    assert mapped[40_000:40_003] == b"new"
print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("name", "writes"), [*((name, False) for name in NAMES), *((name, True) for name in WRITABLE)]
)
def test_while_a_file_is_mapped(service: ServiceRun, name: str, writes: bool) -> None:
    path = service.folder / name / "chunk"
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, "-c", MAPPED, str(path), *(["w"] if writes else [])]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdin and client.stdout
        for said in ("mapped", "flushed") if writes else ("mapped",):
            assert client.stdout.readline() == f"{said}\n"
            service.kill_worker(name)
            client.stdin.write("\n")
            client.stdin.flush()
        assert client.stdout.readline() == "done\n"
    if writes:
        content = path.read_bytes()
        assert (content[40_000:40_003], content[30_000:30_003]) == (b"new", b"two")
        path.write_bytes(CHUNK)


def test_reloads_and_kills_at_once(service: ServiceRun) -> None:
    """Twenty reloads that change nothing disturb nobody, and workers are replaced meanwhile."""

    def work() -> None:
        for name in WRITABLE:
            (service.folder / name / "small").write_bytes(b"1" * 5000)

    client = Client(work)
    try:
        for number in range(20):
            service.process.send_signal(signal.SIGHUP)
            mount = service.mount(NAMES[number % len(NAMES)])
            if mount.get("pid") and mount["state"] == "serving":
                os.kill(mount["pid"], signal.SIGKILL)
        service.wait_until_serving()
        client.wait_for_more()
    finally:
        error = client.end()
    assert error is None


def test_given_up_with_open_files_it_is_down(service: ServiceRun) -> None:
    """Last in this module, which it leaves as it was: a reload starts such a mount again."""
    root = service.folder / "directory"
    held = os.open(root / "chunk", os.O_RDONLY)
    try:
        while (pid := serves_or_is_given_up(service)) is not None:
            os.kill(pid, signal.SIGSEGV)
            wait_for("its end", lambda pid=pid: service.mount("directory")["pid"] != pid)  # type: ignore[misc]
        wait_for("the mount to be gone", lambda: root not in mounted_below(service.folder))
        assert os.listdir(root) == []
    finally:
        os.close(held)
    service.process.send_signal(signal.SIGHUP)
    service.wait_until_serving("directory")
    assert (root / "chunk").read_bytes() == CHUNK


def serves_or_is_given_up(service: ServiceRun) -> int | None:
    """Wait for either; return the pid of the worker that serves."""

    def settled() -> dict[str, object]:
        mount = service.mount("directory")
        return mount if mount["state"] in ("serving", "given up") else {}

    pid: int | None = wait_for("a worker, or none any more", settled)["pid"]
    return pid


def mounted_below(folder: Path) -> list[Path]:
    return [mount.target for mount in fuse_mounts_below(folder)]
