"""Work on an archive whose every intermediate state is known; for crash tests."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from zarrfs.storage.backend import Key
from zarrfs.storage.tree import ROOT, NodeId
from zarrfs.storage.zip.writable import WritableZip

Values = dict[str, bytes]


@dataclass
class Progress:
    """What was acknowledged so far."""

    states: list[Values] = field(default_factory=lambda: [{}])
    """The store's values after each step; the last is what is being worked on."""
    finished: int = 0
    """How many steps returned."""
    durable: int = 0
    """How many steps returned before the last fsync or commit began that returned."""
    committed: int = -1
    """The state that the last commit which returned wrote; -1 before the first."""


class Work:
    """Steps on a `WritableZip`; `on_progress` is called after each."""

    def __init__(self, path: Path, on_progress: Callable[[Progress], None]) -> None:
        self._path = path
        self._tell = on_progress
        self.progress = Progress()

    def run(self) -> None:
        archive = WritableZip(str(self._path), create=True, commit_interval_s=0)
        steps: list[Callable[[], None]] = [
            lambda: self._set(archive, "zarr.json", b"{}"),
            lambda: self._set(archive, "c/0/0", b"a" * 5000),
            lambda: self._sync(archive, "c/0/0"),
            lambda: self._set(archive, "c/0/0", b"b" * 7000),
            lambda: self._commit(archive),
            lambda: self._set(archive, "c/0/1", b"c" * 9000),
            lambda: self._patch(archive, "c/0/0", 3000, b"d" * 3000),
            lambda: self._commit(archive),
            lambda: self._delete(archive, "c/0/1"),
            lambda: self._rename(archive, "c", "moved"),
            lambda: self._sync(archive, "zarr.json"),
            lambda: self._set(archive, "large", bytes(range(256)) * 6000),
            lambda: self._commit(archive),
            lambda: self._set(archive, "large", b"small"),
        ]
        for step in steps:
            step()
        self._begin(self._values)
        archive.close()
        self._finish(durable=True, committed=True)

    @property
    def _values(self) -> Values:
        return dict(self.progress.states[-1])

    def _begin(self, values: Values) -> None:
        self.progress.states.append(values)

    def _finish(self, *, durable: bool = False, committed: bool = False) -> None:
        progress = self.progress
        progress.finished += 1
        if durable:
            progress.durable = progress.finished
        if committed:
            progress.committed = progress.finished
        self._tell(progress)

    def _set(self, archive: WritableZip, key: str, value: bytes) -> None:
        self._begin(self._values | {key: value})
        archive.set(Key(key), value)
        self._finish()

    def _delete(self, archive: WritableZip, key: str) -> None:
        values = self._values
        del values[key]
        self._begin(values)
        archive.delete(Key(key))
        self._finish()

    def _patch(self, archive: WritableZip, key: str, offset: int, data: bytes) -> None:
        value = self._values[key]
        self._begin(self._values | {key: value[:offset] + data + value[offset + len(data) :]})
        opened = archive.file_tree().open(find(archive, key), os.O_WRONLY)
        opened.write(offset, data)
        opened.close()
        self._finish()

    def _rename(self, archive: WritableZip, old: str, new: str) -> None:
        self._begin({renamed(key, old, new): value for key, value in self._values.items()})
        archive.file_tree().rename(ROOT, old.encode(), ROOT, new.encode(), 0)
        self._finish()

    def _sync(self, archive: WritableZip, key: str) -> None:
        self._begin(self._values)
        opened = archive.file_tree().open(find(archive, key), os.O_WRONLY)
        opened.sync(data_only=False)
        opened.close()
        self._finish(durable=True)

    def _commit(self, archive: WritableZip) -> None:
        self._begin(self._values)
        archive.commit()
        self._finish(durable=True, committed=True)


def find(archive: WritableZip, key: str) -> NodeId:
    nodeid = ROOT
    for name in key.split("/"):
        nodeid = archive.file_tree().lookup(nodeid, name.encode()).nodeid
    return nodeid


def renamed(key: str, old: str, new: str) -> str:
    return new + key[len(old) :] if key.startswith(old + "/") else key


def archived(path: Path) -> Values | None:
    """What other programs see; None if they see no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            names = [name for name in archive.namelist() if not name.endswith("/")]
            return {name: archive.read(name) for name in names}
    except (FileNotFoundError, zipfile.BadZipFile):
        return None


def recovered(path: Path) -> Values:
    """Open what a crash left, as the next mount does; return the values, and close it."""
    archive = WritableZip(str(path), create=True, commit_interval_s=0)
    try:
        values = {str(key): bytes(archive.get(key)) for key in archive.list_keys(Key(""))}
    finally:
        archive.close()
    assert archived(path) == values, "the archive has what the journal had"
    assert os.listdir(path.parent) == [path.name], "nothing else is left"
    return values


def whole_run(path: Path) -> Progress:
    """Do all the work, uninterrupted."""
    work = Work(path, lambda _: None)
    work.run()
    assert archived(path) == work.progress.states[-1]
    return work.progress
