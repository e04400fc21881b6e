"""Supervisors are killed without a service manager; mounts live on under the next."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients_at_work import Client, write_chunk
from tests.commands import ZARRFS, zarrfs
from tests.mount_table import fuse_mounts_below, remove
from tests.service import PATIENCE_S, ServiceRun, running, wait_for

pytestmark = pytest.mark.timeout(240)

FILES = {f"array/c/{i}": bytes([i]) * (1000 + 37_000 * (i % 5)) for i in range(8)}
CONFIG = """\
defaults: {threads: 2, mkdir: true}
mounts:
  - {name: stored, source: stored.zip, target: stored}
  - {name: writable, source: writable.zip, target: writable, mode: rw, commit: 0.5s}
  - {name: directory, source: source, target: directory, mode: rw}
  - {name: memory, source: "memory:", target: memory, mode: rw}
"""


def fill(folder: Path) -> None:
    for name in ("stored", "writable"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for key, content in FILES.items():
                archive.writestr(key, content)
    with zipfile.ZipFile(folder / "stored.zip") as archive:
        archive.extractall(folder / "source")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceRun]:
    fill(tmp_path)
    with running(tmp_path, CONFIG, {"NOTIFY_SOCKET": ""}) as service:
        service.wait_until_serving()
        (tmp_path / "memory/array/c").mkdir(parents=True)
        for key, content in FILES.items():
            (tmp_path / "memory" / key).write_bytes(content)
        yield service


def stores_of(folder: Path) -> list[int]:
    """Return the pids of the store processes whose sockets lie in a runtime folder."""
    of_this_run = f"RUNTIME_DIRECTORY={folder}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_store = (process / "comm").read_text() == "zarrfs-store\n"
            if is_store and of_this_run in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def reading(root: Path) -> Callable[[], None]:
    def read() -> None:
        for key, content in FILES.items():
            assert (root / key).read_bytes() == content
        names = {key.rpartition("/")[2] for key in FILES}
        assert set(os.listdir(root / "array/c")) == names

    return read


def writing(root: Path) -> Callable[[], None]:
    root.mkdir()
    (root / "log").touch()
    count = 0

    def write() -> None:
        nonlocal count
        write_chunk(root, count)
        with (root / "log").open("ab") as log:
            log.write(b"%d\n" % count)
        count += 1

    return write


@pytest.mark.parametrize("workers_too", [False, True])
def test_the_next_service_takes_the_mounts_over(service: ServiceRun, workers_too: bool) -> None:
    folder = service.folder
    next_runs = [service.prepare_next(), service.prepare_next()]
    clients = [Client(reading(folder / name)) for name in service.mounts_in_config()]
    writable = ("writable", "directory", "memory")
    clients += [Client(writing(folder / name / "written")) for name in writable]
    mounted = fuse_mounts_below(folder)
    held = os.open(folder / "memory/array/c/3", os.O_RDONLY)
    try:
        for process in next_runs:
            service.kill_and_go_on_with(process, workers_too=workers_too)
            for client in clients:
                client.wait_for_more()
    finally:
        errors = [client.end() for client in clients]
        content = os.pread(held, 1 << 20, 0)
        os.close(held)
    for error in filter(None, errors):
        raise error
    assert content == FILES["array/c/3"]
    assert fuse_mounts_below(folder) == mounted
    for name in writable:
        numbers = (folder / name / "written/log").read_text().split()
        assert numbers == [str(number) for number in range(len(numbers))]
    assert service.stop() == 0
    assert fuse_mounts_below(folder) == []
    wait_for("the store to end", lambda: not stores_of(service.runtime))
    assert os.listdir(service.runtime) == []
    with zipfile.ZipFile(folder / "writable.zip") as archive:
        assert archive.testzip() is None
        assert "written/log" in archive.namelist()


def test_a_killed_store_is_replaced_and_filled_again(service: ServiceRun) -> None:
    process = service.prepare_next()
    reader = Client(reading(service.folder / "memory"))
    (store,) = stores_of(service.runtime)
    os.kill(store, signal.SIGKILL)

    def another() -> bool:
        return len(found := stores_of(service.runtime)) == 1 and found != [store]

    wait_for("another store", another)
    service.kill_and_go_on_with(process, workers_too=True)
    reader.wait_for_more()
    reader.stop()


def test_what_changed_meanwhile_is_mounted_anew(service: ServiceRun) -> None:
    changed = CONFIG.replace("target: stored", "target: elsewhere").replace("commit: 0.5s", "")
    service.config.write_text(changed)
    service.kill_and_go_on_with(service.prepare_next(), workers_too=False)
    assert (service.folder / "elsewhere/array/c/1").read_bytes() == FILES["array/c/1"]
    assert (service.folder / "memory/array/c/1").read_bytes() == FILES["array/c/1"]
    assert len(fuse_mounts_below(service.folder)) == 4
    assert re.findall("(\\w+): taken over", service.log.read_text()) == ["directory", "memory"]


def test_what_lives_on_alone_is_shown(service: ServiceRun) -> None:
    service.kill(workers_too=False)
    target = service.folder / "stored"
    (mount,) = json.loads(zarrfs("status", target, "--json").stdout)
    assert (mount["state"], mount["source"]) == ("alone", str(service.folder / "stored.zip"))
    assert "alone" in zarrfs("status", target).stdout


def test_nobody_waits_for_ever_for_mounts_that_nobody_serves(service: ServiceRun) -> None:
    """A store that waits is told to end: clients get an error, and nothing stays mounted."""
    (store,) = stores_of(service.runtime)
    service.kill(workers_too=True)
    os.kill(store, signal.SIGTERM)
    wait_for("the mounts to be gone", lambda: not fuse_mounts_below(service.folder))
    wait_for("the store to end", lambda: not stores_of(service.runtime))


class BackgroundMount:
    """A mount by `zarrfs mount`, with a runtime folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = folder / "run"
        self.target = folder / "mnt"
        self.log = folder / "log"
        self._environment = {**os.environ, "RUNTIME_DIRECTORY": str(self.runtime)}
        source = folder / "source"
        assert self.zarrfs("mount", source, self.target, "--mkdir", "--log", self.log) == 0

    def zarrfs(self, *arguments: object) -> int:
        command = [str(ZARRFS), *map(str, arguments)]
        return subprocess.run(command, env=self._environment, timeout=PATIENCE_S).returncode

    def status(self) -> dict[str, int]:
        """Return the mount's status; empty while nobody answers."""
        done = subprocess.run(
            [str(ZARRFS), "status", "--json"],
            env=self._environment, capture_output=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        mounts = json.loads(done.stdout) if done.stdout else []
        mine = [mount for mount in mounts if mount["target"] == str(self.target)]
        return mine[0] if mine and mine[0]["state"] == "serving" else {}


@pytest.fixture
def background(tmp_path: Path) -> Iterator[BackgroundMount]:
    fill(tmp_path)
    mount = BackgroundMount(tmp_path)
    yield mount
    print(mount.log.read_text())
    for target in fuse_mounts_below(tmp_path):
        remove(target)


def test_a_mount_in_the_background_goes_on_by_itself(background: BackgroundMount) -> None:
    reader = Client(reading(background.target))
    writer = Client(writing(background.target / "written"))
    try:
        for who in (["supervisor"], ["pid"], ["supervisor", "pid"], ["supervisor"]):
            status = wait_for("a supervisor", background.status)
            for role in who:
                os.kill(status[role], signal.SIGKILL)

            def replaced(was: dict[str, int] = status, who: list[str] = who) -> bool:
                now = background.status()
                return bool(now) and all(now[role] != was[role] for role in who)

            wait_for("successors", replaced)
            reader.wait_for_more()
            writer.wait_for_more()
    finally:
        errors = [reader.end(), writer.end()]
    for error in filter(None, errors):
        raise error
    assert background.zarrfs("unmount", background.target) == 0
    wait_for("the store to end", lambda: not stores_of(background.runtime))
    assert os.listdir(background.runtime) == []
    assert "goes on" in background.log.read_text()


def test_unmounted_between_supervisors_it_stays_unmounted(background: BackgroundMount) -> None:
    status = wait_for("a supervisor", background.status)
    os.kill(status["supervisor"], signal.SIGKILL)
    assert background.zarrfs("unmount", background.target) == 0
    wait_for("the store to end", lambda: not stores_of(background.runtime))
    assert fuse_mounts_below(background.folder) == []
