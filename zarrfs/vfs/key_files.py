"""Open files of a `KeyTree`.

Reading takes ranges of the value; a value that may be replaced meanwhile is
taken whole when it is not large, so that a reader never sees a mixture.
Writing collects in the node's spool, and the value is set whole on flush,
fsync and close. Any thread may call the methods.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from zarrfs.errors import UnsupportedError
from zarrfs.storage.tree import Buffer
from zarrfs.vfs.key_nodes import KeyNode

if TYPE_CHECKING:
    from zarrfs.vfs.key_tree import KeyTree

WHOLE_BYTES = 8 << 20


def seek_in_data(size: int, offset: int, whence: int) -> int:
    """Answer SEEK_DATA and SEEK_HOLE for content that is all data.

    Raises: OSError ENXIO past the end, EINVAL.
    """
    if whence not in (os.SEEK_DATA, os.SEEK_HOLE):
        raise OSError(errno.EINVAL, "not SEEK_DATA or SEEK_HOLE")
    if not 0 <= offset < size:
        raise OSError(errno.ENXIO, "past the end")
    return offset if whence == os.SEEK_DATA else size


class KeyFile:
    """`OpenFile` of one key."""

    __slots__ = ("_appends", "_node", "_tree", "_whole", "_writable")

    def __init__(self, tree: KeyTree, node: KeyNode, flags: int) -> None:
        self._tree = tree
        self._node = node
        self._appends = bool(flags & os.O_APPEND)
        self._writable = flags & os.O_ACCMODE != os.O_RDONLY
        self._whole: Buffer | None = None

    def read(self, offset: int, size: int) -> Buffer:
        node = self._node
        if node.staged is not None:
            return node.staged.read(offset, size)
        backend = self._tree.backend
        if backend.static:
            return backend.get(node.key, offset, offset + size)
        if self._whole is None:
            if self._tree.stat(node).size_bytes > WHOLE_BYTES:
                return backend.get(node.key, offset, offset + size)
            self._whole = backend.get(node.key)
        return memoryview(self._whole)[offset : offset + size]

    def write(self, offset: int, data: Buffer) -> int:
        with self._tree.staging(self._node) as spool:
            return spool.append(data) if self._appends else spool.write(offset, data)

    def truncate(self, size: int) -> None:
        with self._tree.staging(self._node) as spool:
            spool.truncate(size)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        if mode:
            raise UnsupportedError(self._node.key, "fallocate with mode bits")
        with self._tree.staging(self._node) as spool:
            if offset + length > spool.size:
                spool.truncate(offset + length)

    def seek(self, offset: int, whence: int) -> int:
        return seek_in_data(self._tree.size(self._node), offset, whence)

    def sync(self, *, data_only: bool) -> None:
        self._tree.commit(self._node)
        self._tree.backend.flush()

    def flush(self) -> None:
        if self._writable:
            self._tree.commit(self._node)

    def fileno(self) -> None:
        return None

    def close(self) -> None:
        self._whole = None
        self._tree.closed(self._node)
