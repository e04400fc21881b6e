"""Trees and files that hand everything to another: bases of those that add something.

Any thread may call it, as far as the other tree allows.
"""

from __future__ import annotations

from collections.abc import Sequence

from zarrfs.storage.tree import (
    Attr,
    AttrChange,
    Buffer,
    CreatesOpen,
    DirEntry,
    Entry,
    FileTree,
    NodeId,
    OpenFile,
    Owner,
    StatFs,
)


class DelegatingTree:
    """Implements `FileTree` and `CreatesOpen` by those of `inner`."""

    def __init__(self, inner: FileTree) -> None:
        self.inner = inner
        self._creator = inner if isinstance(inner, CreatesOpen) else None

    @property
    def read_only(self) -> bool:
        return self.inner.read_only

    @property
    def static(self) -> bool:
        return self.inner.static

    def lookup(self, parent: NodeId, name: bytes) -> Entry:
        return self.inner.lookup(parent, name)

    def forget(self, nodeid: NodeId, count: int) -> None:
        self.inner.forget(nodeid, count)

    def attr(self, nodeid: NodeId) -> Attr:
        return self.inner.attr(nodeid)

    def read_link(self, nodeid: NodeId) -> bytes:
        return self.inner.read_link(nodeid)

    def list_dir(self, nodeid: NodeId) -> Sequence[DirEntry]:
        return self.inner.list_dir(nodeid)

    def open(self, nodeid: NodeId, flags: int) -> OpenFile:
        return self.inner.open(nodeid, flags)

    def create(
        self, parent: NodeId, name: bytes, mode: int, owner: Owner, flags: int
    ) -> tuple[Entry, OpenFile]:
        if self._creator is not None:
            return self._creator.create(parent, name, mode, owner, flags)
        entry = self.inner.make(parent, name, mode, owner)
        return entry, self.inner.open(entry.nodeid, flags)

    def set_attr(self, nodeid: NodeId, change: AttrChange) -> Attr:
        return self.inner.set_attr(nodeid, change)

    def make(
        self,
        parent: NodeId,
        name: bytes,
        mode: int,
        owner: Owner,
        *,
        rdev: int = 0,
        target: bytes = b"",
    ) -> Entry:
        return self.inner.make(parent, name, mode, owner, rdev=rdev, target=target)

    def link(self, nodeid: NodeId, parent: NodeId, name: bytes) -> Entry:
        return self.inner.link(nodeid, parent, name)

    def unlink(self, parent: NodeId, name: bytes) -> None:
        self.inner.unlink(parent, name)

    def remove_dir(self, parent: NodeId, name: bytes) -> None:
        self.inner.remove_dir(parent, name)

    def rename(
        self, parent: NodeId, name: bytes, new_parent: NodeId, new_name: bytes, flags: int
    ) -> None:
        self.inner.rename(parent, name, new_parent, new_name, flags)

    def list_xattr(self, nodeid: NodeId) -> Sequence[bytes]:
        return self.inner.list_xattr(nodeid)

    def get_xattr(self, nodeid: NodeId, name: bytes) -> bytes:
        return self.inner.get_xattr(nodeid, name)

    def set_xattr(self, nodeid: NodeId, name: bytes, value: bytes, flags: int) -> None:
        self.inner.set_xattr(nodeid, name, value, flags)

    def remove_xattr(self, nodeid: NodeId, name: bytes) -> None:
        self.inner.remove_xattr(nodeid, name)

    def sync(self, nodeid: NodeId, *, data_only: bool) -> None:
        self.inner.sync(nodeid, data_only=data_only)

    def statfs(self) -> StatFs:
        return self.inner.statfs()

    def key_of(self, nodeid: NodeId) -> str | None:
        return self.inner.key_of(nodeid)

    def close(self) -> None:
        self.inner.close()


class DelegatingFile:
    """Implements `OpenFile` by that of `file`."""

    __slots__ = ("file",)

    def __init__(self, file: OpenFile) -> None:
        self.file = file

    def read(self, offset: int, size: int) -> Buffer:
        return self.file.read(offset, size)

    def write(self, offset: int, data: Buffer) -> int:
        return self.file.write(offset, data)

    def truncate(self, size: int) -> None:
        self.file.truncate(size)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        self.file.allocate(mode, offset, length)

    def seek(self, offset: int, whence: int) -> int:
        return self.file.seek(offset, whence)

    def sync(self, *, data_only: bool) -> None:
        self.file.sync(data_only=data_only)

    def flush(self) -> None:
        self.file.flush()

    def fileno(self) -> int | None:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()
