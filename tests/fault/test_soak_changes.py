"""Everything that changes a tree, at random, while workers are killed at random.

`make soak` runs it. Each client has a folder of its own and knows what must be in
it; what it finds is compared at each step, after the last kill, and in the source.
"""

from __future__ import annotations

import os
import random
import signal
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.clients_at_work import Client
from tests.service import ServiceRun, running
from zarrfs.storage.directory import syscalls

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

SOAK_S = 30.0
EXCHANGE = 2
AT_CWD = -100
CONFIG = """\
defaults: {mkdir: true}
mounts:
  - {name: directory, source: source, target: directory, mode: rw}
  - {name: memory, source: "memory:", target: memory, mode: rw}
  - {name: archive, source: a.zip, target: archive, mode: rw, commit: 0.5s}
"""


class Changes:
    """One client: its folder, and what must be in it."""

    def __init__(self, root: Path, seed: int) -> None:
        root.mkdir()
        self.root = root
        self.files: dict[str, bytearray] = {}
        self._random = random.Random(seed)
        self._held = -1
        self._steps = [
            *(self._replace, self._overwrite, self._write_at, self._append, self._truncate),
            *(self._rename, self._exchange, self._link, self._unlink, self._unlink_while_open),
            *(self._make_folder, self._make_once, self._hold, self._read, self._list),
        ]

    def __call__(self) -> None:
        self._random.choice(self._steps)()

    def close(self) -> None:
        if self._held >= 0:
            os.close(self._held)

    def check(self) -> None:
        assert {name: (self.root / name).read_bytes() for name in self.files} == self.files

    def _name(self) -> str:
        return f"f{self._random.randrange(6)}"

    def _known(self) -> str | None:
        return self._random.choice(list(self.files)) if self.files else None

    def _content(self) -> bytes:
        return self._random.randbytes(self._random.choice([10, 5000, 200_000]))

    def _replace(self) -> None:
        name, content = self._name(), self._content()
        (self.root / "part").write_bytes(content)
        os.rename(self.root / "part", self.root / name)
        self.files[name] = bytearray(content)

    def _overwrite(self) -> None:
        name, content = self._name(), self._content()
        (self.root / name).write_bytes(content)
        self.files.setdefault(name, bytearray())[:] = content

    def _write_at(self) -> None:
        if name := self._known():
            known, content = self.files[name], self._content()
            start = self._random.randrange(len(known) + 1000)
            with (self.root / name).open("r+b", buffering=0) as file:
                assert os.pwrite(file.fileno(), content, start) == len(content)
            known.extend(bytes(max(0, start + len(content) - len(known))))
            known[start : start + len(content)] = content

    def _append(self) -> None:
        if name := self._known():
            with (self.root / name).open("ab", buffering=0) as file:
                file.write(b"more")
                os.fsync(file.fileno())
            self.files[name].extend(b"more")

    def _truncate(self) -> None:
        if name := self._known():
            known, size = self.files[name], self._random.randrange(300_000)
            os.truncate(self.root / name, size)
            del known[size:]
            known.extend(bytes(size - len(known)))

    def _rename(self) -> None:
        if name := self._known():
            new = self._name()
            os.rename(self.root / name, self.root / new)
            if self.files.get(new) is not self.files[name]:
                self.files[new] = self.files.pop(name)

    def _exchange(self) -> None:
        if name := self._known():
            other = self._random.choice(list(self.files))
            paths = (os.fsencode(self.root / name), os.fsencode(self.root / other))
            syscalls.renameat2(AT_CWD, paths[0], AT_CWD, paths[1], EXCHANGE)
            self.files[name], self.files[other] = self.files[other], self.files[name]

    def _link(self) -> None:
        if name := self._known():
            new = self._name()
            try:
                os.link(self.root / name, self.root / new)
            except FileExistsError:
                assert new in self.files
            else:
                assert new not in self.files
                self.files[new] = self.files[name]

    def _unlink(self) -> None:
        name = self._name()
        try:
            (self.root / name).unlink()
        except FileNotFoundError:
            assert name not in self.files
        else:
            del self.files[name]

    def _unlink_while_open(self) -> None:
        with (self.root / "gone").open("w+b", buffering=0) as file:
            file.write(b"1" * 5000)
            (self.root / "gone").unlink()
            file.write(b"2")
            assert os.pread(file.fileno(), 9000, 0) == b"1" * 5000 + b"2"

    def _make_folder(self) -> None:
        old, new = self.root / "old", self.root / "new"
        old.mkdir()
        (old / "x").write_bytes(b"x")
        os.rename(old, new)
        (new / "x").unlink()
        new.rmdir()

    def _make_once(self) -> None:
        name = self._name()
        try:
            os.close(os.open(self.root / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            assert name in self.files
        else:
            assert name not in self.files
            self.files[name] = bytearray()

    def _hold(self) -> None:
        self.close()
        self._held = -1
        if name := self._known():
            self._held = os.open(self.root / name, os.O_RDWR)

    def _read(self) -> None:
        if name := self._known():
            assert (self.root / name).read_bytes() == self.files[name]

    def _list(self) -> None:
        assert sorted(os.listdir(self.root)) == sorted(self.files)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceRun]:
    (tmp_path / "source").mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w"):
        pass
    with running(tmp_path, CONFIG) as service:
        service.wait_until_serving()
        yield service


@pytest.mark.parametrize("name", ["directory", "memory", "archive"])
def test_nothing_is_done_twice_or_lost(service: ServiceRun, name: str) -> None:
    chance = random.Random(name)
    changes = [Changes(service.folder / name / f"w{n}", seed=n) for n in range(3)]
    clients = [Client(change) for change in changes]
    kills, end_s = 0, time.monotonic() + SOAK_S
    try:
        while time.monotonic() < end_s and not any(client.error for client in clients):
            pid = service.wait_until(name, "serving")["pid"]
            time.sleep(chance.random() * 0.15)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                kills += 1
        for client in clients:
            client.wait_for_more()
    finally:
        errors = [client.end() for client in clients]
        for change in changes:
            change.close()
    for error in filter(None, errors):
        raise error
    print(f"{name}: {kills} kills, {sum(client.rounds for client in clients)} changes")
    for change in changes:
        change.check()
    assert service.stop() == 0
    if name == "archive":
        with zipfile.ZipFile(service.folder / "a.zip") as archive:
            assert archive.testzip() is None
            for change in changes:
                for file, content in change.files.items():
                    assert archive.read(f"{change.root.name}/{file}") == content
