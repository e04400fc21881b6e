"""An inode tree seen as keys and values, as `Backend` wants it.

A key is the path of a regular file that was published at least once; its value
is what was last published. Names that are not files (symlinks, devices) are no
keys. Changes made here are told to the tree's listeners, so that the kernel
forgets what it remembers of them. Any thread may call these methods.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from zarrfs.errors import (
    InvalidNameError,
    IsAFolderError,
    KeyNotFoundError,
    NameTooLongError,
    NotAFolderError,
)
from zarrfs.storage.backend import Key, KeyStat, Listed
from zarrfs.storage.inodes.node import Node
from zarrfs.storage.inodes.tree import InodeTree
from zarrfs.storage.tree import ROOT, Buffer, Change, FileTree, NodeId, Owner

NAME_MAX_BYTES = 255


class TreeKeys:
    """The part of a `Backend` that has to do with keys; new nodes belong to `owner`."""

    def __init__(self, tree: InodeTree, owner: Owner | None = None) -> None:
        self._tree = tree
        self._ledger = tree.ledger
        self._state = tree.ledger.state
        self._lock = tree.ledger.lock
        self._owner = owner or Owner(os.getuid(), os.getgid())

    # Reading

    def file_tree(self) -> FileTree:
        return self._tree

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        """Return a copy: what is mapped lives only until somebody overwrites it."""
        with self._lock:
            nodeid, node, size = self._value(key)
        if node is None:
            stop = size if stop is None else min(stop, size)
            return self._tree.contents.read_base(nodeid, start, max(0, stop - start))
        data = self._tree.contents.read_published(node, start, stop)
        if data is None:
            raise KeyNotFoundError(key)
        return data

    def stat(self, key: Key) -> KeyStat:
        with self._lock:
            nodeid, node, size = self._value(key)
            if node is None:
                return KeyStat(size, self._state.entry(nodeid).attr.mtime_ns)
            return KeyStat(node.published_size, node.published_mtime_ns)

    def _value(self, key: Key) -> tuple[NodeId, Node | None, int]:
        """Return a key's node, None instead of an untouched one of the base, and its size."""
        nodeid = self._find(key)
        if nodeid is None:
            raise KeyNotFoundError(key)
        node = self._state.nodes.get(nodeid)
        attr = self._state.entry(nodeid).attr
        if not stat.S_ISREG(attr.mode) or (node is not None and node.published is None):
            raise KeyNotFoundError(key)
        return nodeid, node, attr.size

    def _find(self, key: Key) -> NodeId | None:
        nodeid = ROOT
        for name in os.fsencode(key).split(b"/") if key else ():
            child = self._state.child(nodeid, name)
            if child is None:
                return None
            nodeid = NodeId(child)
        return nodeid

    # Listing

    def list_dir(self, prefix: Key) -> Iterator[Listed]:
        with self._lock:
            folder = self._find(prefix)
            listed = [] if folder is None else list(self._listed(folder))
        return (Listed(os.fsdecode(name), is_prefix) for name, is_prefix, _ in listed)

    def _listed(self, folder: NodeId) -> Iterator[tuple[bytes, bool, NodeId]]:
        """Yield the names that are keys or prefixes, and their nodes."""
        if not stat.S_ISDIR(self._state.entry(folder).attr.mode):
            return
        for name, entry in self._state.children(folder):
            if stat.S_ISDIR(entry.attr.mode):
                yield name, True, entry.nodeid
            elif stat.S_ISREG(entry.attr.mode):
                node = self._state.nodes.get(entry.nodeid)
                if node is None or node.published is not None:
                    yield name, False, entry.nodeid

    def list_keys(self, prefix: Key) -> Iterator[Key]:
        with self._lock:
            top = self._find(prefix)
        pending = [] if top is None else [(os.fsencode(prefix), top)]
        while pending:
            path, folder = pending.pop()
            with self._lock:
                listed = list(self._listed(folder))
            for name, is_prefix, nodeid in listed:
                full = path + b"/" + name if path else name
                if is_prefix:
                    pending.append((full, nodeid))
                else:
                    yield Key(os.fsdecode(full))

    # Changing

    def set(self, key: Key, data: Buffer) -> None:
        """Store a value; readers and open files see the old one or the new one."""
        names = _names(key)
        changes: list[Change] = []
        staged = self._tree.contents.stage(data)
        try:
            with self._lock:
                node = self._value_node(key, names, changes)
                self._tree.contents.replace(node, staged)
        except BaseException:
            self._tree.contents.unstage(staged)
            raise
        finally:
            self._tell(changes)

    def _value_node(self, key: Key, names: list[bytes], changes: list[Change]) -> Node:
        """Return the file that is to hold a value, made if need be."""
        folder = self._make_prefixes(key, names[:-1], changes)
        found = self._state.child(folder, names[-1])
        if found is None:
            return self._make(folder, names[-1], stat.S_IFREG | 0o644, changes)
        node = self._state.node(found)
        if not node.is_file:
            raise IsAFolderError(key) if node.is_folder else InvalidNameError(key)
        changes.append(Change(None, b"", node.nodeid))
        return node

    def _make_prefixes(self, key: Key, names: list[bytes], changes: list[Change]) -> NodeId:
        folder = ROOT
        for name in names:
            child = self._state.child(folder, name)
            if child is None:
                folder = self._make(folder, name, stat.S_IFDIR | 0o755, changes).nodeid
                continue
            if not stat.S_ISDIR(self._state.entry(child).attr.mode):
                raise NotAFolderError(key, f"{os.fsdecode(name)} is not a folder")
            folder = NodeId(child)
        return folder

    def _make(self, parent: NodeId, name: bytes, mode: int, changes: list[Change]) -> Node:
        node = self._tree.make_node(parent, name, mode, self._owner)
        changes.append(Change(parent, name, node.nodeid))
        return node

    def delete(self, key: Key) -> None:
        """Remove a value, and the prefixes that it leaves empty."""
        names = _names(key)
        changes: list[Change] = []
        with self._lock:
            nodeid, _, _ = self._value(key)
            parent = self._find(Key(key.rpartition("/")[0]))
            assert parent is not None
            self._tree.unlink(parent, names[-1])
            changes.append(Change(parent, names[-1], nodeid))
            self._remove_empty(parent, changes)
        self._tell(changes)

    def _remove_empty(self, folder: NodeId, changes: list[Change]) -> None:
        while folder != ROOT and next(self._state.children(folder), None) is None:
            place = self._state.place(folder)
            if place is None:
                return
            parent, name = NodeId(place[0]), place[1]
            self._tree.remove_dir(parent, name)
            changes.append(Change(parent, name, folder))
            folder = parent

    def _tell(self, changes: list[Change]) -> None:
        for change in changes:
            self._tree.tell(change)


def _names(key: Key) -> list[bytes]:
    """Raises: InvalidNameError, NameTooLongError."""
    names = os.fsencode(key).split(b"/")
    for name in names:
        if name in (b"", b".", b"..") or b"\0" in name:
            raise InvalidNameError(key, "not a key: names must not be empty, '.' or '..'")
        if len(name) > NAME_MAX_BYTES:
            raise NameTooLongError(key)
    return names
