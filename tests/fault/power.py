"""A disk whose power can fail: what was written since the last sync may be there or not.

`PowerLog` writes down everything that is done to files of a folder; `after`
makes a folder as it could look after the power failed at one moment: of each
file, any pages written since its last sync may be missing, in any order, and
so may the names given since the folder was last synced.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zarrfs.storage.inodes import space

PAGE = 4096
Event = tuple[str, Any, Any, Any]
"""What, of which inode or name, and two details."""


class PowerLog:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[Event] = []
        self._folder = folder
        self._monkeypatch = monkeypatch
        for name in ("pwrite", "pwritev", "ftruncate", "posix_fallocate", "fsync", "fdatasync"):
            self._watch(os, name, getattr(self, f"_{name}"))
        for name in ("open", "link", "unlink"):
            self._watch(os, name, getattr(self, f"_{name}"))
        self._watch(space, "punch_hole", self._punch)

    def _watch(self, module: Any, name: str, log: Callable[..., None]) -> None:
        real = getattr(module, name)

        def watched(*arguments: Any) -> Any:
            result = real(*arguments)
            log(*arguments)
            return result

        self._monkeypatch.setattr(module, name, watched)

    def note(self, *what: Any) -> None:
        self.events.append(("note", what, None, None))

    def _pwrite(self, fd: int, data: Any, offset: int) -> None:
        self.events.append(("write", os.fstat(fd).st_ino, offset, bytes(data)))

    def _pwritev(self, fd: int, blocks: Any, offset: int, flags: int) -> None:
        assert flags == os.RWF_DSYNC
        self.events.append(("write and sync", os.fstat(fd).st_ino, offset, b"".join(blocks)))

    def _punch(self, fd: int, offset: int, size: int) -> None:
        self.events.append(("write", os.fstat(fd).st_ino, offset, bytes(size)))

    def _ftruncate(self, fd: int, size: int) -> None:
        self.events.append(("size", os.fstat(fd).st_ino, size, True))

    def _posix_fallocate(self, fd: int, offset: int, size: int) -> None:
        self.events.append(("size", os.fstat(fd).st_ino, offset + size, False))

    def _fsync(self, fd: int) -> None:
        status = os.fstat(fd)
        kind = "sync names" if stat.S_ISDIR(status.st_mode) else "sync"
        self.events.append((kind, status.st_ino, None, None))

    _fdatasync = _fsync

    def _open(self, path: str, flags: int, *_: Any) -> None:
        if flags & os.O_CREAT and os.path.dirname(path) == str(self._folder):
            self.events.append(("name", os.path.basename(path), os.stat(path).st_ino, None))

    def _link(self, old: str, new: str) -> None:
        self.events.append(("name", os.path.basename(new), os.stat(new).st_ino, None))

    def _unlink(self, path: str) -> None:
        self.events.append(("name", os.path.basename(path), None, None))

    def after(self, moment: int, chance: random.Random, folder: Path) -> None:
        """Make `folder` as it could be after a power failure at an event."""
        files: dict[int, _File] = {}
        names: dict[str, int | None] = {}
        pending: list[tuple[str, int | None]] = []
        for kind, subject, one, two in self.events[:moment]:
            if kind == "name":
                pending.append((subject, one))
            elif kind == "sync names":
                names.update(pending)
                pending = []
            elif kind != "note":
                files.setdefault(subject, _File()).do(kind, one, two)
        names.update(pending[: chance.randint(0, len(pending))])
        made: dict[int, Path] = {}
        for name, inode in names.items():
            if inode in made:
                (folder / name).hardlink_to(made[inode])
            elif inode is not None:
                made[inode] = folder / name
                content = files[inode].after(chance) if inode in files else b""
                made[inode].write_bytes(content)


class _File:
    def __init__(self) -> None:
        self._durable = bytearray()
        self._pending: list[tuple[str, int, Any]] = []

    def do(self, kind: str, one: Any, two: Any) -> None:
        if kind == "write and sync":
            self._apply(self._durable, "write", one, two)
        elif kind != "sync":
            self._pending.append((kind, one, two))
        else:
            for event in self._pending:
                self._apply(self._durable, *event)
            self._pending = []

    def after(self, chance: random.Random) -> bytes:
        content = bytearray(self._durable)
        likely = chance.choice([0.0, 0.3, 0.7, 1.0])
        for kind, one, two in self._pending:
            if kind == "size":
                if chance.random() < likely:
                    self._apply(content, kind, one, two)
                continue
            start = one
            while start < one + len(two):
                stop = min(one + len(two), (start // PAGE + 1) * PAGE)
                if chance.random() < likely:
                    self._apply(content, "write", start, two[start - one : stop - one])
                start = stop
        return bytes(content)

    @staticmethod
    def _apply(content: bytearray, kind: str, one: int, two: Any) -> None:
        if kind == "size":
            if two:
                del content[one:]
            content.extend(bytes(max(0, one - len(content))))
        else:
            content.extend(bytes(max(0, one + len(two) - len(content))))
            content[one : one + len(two)] = two
