"""An archive as a tree of files that never changes.

Translates between nodeids and the index's rows, and makes what stat shows;
the index says what is where, `content` reads it. With `subpath`, one folder of
the archive is the root. Any thread: there is nothing here to lock.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, NoReturn

from zarrfs.errors import (
    AttributeNotFoundError,
    InvalidArgumentError,
    IsAFolderError,
    NotAFolderError,
    PathNotFoundError,
    ReadOnlyError,
    StaleError,
)
from zarrfs.storage.read_only import RefusesChanges
from zarrfs.storage.tree import (
    ROOT,
    Attr,
    Buffer,
    DirEntry,
    Entry,
    FolderColumns,
    NodeId,
    OpenFile,
    StatFs,
)
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.index import NOT_A_FOLDER
from zarrfs.storage.zip.listing import (
    ArchivedFile,
    FolderListing,
    listed_columns,
    names_in,
)

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_BLOCK: Final = 4096
_tuple = tuple.__new__
NO_ROW: Final = -1


class ArchiveTree(RefusesChanges):
    """A `FileTree` over an archive.

    Nodeids are dense: the root is 1, and none is above `max_nodeid`. They
    are the same in every process that opens the same archive.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        uid: int | None = None,
        gid: int | None = None,
        subpath: str = "",
    ) -> None:
        self.archive = archive
        self._index = archive.index
        self._read = archive.content.read
        views = archive.index.views
        self._folder, self._mode, self._mtime = views["folder"], views["mode"], views["mtime_ns"]
        self._usize, self._nlink = views["usize"], views["nlink"]
        self._find = archive.index.find
        self._uid = os.geteuid() if uid is None else uid
        self._gid = os.getegid() if gid is None else gid
        self._root_row = self._row_of_subpath(subpath)
        self.max_nodeid = NodeId(archive.index.node_count)
        root_path = archive.index.path(self._root_row)
        self._prefix_length = len(root_path) + 1 if root_path else 0

    def _row_of_subpath(self, subpath: str) -> int:
        path = os.fsencode(subpath.strip("/"))
        row = self._index.resolve(path)
        if row < 0:
            raise PathNotFoundError(f"{self.archive.path}: {subpath}")
        if self._folder[row] == NOT_A_FOLDER:
            raise NotAFolderError(f"{self.archive.path}: {subpath}")
        return row

    @property
    def read_only(self) -> bool:
        return True

    @property
    def static(self) -> bool:
        return True

    def row(self, nodeid: NodeId) -> int:
        """Return the row of a node in the index. Raises: StaleError."""
        if ROOT < nodeid <= self.max_nodeid:
            return nodeid - 1
        if nodeid == ROOT:
            return self._root_row
        raise StaleError(f"{self.archive.path}: node {nodeid}")

    def lookup(self, parent: NodeId, name: bytes) -> Entry:
        folder = self._folder[self.row(parent)]
        row = self._find(folder - 1, name) if folder else NO_ROW
        if row == NO_ROW:
            if folder == NOT_A_FOLDER:
                raise NotAFolderError(self._describe(parent))
            raise PathNotFoundError(os.fsdecode(name))
        return _tuple(Entry, (row + 1, self._attr(row, row + 1), 0))

    def forget(self, nodeid: NodeId, count: int) -> None:
        pass

    def attr(self, nodeid: NodeId) -> Attr:
        return self._attr(self.row(nodeid), nodeid)

    def _attr(self, row: int, ino: int) -> Attr:
        mode = self._mode[row]
        mtime_ns = self._mtime[row]
        size = self._usize[row]
        folder = self._folder[row]
        nlink = self._nlink[folder - 1] if folder else 1
        if row == 0:
            mtime_ns = self.archive.mtime_ns
        # Twice as quick as Attr(...), once for each name that is looked up.
        return _tuple(
            Attr,
            (
                ino, mode, nlink, self._uid, self._gid, 0, size, (size + 511) >> 9,
                mtime_ns, mtime_ns, mtime_ns,
            ),
        )  # fmt: skip

    def read_link(self, nodeid: NodeId) -> bytes:
        row = self.row(nodeid)
        if not stat.S_ISLNK(self._mode[row]):
            raise InvalidArgumentError(self._describe(nodeid), "not a symbolic link")
        return bytes(self._read(row, 0, self._usize[row]))

    def list_dir(self, nodeid: NodeId) -> Sequence[DirEntry]:
        return FolderListing(self._index, self._children(nodeid))

    def list_entries(self, nodeid: NodeId, start: int) -> Iterator[tuple[bytes, Entry]]:
        attr = self._attr
        for row, name in names_in(self._index, self._children(nodeid)[start:]):
            yield name, Entry(NodeId(row + 1), attr(row, row + 1))

    def count_reference(self, nodeid: NodeId) -> None:
        pass

    def list_columns(self, nodeid: NodeId, start: int, count: int) -> FolderColumns:
        children = self._children(nodeid)
        owner = self._uid, self._gid
        part = children[start : start + count]
        return listed_columns(self._index, part, len(children), owner)

    def _children(self, nodeid: NodeId) -> range:
        folder = self._folder[self.row(nodeid)]
        if folder == NOT_A_FOLDER:
            raise NotAFolderError(self._describe(nodeid))
        return self._index.children(folder - 1)

    def open(self, nodeid: NodeId, flags: int) -> OpenFile:
        row = self.row(nodeid)
        if self._folder[row] != NOT_A_FOLDER:
            raise IsAFolderError(self._describe(nodeid))
        if flags & _WRITING:
            self._refuse()
        return ArchivedFile(self._describe(nodeid), self._usize[row], partial(self._read, row))

    def read_node(self, nodeid: NodeId, offset: int, size: int) -> Buffer:
        return self._read(self.row(nodeid), offset, size)

    def expect_read(self, nodeid: NodeId) -> None:
        if 0 < nodeid <= self._index.node_count:
            self.archive.content.expect_read(nodeid - 1)

    def nodeids(self) -> Iterator[NodeId]:
        return map(NodeId, range(ROOT + 1, self.max_nodeid + 1))

    def key_of(self, nodeid: NodeId) -> str:
        return os.fsdecode(self._index.path(self.row(nodeid))[self._prefix_length :])

    def list_xattr(self, nodeid: NodeId) -> Sequence[bytes]:
        return ()

    def get_xattr(self, nodeid: NodeId, name: bytes) -> bytes:
        raise AttributeNotFoundError(os.fsdecode(name))

    def sync(self, nodeid: NodeId, *, data_only: bool) -> None:
        pass

    def statfs(self) -> StatFs:
        blocks = -(-self.archive.size_bytes // _BLOCK)
        return StatFs(_BLOCK, blocks, 0, 0, self._index.node_count, 0)

    def close(self) -> None:
        self.archive.close()

    def _refuse(self) -> NoReturn:
        raise ReadOnlyError(self.archive.path)

    def _describe(self, nodeid: NodeId) -> str:
        return f"{self.archive.path}: {self.key_of(nodeid) or 'root'}"
