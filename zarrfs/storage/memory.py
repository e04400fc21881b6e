"""The memory store: an inode tree whose journal is a memfd.

Files and keys are one truth: a key is the path of a regular file, its value
what was last published of it. The memfd is all there is of a store; a process
that is given a duplicate of it (`from_memfd`) has the store again, with every
node and content, when the first one is gone. Any thread may call it.
"""

from __future__ import annotations

import os
import tempfile

from zarrfs.errors import CannotOpenMemoryError
from zarrfs.storage.inodes.journal import Journal
from zarrfs.storage.inodes.keys import TreeKeys
from zarrfs.storage.inodes.space import Space
from zarrfs.storage.inodes.tree import InodeTree
from zarrfs.storage.tree import Owner


class MemoryBackend(TreeKeys):
    """Keeps a store in memory, for as long as it is open."""

    kind = "memory"
    location = "memory"
    read_only = False
    static = False

    def __init__(self, *, size_limit_bytes: int | None = None) -> None:
        """`size_limit_bytes` bounds contents and names; half of the memory by default."""
        self._fd = _new_memory_file()
        limit = size_limit_bytes or default_limit_bytes()
        journal = Journal.create(Space(self._fd, mapped=True, limit_bytes=limit), durable=False)
        super().__init__(InodeTree.begin(journal, owner=_owner()))
        self._closed = False

    @classmethod
    def init(cls, path: str | None) -> MemoryBackend:
        return cls()

    @classmethod
    def open(cls, path: str, *, read_only: bool) -> MemoryBackend:
        raise CannotOpenMemoryError(path)

    @classmethod
    def recognises(cls, path: str) -> bool:
        return False

    @classmethod
    def from_memfd(cls, fd: int, *, size_limit_bytes: int | None = None) -> MemoryBackend:
        """Continue the store in a memfd, which is ours to close from now on.

        Whoever wrote to it before must not do so any more. Raises: CorruptError.
        """
        backend = cls.__new__(cls)
        backend._fd = fd
        limit = size_limit_bytes or default_limit_bytes()
        journal = Journal.open(Space(fd, mapped=True, limit_bytes=limit), durable=False)
        TreeKeys.__init__(backend, InodeTree.replayed(journal, owner=_owner()))
        backend._closed = False
        return backend

    def fileno(self) -> int:
        """Return the memfd, for a successor's `from_memfd`."""
        return self._fd

    def flush(self) -> None:
        """There is nothing to make durable."""

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._tree.close()
            os.close(self._fd)


def default_limit_bytes() -> int:
    """Return half of the machine's memory, as tmpfs(5) does."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _owner() -> Owner:
    return Owner(os.geteuid(), os.getegid())


def _new_memory_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("zarrfs", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
