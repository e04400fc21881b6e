"""An open regular file of an inode tree.

Counts itself on its node, so that the content outlives its last name, and
decides when what was written is published to `Storage`: on fsync, and when
the last handle that wrote is flushed or closed. Any thread may use a handle.
"""

from __future__ import annotations

import errno
import os
from typing import NoReturn

from zarrfs.storage.inodes.contents import Contents
from zarrfs.storage.inodes.ledger import Ledger
from zarrfs.storage.inodes.node import Node
from zarrfs.storage.read_only import ReadsOnly
from zarrfs.storage.tree import Buffer, NodeId


class InodeFile:
    """Implements `zarrfs.storage.tree.OpenFile`."""

    def __init__(self, ledger: Ledger, contents: Contents, node: Node, flags: int) -> None:
        """The caller holds the tree's lock."""
        self._ledger = ledger
        self._contents = contents
        self._node = node
        self._append = bool(flags & os.O_APPEND)
        self._writable = flags & os.O_ACCMODE != os.O_RDONLY
        self._dirty = False  # Guarded by: the tree's lock. Wrote since the last flush
        self._closed = False  # Guarded by: the tree's lock
        node.handles += 1
        node.writers += self._writable

    def read(self, offset: int, size: int) -> Buffer:
        return self._contents.read(self._node, offset, size)

    def write(self, offset: int, data: Buffer) -> int:
        if not self._dirty:
            self._mark_dirty()
        return self._contents.write(self._node, None if self._append else offset, data)

    def truncate(self, size: int) -> None:
        self._mark_dirty()
        self._contents.truncate(self._node, size)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        self._mark_dirty()
        self._contents.allocate(self._node, mode, offset, length)

    def _mark_dirty(self) -> None:
        with self._ledger.lock:
            if not self._dirty:
                self._dirty = True
                self._node.dirty_handles += 1

    def seek(self, offset: int, whence: int) -> int:
        return self._contents.seek(self._node.nodeid, offset, whence)

    def sync(self, *, data_only: bool) -> None:
        self._contents.publish(self._node)
        self._ledger.journal.sync()

    def flush(self) -> None:
        if self._writable:
            self._clean()

    def _clean(self) -> None:
        """Publish, unless another handle is in the middle of its writes."""
        with self._ledger.lock:
            if self._dirty:
                self._dirty = False
                self._node.dirty_handles -= 1
            if self._node.dirty_handles or not self._node.unpublished:
                return
        self._contents.publish(self._node)

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        with self._ledger.lock:
            if self._closed:
                return
            self._closed = True
        try:
            self.flush()
        finally:
            with self._ledger.lock:
                self._node.handles -= 1
                self._node.writers -= self._writable
                self._ledger.drop_if_unused(self._node)


class BaseFile(ReadsOnly):
    """An open file of the base, for reading, that nobody has touched so far.

    Once somebody does, it reads what became of it: the copied-up node cannot
    go away while the kernel, which has this handle open, refers to it.
    """

    def __init__(self, ledger: Ledger, contents: Contents, nodeid: NodeId) -> None:
        self._nodes = ledger.state.nodes
        self._contents = contents
        self._nodeid = nodeid

    def read(self, offset: int, size: int) -> Buffer:
        node = self._nodes.get(self._nodeid)
        if node is None:
            return self._contents.read_base(self._nodeid, offset, size)
        return self._contents.read(node, offset, size)

    def seek(self, offset: int, whence: int) -> int:
        return self._contents.seek(self._nodeid, offset, whence)

    def _refuse(self) -> NoReturn:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
