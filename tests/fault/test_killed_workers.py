"""Workers are killed while clients work; the clients see a pause and no error."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.service import ServiceRun, running

pytestmark = pytest.mark.timeout(240)

FILES = {f"array/c/{i}": bytes([i]) * (1000 + 37_000 * (i % 5)) for i in range(24)}
KILLS = 4


class Client:
    """Works in a thread until it is told to stop; its first error is kept."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._stopping = threading.Event()
        self.rounds = 0
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._work()
                self.rounds += 1
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        if self.error is not None:
            raise self.error
        assert self.rounds > 0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceRun]:
    folder = tmp_path_factory.mktemp("killed")
    with zipfile.ZipFile(folder / "stored.zip", "w") as archive:
        for key, content in FILES.items():
            archive.writestr(key, content)
    with zipfile.ZipFile(folder / "deflated.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for key, content in FILES.items():
            archive.writestr(key, content)
    with zipfile.ZipFile(folder / "stored.zip") as archive:
        archive.extractall(folder / "source")
    names = ("stored", "deflated", "directory", "memory")
    for name in names:
        (folder / name).mkdir()
    with running(
        folder,
        """\
defaults: {threads: 2}
mounts:
  - {name: stored, source: stored.zip, target: stored}
  - {name: deflated, source: deflated.zip, target: deflated}
  - {name: directory, source: source, target: directory, mode: rw}
  - {name: memory, source: "memory:", target: memory, mode: rw}
""",
    ) as service:
        service.wait_until_serving(*names)
        for key, content in FILES.items():
            path = folder / "memory" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield service


def work_while_killing(service: ServiceRun, name: str, work: Callable[[], None]) -> None:
    client = Client(work)
    try:
        for _ in range(KILLS):
            service.kill_worker(name)
    finally:
        client.stop()


@pytest.mark.parametrize("name", ["stored", "deflated", "directory", "memory"])
def test_readers(service: ServiceRun, name: str) -> None:
    root = service.folder / name
    held = {key: os.open(root / key, os.O_RDONLY) for key in FILES}

    def work() -> None:
        for key, content in FILES.items():
            assert (root / key).read_bytes() == content
            assert os.pread(held[key], 1 << 20, 0) == content

    try:
        work_while_killing(service, name, work)
    finally:
        for descriptor in held.values():
            os.close(descriptor)


@pytest.mark.parametrize("name", ["stored", "directory", "memory"])
def test_listers(service: ServiceRun, name: str) -> None:
    root = service.folder / name
    expected = sorted(key.rpartition("/")[2] for key in FILES)

    def work() -> None:
        assert sorted(os.listdir(root / "array" / "c")) == expected
        with os.scandir(root / "array/c") as entries:
            assert all(entry.is_file() for entry in entries)
        assert not (root / "absent").exists()

    work_while_killing(service, name, work)


@pytest.mark.parametrize("name", ["directory", "memory"])
def test_writers(service: ServiceRun, name: str) -> None:
    root = service.folder / name / "written"
    root.mkdir()
    held = os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    lines = 0

    def work() -> None:
        nonlocal lines
        part, final = root / "chunk.partial", root / f"chunk{lines % 3}"
        content = str(lines).encode() * 5000
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        for start in range(0, len(content), 4096):
            os.pwrite(descriptor, content[start : start + 4096], start)
        os.fsync(descriptor)
        os.close(descriptor)
        os.rename(part, final)
        assert final.read_bytes() == content
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


@pytest.mark.parametrize("name", ["directory", "memory"])
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


def test_killed_by_its_own_fault_again_and_again_is_given_up(tmp_path: Path) -> None:
    """A worker whose supervisor's limit is reached leaves no dead mount behind."""
