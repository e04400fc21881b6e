"""A writable tree of files, in memory, whose every change is in a journal.

Implements `zarrfs.storage.tree.FileTree`, `CreatesOpen`, `StatelessReads`,
`ListsEntries` and `Watchable`. Here a change is judged (does the name exist,
is the folder empty) and put into a record; `state` carries it out, `ledger`
sees that the journal has it first, `contents` moves the bytes. Permissions
are the kernel's business (`default_permissions`). Any thread may call it.
Specification: POSIX.1-2024 System Interfaces; renameat2(2), xattr(7).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Self

from zarrfs.errors import (
    AttributeNotFoundError,
    DeniedError,
    ExistsError,
    InvalidArgumentError,
    IsAFolderError,
    NotAFolderError,
    NotEmptyError,
    NotFoundError,
)
from zarrfs.storage.inodes.base import Base
from zarrfs.storage.inodes.contents import Contents
from zarrfs.storage.inodes.files import BaseFile, InodeFile
from zarrfs.storage.inodes.journal import Journal
from zarrfs.storage.inodes.ledger import Ledger
from zarrfs.storage.inodes.node import NO_PARENT, Node
from zarrfs.storage.inodes.records import (
    Link,
    Make,
    Remove,
    RemoveXattr,
    Rename,
    SetAttr,
    SetXattr,
)
from zarrfs.storage.inodes.state import RENAME_EXCHANGE
from zarrfs.storage.tree import (
    ROOT,
    Attr,
    AttrChange,
    Buffer,
    Change,
    ChangeListener,
    DirEntry,
    Entry,
    NodeId,
    OpenFile,
    Owner,
    StatFs,
)

RENAME_NOREPLACE = 1
_XATTR_CREATE = 1
_XATTR_REPLACE = 2
_PERMISSIONS = 0o7777
_BLOCK = 4096


class InodeTree:
    """A tree over a ledger; make one with `begin`, continue one with `replayed`."""

    read_only = False
    static = False

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.contents = Contents(ledger)
        self._state = ledger.state
        self._lock = ledger.lock
        self._listeners: list[ChangeListener] = []

    @classmethod
    def begin(cls, journal: Journal, base: Base | None = None, *, owner: Owner) -> Self:
        """Begin a tree in an empty journal; where the base has no root, it gets an empty one."""
        tree = cls(Ledger(journal, base))
        tree._make_root(owner)
        return tree

    @classmethod
    def replayed(cls, journal: Journal, base: Base | None = None, *, owner: Owner) -> Self:
        """Continue the tree that an opened journal holds. Raises: CorruptError."""
        tree = cls(Ledger.replayed(journal, base))
        if ROOT not in tree._state.nodes:  # killed in `begin`
            tree._make_root(owner)
        return tree

    def _make_root(self, owner: Owner) -> None:
        if not self._state.last_base_nodeid:
            mode = stat.S_IFDIR | 0o755
            with self._lock:
                self.ledger.commit(
                    Make(NO_PARENT, ROOT, mode, owner.uid, owner.gid, 0, _now(), b"", b"")
                )

    # Finding

    def lookup(self, parent: NodeId, name: bytes) -> Entry:
        with self._lock:
            nodeid = self._state.child(parent, name)
            if nodeid is None:
                self._require_folder(parent)
                raise NotFoundError(os.fsdecode(name))
            node = self._state.nodes.get(nodeid)
            if node is None:
                return self._state.entry(nodeid)
            node.references += 1
            return node.kept_entry or node.entry()

    def _require_folder(self, nodeid: NodeId) -> None:
        if not stat.S_ISDIR(self._state.entry(nodeid).attr.mode):
            raise NotAFolderError(self.key_of(nodeid) or "")

    def forget(self, nodeid: NodeId, count: int) -> None:
        with self._lock:
            node = self._state.nodes.get(nodeid)
            if node is None:
                return
            # The kernel forgets a node at once, with all references that it was
            # given, a predecessor's included; so with more than we know of, or
            # when the last name has gone. Who looked a name up in this process
            # only to give the reference back says nothing of the kernel's.
            if count > node.references or not node.nlink:
                node.inherited = False
            node.references = max(0, node.references - count)
            if not node.nlink:
                self.ledger.drop_if_unused(node)

    def count_reference(self, nodeid: NodeId) -> None:
        with self._lock:
            node = self._state.nodes.get(nodeid)
            if node is not None:
                node.references += 1

    def attr(self, nodeid: NodeId) -> Attr:
        with self._lock:
            return self._state.entry(nodeid).attr

    def read_link(self, nodeid: NodeId) -> bytes:
        with self._lock:
            if not stat.S_ISLNK(self._state.entry(nodeid).attr.mode):
                raise InvalidArgumentError(self.key_of(nodeid) or "", "not a symbolic link")
            node = self._state.nodes.get(nodeid)
            if node is not None:
                return node.target
        assert self._state.base is not None
        return self._state.base.read_link(nodeid)

    def list_dir(self, nodeid: NodeId) -> Sequence[DirEntry]:
        with self._lock:
            self._require_folder(nodeid)
            return [
                DirEntry(name, entry.attr.ino, stat.S_IFMT(entry.attr.mode))
                for name, entry in self._state.children(nodeid)
            ]

    def list_entries(self, nodeid: NodeId, start: int) -> Iterator[tuple[bytes, Entry]]:
        with self._lock:
            self._require_folder(nodeid)
            return iter(list(islice(self._state.children(nodeid), start, None)))

    def key_of(self, nodeid: NodeId) -> str | None:
        parts: list[bytes] = []
        with self._lock:
            current: int = nodeid
            while current != ROOT:
                place = self._state.place(current)
                if place is None:
                    return None
                current, name = place
                parts.append(name)
        return os.fsdecode(b"/".join(reversed(parts)))

    # Opening

    def open(self, nodeid: NodeId, flags: int) -> OpenFile:
        with self._lock:
            if flags & os.O_ACCMODE == os.O_RDONLY and self._is_untouched_file(nodeid):
                return BaseFile(self.ledger, self.contents, nodeid)
            opened = InodeFile(self.ledger, self.contents, self._file(nodeid), flags)
        if flags & os.O_TRUNC:
            try:
                opened.truncate(0)
            except BaseException:
                opened.close()
                raise
        return opened

    def create(
        self, parent: NodeId, name: bytes, mode: int, owner: Owner, flags: int
    ) -> tuple[Entry, OpenFile]:
        with self._lock:
            node = self.make_node(parent, name, stat.S_IFREG | mode & _PERMISSIONS, owner)
            node.references += 1
            return node.entry(), InodeFile(self.ledger, self.contents, node, flags)

    def _is_untouched_file(self, nodeid: NodeId) -> bool:
        """Reading a file must not copy it up: memory would grow with what is read."""
        if nodeid in self._state.nodes:
            return False
        return stat.S_ISREG(self._state.entry(nodeid).attr.mode)

    def _file(self, nodeid: NodeId) -> Node:
        node = self._state.node(nodeid)
        if node.is_folder:
            raise IsAFolderError(self.key_of(nodeid) or "")
        if not node.is_file:
            raise InvalidArgumentError(self.key_of(nodeid) or "", "not a regular file")
        return node

    def read_node(self, nodeid: NodeId, offset: int, size: int) -> Buffer:
        with self._lock:
            node = None if self._is_untouched_file(nodeid) else self._file(nodeid)
        if node is None:
            return self.contents.read_base(nodeid, offset, size)
        return self.contents.read(node, offset, size)

    # Attributes

    def set_attr(self, nodeid: NodeId, change: AttrChange) -> Attr:
        with self._lock:
            node = self._state.node(nodeid)
            if change == AttrChange():
                return node.entry().attr
            if change.size is not None:
                self._file(nodeid)
            now = _now()
            self.ledger.commit(_changed_attributes(node, change, now))
            # Truncated by path: that is a whole new value. While a file is
            # open for writing, more may follow, and its flush publishes.
            if change.size is not None and not node.writers:
                self.ledger.publish(node)
            return node.entry().attr

    def list_xattr(self, nodeid: NodeId) -> Sequence[bytes]:
        with self._lock:
            node = self._state.nodes.get(nodeid)
            return list(node.xattrs) if node is not None and node.xattrs else []

    def get_xattr(self, nodeid: NodeId, name: bytes) -> bytes:
        with self._lock:
            node = self._state.nodes.get(nodeid)
            value = node.xattrs.get(name) if node is not None and node.xattrs else None
        if value is None:
            raise AttributeNotFoundError(os.fsdecode(name))
        return value

    def set_xattr(self, nodeid: NodeId, name: bytes, value: bytes, flags: int) -> None:
        with self._lock:
            node = self._state.node(nodeid)
            present = node.xattrs is not None and name in node.xattrs
            if flags & _XATTR_CREATE and present:
                raise ExistsError(os.fsdecode(name), "the attribute exists")
            if flags & _XATTR_REPLACE and not present:
                raise AttributeNotFoundError(os.fsdecode(name))
            self.ledger.commit(SetXattr(nodeid, _now(), name, bytes(value)))

    def remove_xattr(self, nodeid: NodeId, name: bytes) -> None:
        with self._lock:
            node = self._state.node(nodeid)
            if node.xattrs is None or name not in node.xattrs:
                raise AttributeNotFoundError(os.fsdecode(name))
            self.ledger.commit(RemoveXattr(nodeid, _now(), name))

    # Names

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
        with self._lock:
            node = self.make_node(parent, name, mode, owner, rdev=rdev, target=target)
            self.ledger.publish(node)  # mknod(2) makes an empty file that is complete
            node.references += 1
            return node.entry()

    def make_node(
        self,
        parent: NodeId,
        name: bytes,
        mode: int,
        owner: Owner,
        *,
        rdev: int = 0,
        target: bytes = b"",
    ) -> Node:
        """Make a node that nobody refers to; a file is not published. The lock is held."""
        self._require_free(parent, name)
        nodeid = self._state.next_nodeid
        self.ledger.commit(
            Make(parent, nodeid, mode, owner.uid, owner.gid, rdev, _now(), name, target)
        )
        return self._state.nodes[nodeid]

    def link(self, nodeid: NodeId, parent: NodeId, name: bytes) -> Entry:
        with self._lock:
            node = self._state.node(nodeid)
            if node.is_folder:
                raise DeniedError(self.key_of(nodeid) or "", "a folder has one name only")
            if not node.nlink:
                raise NotFoundError(f"node {nodeid}")
            self._require_free(parent, name)
            self.ledger.commit(Link(nodeid, parent, _now(), name))
            if not node.dirty_handles:
                self.ledger.publish(node)
            node.references += 1
            return node.entry()

    def unlink(self, parent: NodeId, name: bytes) -> None:
        with self._lock:
            node = self._child(parent, name)
            if node.is_folder:
                raise IsAFolderError(os.fsdecode(name))
            self._remove(parent, name, node)

    def remove_dir(self, parent: NodeId, name: bytes) -> None:
        with self._lock:
            node = self._child(parent, name)
            if not node.is_folder:
                raise NotAFolderError(os.fsdecode(name))
            self._require_empty(node)
            self._remove(parent, name, node)

    def _remove(self, parent: NodeId, name: bytes, node: Node) -> None:
        self.ledger.commit(Remove(parent, _now(), name))
        self.ledger.drop_if_unused(node)

    def rename(
        self, parent: NodeId, name: bytes, new_parent: NodeId, new_name: bytes, flags: int
    ) -> None:
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) or flags == 3:
            raise InvalidArgumentError(reason=f"rename flags {flags:#x}")
        with self._lock:
            node = self._child(parent, name)
            self._require_alive(new_parent)
            replaced_id = self._state.child(new_parent, new_name)
            replaced = None if replaced_id is None else self._state.node(replaced_id)
            if not self._judge_rename(node, parent, replaced, new_parent, new_name, flags):
                return
            self.ledger.publish(node)
            self.ledger.commit(Rename(parent, new_parent, flags, _now(), name, new_name))
            if replaced is not None and not flags & RENAME_EXCHANGE:
                self.ledger.drop_if_unused(replaced)

    def _judge_rename(
        self,
        node: Node,
        parent: NodeId,
        replaced: Node | None,
        new_parent: NodeId,
        new_name: bytes,
        flags: int,
    ) -> bool:
        """Whether a rename has anything to do. Raises: what forbids it."""
        if node.is_folder and self._is_within(new_parent, node.nodeid):
            raise InvalidArgumentError(os.fsdecode(new_name), "a folder cannot hold itself")
        if flags & RENAME_EXCHANGE:
            if replaced is None:
                raise NotFoundError(os.fsdecode(new_name))
            if replaced.is_folder and self._is_within(parent, replaced.nodeid):
                raise InvalidArgumentError(os.fsdecode(new_name), "a folder cannot hold itself")
            return replaced is not node
        if replaced is None:
            return True
        if flags & RENAME_NOREPLACE:
            raise ExistsError(os.fsdecode(new_name))
        if replaced is node:
            return False
        if node.is_folder and not replaced.is_folder:
            raise NotAFolderError(os.fsdecode(new_name))
        if replaced.is_folder:
            if not node.is_folder:
                raise IsAFolderError(os.fsdecode(new_name))
            self._require_empty(replaced)
        return True

    def _child(self, parent: NodeId, name: bytes) -> Node:
        nodeid = self._state.child(parent, name)
        if nodeid is None:
            self._require_folder(parent)
            raise NotFoundError(os.fsdecode(name))
        return self._state.node(nodeid)

    def _require_alive(self, nodeid: NodeId) -> None:
        """Raises: NotFoundError for a folder that was removed, NotAFolderError."""
        self._require_folder(nodeid)
        if not self._state.entry(nodeid).attr.nlink:
            raise NotFoundError(f"node {nodeid}", "the folder was removed")

    def _require_free(self, parent: NodeId, name: bytes) -> None:
        self._require_alive(parent)
        if self._state.child(parent, name) is not None:
            raise ExistsError(os.fsdecode(name))

    def _require_empty(self, folder: Node) -> None:
        if next(self._state.children(folder.nodeid), None) is not None:
            raise NotEmptyError(self.key_of(folder.nodeid) or "")

    def _is_within(self, nodeid: int, ancestor: int) -> bool:
        while nodeid != ancestor:
            place = self._state.place(nodeid)
            if place is None:
                return False
            nodeid = place[0]
        return True

    # The whole

    def sync(self, nodeid: NodeId, *, data_only: bool) -> None:
        self.ledger.journal.sync()

    def statfs(self) -> StatFs:
        with self._lock:
            used = -(-self.ledger.space.in_use_bytes // _BLOCK)
            limit, available = self.ledger.space.capacity_bytes()
            files = len(self._state.nodes) + self._state.last_base_nodeid
        blocks, free = max(used, limit // _BLOCK), available // _BLOCK
        return StatFs(_BLOCK, blocks, free, free, files + free, free)

    def watch(self, listener: ChangeListener) -> None:
        self._listeners.append(listener)

    def tell(self, change: Change) -> None:
        """Tell all listeners of a change that was not made through this tree."""
        for listener in tuple(self._listeners):
            listener(change)

    def close(self) -> None:
        """Let go of mappings; the journal's descriptor is its owner's to close."""
        self._listeners.clear()
        self.ledger.space.close()


def _changed_attributes(node: Node, change: AttrChange, now: int) -> SetAttr:
    def chosen(value: int | None, present: int) -> int:
        return present if value is None else value

    mode = node.mode
    if change.mode is not None:
        mode = stat.S_IFMT(mode) | change.mode & _PERMISSIONS
    resized = change.size is not None
    return SetAttr(
        nodeid=node.nodeid,
        mode=mode,
        uid=chosen(change.uid, node.uid),
        gid=chosen(change.gid, node.gid),
        size=chosen(change.size, node.size),
        atime_ns=chosen(change.atime_ns, node.atime_ns),
        mtime_ns=chosen(change.mtime_ns, now if resized else node.mtime_ns),
        ctime_ns=chosen(change.ctime_ns, now),
    )


def _now() -> int:
    return time.time_ns()
