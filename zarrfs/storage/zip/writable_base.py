"""An archive's directory, as it was when it was opened, beneath an inode tree.

The archive's file only ever grows while it is open for writing, so entries of
this directory and the contents that later commits appended stay where they
are. Any thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from zarrfs.errors import CorruptError, UnavailableError
from zarrfs.storage.tree import ROOT, Buffer, Entry, NodeId
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.index import NOT_A_FOLDER
from zarrfs.storage.zip.tree import ArchiveTree


class AppendedContent:
    """Reads what commits of this archive appended, by position in its file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.fd: int | None = None
        """The archive, open for reading and writing; None before the first commit."""

    def read_archive(self, offset: int, size: int) -> Buffer:
        if self.fd is None:
            raise CorruptError(self._path, "the archive was never written")
        try:
            data = os.pread(self.fd, size, offset)
        except OSError as error:
            raise UnavailableError(self._path, os.strerror(error.errno or 0)) from error
        if len(data) < size:
            raise CorruptError(self._path, "the archive was cut off")
        return data


class NoArchive(AppendedContent):
    """The base of a new archive: an empty root, which the inode tree makes itself."""

    last_nodeid = NodeId(0)

    def entry(self, nodeid: NodeId) -> Entry:
        raise KeyError(nodeid)  # never asked: there are no nodes

    def find(self, parent: NodeId, name: bytes) -> NodeId | None:
        return None

    def children(self, parent: NodeId) -> Iterator[tuple[bytes, Entry]]:
        return iter(())

    def place(self, nodeid: NodeId) -> tuple[NodeId, bytes]:
        raise KeyError(nodeid)

    def read_link(self, nodeid: NodeId) -> bytes:
        raise KeyError(nodeid)

    def read(self, nodeid: NodeId, offset: int, size: int) -> Buffer:
        raise KeyError(nodeid)


class ArchiveBase(AppendedContent):
    """Implements `zarrfs.storage.inodes.base.Base` over an archive."""

    def __init__(self, archive: Archive) -> None:
        super().__init__(archive.path)
        self.archive = archive
        self._tree = ArchiveTree(archive)
        self._index = archive.index
        self._folder = archive.index.views["folder"]
        self.last_nodeid = self._tree.max_nodeid

    def entry(self, nodeid: NodeId) -> Entry:
        return Entry(nodeid, self._tree.attr(nodeid))

    def find(self, parent: NodeId, name: bytes) -> NodeId | None:
        folder = self._folder[self._tree.row(parent)]
        if folder == NOT_A_FOLDER:
            return None
        row = self._index.find(folder - 1, name)
        return None if row < 0 else NodeId(row + 1)

    def children(self, parent: NodeId) -> Iterator[tuple[bytes, Entry]]:
        return self._tree.list_entries(parent, 0)

    def place(self, nodeid: NodeId) -> tuple[NodeId, bytes]:
        row = self._tree.row(nodeid)
        path = self._index.path(row)
        parent = self._index.resolve(path.rpartition(b"/")[0])
        return NodeId(parent + 1) if parent else ROOT, self._index.name(row)

    def read_link(self, nodeid: NodeId) -> bytes:
        return self._tree.read_link(nodeid)

    def read(self, nodeid: NodeId, offset: int, size: int) -> Buffer:
        return self._tree.read_node(nodeid, offset, size)
