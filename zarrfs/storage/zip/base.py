"""An archive as what lies beneath an inode tree.

Fulfils `zarrfs.storage.inodes.base.Base`. Any thread.
"""

from __future__ import annotations

from collections.abc import Iterator

from zarrfs.errors import NotAFolderError, NotFoundError
from zarrfs.storage.tree import Buffer, Entry, NodeId
from zarrfs.storage.zip.tree import ArchiveTree


class ArchiveBase:
    """The nodes of an `ArchiveTree`, and the bytes of its file."""

    def __init__(self, tree: ArchiveTree) -> None:
        self._tree = tree

    @property
    def last_nodeid(self) -> int:
        return self._tree.max_nodeid

    def entry(self, nodeid: NodeId) -> Entry:
        return Entry(nodeid, self._tree.attr(nodeid))

    def find(self, parent: NodeId, name: bytes) -> NodeId | None:
        try:
            return self._tree.lookup(parent, name).nodeid
        except (NotFoundError, NotAFolderError):
            return None

    def children(self, parent: NodeId) -> Iterator[tuple[bytes, Entry]]:
        return self._tree.list_entries(parent, 0)

    def place(self, nodeid: NodeId) -> tuple[NodeId, bytes]:
        index = self._tree.archive.index
        row = self._tree.row(nodeid)
        return NodeId(index.parent(row) + 1), index.name(row)

    def read_link(self, nodeid: NodeId) -> bytes:
        return self._tree.read_link(nodeid)

    def read(self, nodeid: NodeId, offset: int, size: int) -> Buffer:
        return self._tree.read_node(nodeid, offset, size)

    def read_archive(self, offset: int, size: int) -> Buffer:
        file = self._tree.archive.file
        if offset + size <= file.size_bytes:
            return file.view[offset : offset + size]
        # What a commit appended lies behind the mapping.
        return file.read(offset, size)
