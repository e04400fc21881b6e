"""The base of an archive that is only being made: nothing, until commits append.

`base.ArchiveBase` is its counterpart for an archive that is there. Any thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from zarrfs.errors import CorruptError, StaleError, UnavailableError
from zarrfs.storage.tree import Buffer, Entry, NodeId


class NoArchive:
    """Implements `zarrfs.storage.inodes.base.Base`: no nodes, not even a root."""

    last_nodeid = 0

    def __init__(self, path: str, fd: int) -> None:
        self._path = path
        self._fd = fd

    def read_archive(self, offset: int, size: int) -> Buffer:
        try:
            data = os.pread(self._fd, size, offset)
        except OSError as error:
            raise UnavailableError(self._path, os.strerror(error.errno or 0)) from error
        if len(data) < size:
            raise CorruptError(self._path, "the archive was cut off")
        return data

    def find(self, parent: NodeId, name: bytes) -> NodeId | None:
        return None

    def children(self, parent: NodeId) -> Iterator[tuple[bytes, Entry]]:
        return iter(())

    def entry(self, nodeid: NodeId) -> Entry:
        raise StaleError(f"node {nodeid}")

    def place(self, nodeid: NodeId) -> tuple[NodeId, bytes]:
        raise StaleError(f"node {nodeid}")

    def read_link(self, nodeid: NodeId) -> bytes:
        raise StaleError(f"node {nodeid}")

    def read(self, nodeid: NodeId, offset: int, size: int) -> Buffer:
        raise StaleError(f"node {nodeid}")
