"""Workers are killed while clients work; the clients see a pause and no error."""

from __future__ import annotations

import json
import os
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients_at_work import Client, write_chunk
from tests.service import ServiceRun, running, wait_for
from zarrfs.daemon.control import ask

pytestmark = pytest.mark.timeout(240)

FILES = {f"array/c/{i}": bytes([i]) * (1000 + 37_000 * (i % 5)) for i in range(24)}
KILLS = 4


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceRun]:
    folder = tmp_path_factory.mktemp("killed")
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(folder / f"{name}.zip", "w", method) as archive:
            for key, content in FILES.items():
                archive.writestr(key, content)
    shutil.copy(folder / "stored.zip", folder / "writable.zip")
    with zipfile.ZipFile(folder / "stored.zip") as archive:
        archive.extractall(folder / "source")
    write_v2_array(folder / "v2/array")
    with running(
        folder,
        """\
defaults: {threads: 2, mkdir: true}
mounts:
  - {name: stored, source: stored.zip, target: stored}
  - {name: deflated, source: deflated.zip, target: deflated}
  - {name: writable, source: writable.zip, target: writable, mode: rw, commit: 0.5s}
  - {name: directory, source: source, target: directory, mode: rw}
  - {name: memory, source: "memory:", target: memory, mode: rw}
  - {name: view, source: v2, target: view, view: v3}
""",
    ) as service:
        service.wait_until_serving()
        for key, content in FILES.items():
            path = folder / "memory" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield service


def write_v2_array(folder: Path) -> None:
    """Write an array whose view as version 3 has the chunks of `FILES`."""
    folder.mkdir(parents=True)
    document = {
        "zarr_format": 2,
        "shape": [len(FILES)],
        "chunks": [1],
        "dtype": "|u1",
        "compressor": None,
        "filters": None,
        "fill_value": 0,
        "order": "C",
    }
    (folder / ".zarray").write_text(json.dumps(document))
    (folder.parent / ".zgroup").write_text('{"zarr_format": 2}')
    for key, content in FILES.items():
        (folder / key.rpartition("/")[2]).write_bytes(content)


def shown(root: Path) -> dict[Path, bytes]:
    """Return what a mount is expected to show, by path."""
    if root.name != "view":
        return {root / key: content for key, content in FILES.items()}
    paths = {path.name: path for path in (root / "array").rglob("*")}
    return {paths[key.rpartition("/")[2]]: content for key, content in FILES.items()}


def work_while_killing(service: ServiceRun, name: str, *work: Callable[[], None]) -> None:
    clients = [Client(one) for one in work]
    try:
        for _ in range(KILLS):
            service.kill_worker(name)
        for client in clients:
            client.wait_for_more()
    finally:
        errors = [client.end() for client in clients]
    for error in filter(None, errors):
        raise error


@pytest.mark.parametrize("name", ["stored", "deflated", "writable", "directory", "memory", "view"])
def test_readers_and_listers(service: ServiceRun, name: str) -> None:
    files = shown(service.folder / name)
    held = {path: os.open(path, os.O_RDONLY) for path in files}
    folder = next(iter(files)).parent
    names = sorted(os.listdir(folder))
    assert {path.name for path in files} <= set(names)

    def read() -> None:
        for path, content in files.items():
            assert path.read_bytes() == content
            assert os.pread(held[path], 1 << 20, 0) == content

    def list_folder() -> None:
        assert sorted(os.listdir(folder)) == names
        with os.scandir(folder) as entries:
            assert all(entry.is_file() for entry in entries)
        assert not (folder / "absent").exists()

    try:
        work_while_killing(service, name, read, list_folder)
    finally:
        for descriptor in held.values():
            os.close(descriptor)


@pytest.mark.parametrize("name", ["directory", "memory", "writable"])
def test_writers(service: ServiceRun, name: str) -> None:
    root = service.folder / name / "written"
    root.mkdir()
    held = os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    lines = 0

    def work() -> None:
        nonlocal lines
        write_chunk(root, lines)
        os.write(held, b"%d\n" % lines)
        (root / "folder").mkdir()
        (root / "folder").rmdir()
        lines += 1

    try:
        work_while_killing(service, name, work)
    finally:
        os.close(held)
    assert (root / "log").read_text().split() == [str(n) for n in range(lines)]
    assert "chunk.partial" not in os.listdir(root)


@pytest.mark.parametrize("name", ["directory", "memory", "writable"])
def test_what_is_open_and_unlinked_lives_on(service: ServiceRun, name: str) -> None:
    path = service.folder / name / "unlinked"
    with path.open("w+b", buffering=0) as file:
        file.write(b"before")
        path.unlink()
        service.kill_worker(name)
        file.write(b" after")
        file.seek(0)
        assert file.read() == b"before after"
        assert os.fstat(file.fileno()).st_nlink == 0
    assert not path.exists()


def test_without_resend_what_was_in_flight_fails_at_once(tmp_path: Path) -> None:
    """As on kernels before 6.9: an error for who waited, and then all is well.

    One mount's source is another mount, whose worker is stopped to keep a request in flight.
    """
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one", "1")
        archive.writestr("two", "2")
    below = "mounts:\n  - {name: a, source: a.zip, target: a, mkdir: true, hang_timeout: 10m}\n"
    above = below + "  - {name: b, source: a, target: b, mkdir: true, mode: ro}\n"
    with running(tmp_path, below, {"ZARRFS_WITHOUT_RESEND": "1"}) as service:
        stopped = service.wait_until("a", "serving")["pid"]
        service.reload(above)
        pid = service.wait_until("b", "serving")["pid"]
        with ThreadPoolExecutor() as pool, stopping(stopped):
            waiting = pool.submit((tmp_path / "b/two").read_text)
            wait_for("the request to be read", lambda: in_flight_s(service, "b") > 0)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(ConnectionAbortedError):
                waiting.result(60)
        service.wait_until_serving("b")
        assert (tmp_path / "b/two").read_text() == "2"
        with (tmp_path / "b/one").open() as held:
            service.kill_worker("b")
            assert held.read() == "1"
        assert service.stop() == 0


@contextmanager
def stopping(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def in_flight_s(service: ServiceRun, name: str) -> float:
    """Return how long the oldest request of a mount has been worked on."""
    ask(service.socket, "report")
    return float(service.mount(name)["statistics"].get("longest_in_flight_s", 0))
