"""A client of a `Vfs` without a kernel: paths instead of nodeids."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from zarrfs.storage.tree import ROOT, Attr, AttrChange, NodeId
from zarrfs.vfs.filesystem import Vfs
from zarrfs.vfs.operations import Caller, FileHandle, Opened

ME = Caller(os.getuid(), os.getgid(), os.getpid())


class Client:
    """Looks up, opens and closes as the kernel would, and gives references back."""

    def __init__(self, vfs: Vfs, caller: Caller = ME) -> None:
        self.vfs = vfs
        self.caller = caller

    @contextmanager
    def node(self, path: str) -> Iterator[NodeId]:
        nodeid = ROOT
        for name in filter(None, os.fsencode(path).split(b"/")):
            try:
                found = self.vfs.lookup(self.caller, nodeid, name).nodeid
            finally:
                self._forget(nodeid)
            nodeid = found
        try:
            yield nodeid
        finally:
            self._forget(nodeid)

    def _forget(self, nodeid: NodeId) -> None:
        if nodeid != ROOT:
            self.vfs.forget(nodeid, 1)

    @contextmanager
    def place(self, path: str) -> Iterator[tuple[NodeId, bytes]]:
        above, _, name = path.rpartition("/")
        with self.node(above) as parent:
            yield parent, os.fsencode(name)

    def stat(self, path: str) -> Attr:
        with self.node(path) as nodeid:
            return self.vfs.getattr(self.caller, nodeid, None)

    def exists(self, path: str) -> bool:
        try:
            self.stat(path)
        except Exception:
            return False
        return True

    @contextmanager
    def opened(self, path: str, flags: int = os.O_RDONLY) -> Iterator[tuple[NodeId, FileHandle]]:
        """Open; at the end flush, whose error is close(2)'s, and release."""
        nodeid, opened = self._open(path, flags)
        try:
            yield nodeid, opened.handle
            self.vfs.flush(self.caller, nodeid, opened.handle)
        finally:
            self.vfs.release(nodeid, opened.handle)
            self._forget(nodeid)

    def _open(self, path: str, flags: int) -> tuple[NodeId, Opened]:
        """Return a node with one reference of ours, and its open file."""
        with self.place(path) as (parent, name):
            if flags & os.O_CREAT and not self.exists(path):
                entry, opened = self.vfs.create(self.caller, parent, name, 0o644, flags, 0)
                return entry.nodeid, opened
            nodeid = self.vfs.lookup(self.caller, parent, name).nodeid
        return nodeid, self.vfs.open(self.caller, nodeid, flags & ~os.O_CREAT)

    def read(self, path: str) -> bytes:
        with self.opened(path) as (nodeid, handle):
            return bytes(self.vfs.read(self.caller, nodeid, handle, 0, 1 << 24))

    def write(self, path: str, data: bytes, flags: int = os.O_CREAT | os.O_TRUNC) -> None:
        with self.opened(path, flags | os.O_WRONLY) as (nodeid, handle):
            self.vfs.write(self.caller, nodeid, handle, 0, data)

    def names(self, path: str = "") -> list[str]:
        with self.node(path) as nodeid:
            handle = self.vfs.opendir(self.caller, nodeid).handle
            listed = self.vfs.readdir(self.caller, nodeid, handle, 0, plus=False)
            names = [os.fsdecode(entry.name) for entry in listed]
            self.vfs.releasedir(nodeid, handle)
        return sorted(set(names) - {".", ".."})

    def mkdir(self, path: str) -> None:
        with self.place(path) as (parent, name):
            self.vfs.mkdir(self.caller, parent, name, 0o755, 0)

    def unlink(self, path: str) -> None:
        with self.place(path) as (parent, name):
            self.vfs.unlink(self.caller, parent, name)

    def rmdir(self, path: str) -> None:
        with self.place(path) as (parent, name):
            self.vfs.rmdir(self.caller, parent, name)

    def rename(self, old: str, new: str, flags: int = 0) -> None:
        with self.place(old) as source, self.place(new) as target:
            self.vfs.rename(self.caller, *source, *target, flags)

    def link(self, old: str, new: str) -> None:
        with self.node(old) as nodeid, self.place(new) as (parent, name):
            self.vfs.link(self.caller, nodeid, parent, name)

    def truncate(self, path: str, size: int) -> None:
        with self.node(path) as nodeid:
            self.vfs.setattr(self.caller, nodeid, AttrChange(size=size), None)

    def getxattr(self, path: str, name: str) -> str:
        with self.node(path) as nodeid:
            return self.vfs.getxattr(self.caller, nodeid, name.encode()).decode()

    def listxattr(self, path: str) -> list[str]:
        with self.node(path) as nodeid:
            return [name.decode() for name in self.vfs.listxattr(self.caller, nodeid)]
