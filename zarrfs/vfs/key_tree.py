"""`KeyTree`: a file tree made out of any plain `Backend`.

For third-party stores and for views. Folders are the prefixes of keys; one
that is made, or left empty, is remembered until it is removed or the mount
ends, since a backend has no empty prefixes. Owners, modes, links and extended
attributes do not exist: changing them answers EPERM or EOPNOTSUPP. A rename
copies and deletes.

The half that finds and reads is in `key_reads`. Any thread may call any
method; what changes anything takes the tree's lock.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Final

from zarrfs.errors import (
    ExistsError,
    IsAFolderError,
    KeyNotFoundError,
    NotAFolderError,
    NotEmptyError,
    PathNotFoundError,
    UnsupportedError,
)
from zarrfs.storage.backend import Key
from zarrfs.storage.tree import (
    Attr,
    AttrChange,
    Entry,
    NodeId,
    Owner,
)
from zarrfs.vfs.key_files import KeyFile
from zarrfs.vfs.key_nodes import KeyNode
from zarrfs.vfs.key_reads import ReadingKeyTree
from zarrfs.vfs.spool import Spool
from zarrfs.zarr_format.keys import split_key

RENAME_NOREPLACE: Final = 1


class KeyTree(ReadingKeyTree):
    """Implements `FileTree`, `CreatesOpen`, `StatelessReads`, `ListsEntries` over a backend."""

    def open(self, nodeid: NodeId, flags: int) -> KeyFile:
        node = self._node(nodeid)
        if node.is_folder:
            raise IsAFolderError(node.key)
        with self._lock:
            node.open_files += 1
            if flags & os.O_TRUNC:
                self._stage(node, Spool())
        return KeyFile(self, node, flags)

    def create(
        self, parent: NodeId, name: bytes, mode: int, owner: Owner, flags: int
    ) -> tuple[Entry, KeyFile]:
        key = self._child(parent, name)
        with self._lock:
            self._check_absent(key)
            node = self._nodes.found(key, is_folder=False)
            self._stage(node, Spool())
            node.open_files += 1
            self._changed(key)
        return self._entry(node), KeyFile(self, node, flags)

    def _check_absent(self, key: Key) -> None:
        if self._exists_as_value(key) or self._is_folder(key):
            raise ExistsError(key)

    def _exists_as_value(self, key: Key) -> bool:
        node = self._nodes.at(key)
        if node is not None and node.dirty:
            return True
        try:
            self.backend.stat(key)
        except KeyNotFoundError:
            return False
        return True

    def _stage(self, node: KeyNode, spool: Spool) -> None:
        """Let a node have new content. Tree's lock held."""
        with node.lock:
            self._discard(node)
            node.staged, node.dirty, node.staged_mtime_ns = spool, True, time.time_ns()

    @contextmanager
    def staging(self, node: KeyNode) -> Iterator[Spool]:
        """Give the spool in which a node's content is changed, loaded first if need be."""
        with node.lock:
            if node.staged is None:
                node.staged = Spool(self.backend.get(node.key))
            yield node.staged
            node.dirty, node.staged_mtime_ns = True, time.time_ns()

    def commit(self, node: KeyNode) -> None:
        """Set a value that was written; the node keeps its spool while it is open."""
        with node.lock:
            if not node.dirty or not node.linked or node.staged is None:
                return
            self.backend.set(node.key, node.staged.content())
            node.dirty = False
            known = self._remember(node, self.backend.stat(node.key))
            node.staged_mtime_ns = known.mtime_ns
            self._changed(node.key)

    def closed(self, node: KeyNode) -> None:
        """One of a node's files was closed. Raises: what setting the value raises."""
        with self._lock:
            node.open_files -= 1
            if node.open_files:
                return
        try:
            self.commit(node)  # without the tree's lock: a store may be slow
        finally:
            with self._lock, node.lock:
                if not node.open_files:
                    self._discard(node)

    def _discard(self, node: KeyNode) -> None:
        """Let go of new content. Both locks held."""
        if node.staged is not None:
            node.staged.close()
        node.staged, node.dirty = None, False

    def set_attr(self, nodeid: NodeId, change: AttrChange) -> Attr:
        node = self._node(nodeid)
        shown = self._attr(node)
        asked = ((change.mode, shown.mode), (change.uid, shown.uid), (change.gid, shown.gid))
        if any(value is not None and value != now for value, now in asked):
            raise OSError(errno.EPERM, "this store keeps no owners and modes")
        if change.atime_ns is not None or change.mtime_ns is not None:
            raise OSError(errno.EPERM, "this store keeps its own times")
        if change.size is not None:
            with self._lock:
                node.open_files += 1
            try:
                with self.staging(node) as spool:
                    spool.truncate(change.size)
            finally:
                self.closed(node)
        return self._attr(node)

    # Making, removing, renaming

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
        key = self._child(parent, name)
        is_folder = stat.S_ISDIR(mode)
        if not is_folder and not stat.S_ISREG(mode):
            raise UnsupportedError(key, "only files and folders")
        with self._lock:
            self._check_absent(key)
            if is_folder:
                self._empty.add(key)
            else:
                self.backend.set(key, b"")
            self._changed(key)
            return self._entry(self._nodes.found(key, is_folder=is_folder))

    def link(self, nodeid: NodeId, parent: NodeId, name: bytes) -> Entry:
        key = self._child(parent, name)
        if self._exists_as_value(key) or self._is_folder(key):
            raise ExistsError(key)
        raise UnsupportedError(key, "one value cannot have two keys")

    def unlink(self, parent: NodeId, name: bytes) -> None:
        key = self._child(parent, name)
        with self._lock:
            if self._exists_as_value(key):
                self._remove(key)
            elif self._is_folder(key):
                raise IsAFolderError(key)
            else:
                raise PathNotFoundError(key)

    def _remove(self, key: Key) -> None:
        """Delete a value, keeping what its open files need. Lock held."""
        self._displace(key)
        with suppress(KeyNotFoundError):  # perhaps it is still being written
            self.backend.delete(key)
        self._changed(key)
        self._keep_if_empty(split_key(key)[0])

    def _keep_if_empty(self, prefix: str) -> None:
        if prefix and not self._has_children(prefix):
            self._empty.add(prefix)

    def _changed(self, key: str) -> None:
        """A name came or went. Lock held."""
        prefix = split_key(key)[0]
        self._listings.pop(prefix, None)
        self._folder_times_ns[prefix] = time.time_ns()

    def remove_dir(self, parent: NodeId, name: bytes) -> None:
        key = self._child(parent, name)
        with self._lock:
            if self._exists_as_value(key):
                raise NotAFolderError(key)
            if not self._is_folder(key):
                raise PathNotFoundError(key)
            if self._has_children(key):
                raise NotEmptyError(key)
            self._forget_folder(key)

    def _forget_folder(self, key: str) -> None:
        self._empty.discard(key)
        node = self._nodes.at(key)
        if node is not None:
            self._nodes.unlinked(node)
        self._changed(key)
        self._keep_if_empty(split_key(key)[0])

    def rename(
        self, parent: NodeId, name: bytes, new_parent: NodeId, new_name: bytes, flags: int
    ) -> None:
        old, new = self._child(parent, name), self._child(new_parent, new_name)
        if flags & ~RENAME_NOREPLACE:
            raise UnsupportedError(old, "exchanging needs a store with nodes")
        with self._lock:
            from_value = self._exists_as_value(old)
            if not from_value and not self._is_folder(old):
                raise PathNotFoundError(old)
            to_value, to_folder = self._exists_as_value(new), self._is_folder(new)
            if flags and (to_value or to_folder):
                raise ExistsError(new)
            if old == new:
                return
            if from_value:
                self._move_value(old, new, to_value=to_value, to_folder=to_folder)
            else:
                self._move_folder(old, new, to_value=to_value, to_folder=to_folder)

    def _move_value(self, old: Key, new: Key, *, to_value: bool, to_folder: bool) -> None:
        if to_folder:
            raise IsAFolderError(new)
        node = self._nodes.at(old)
        with nullcontext() if node is None else node.lock:
            if node is not None and node.dirty and node.staged is not None:
                content = node.staged.content()
            else:
                content = self.backend.get(old)
            if to_value:
                self._displace(new)
            self.backend.set(new, content)
            with suppress(KeyNotFoundError):  # perhaps it was never set under the old name
                self.backend.delete(old)
            if node is not None:
                node.dirty = False
            self._renamed(old, new)

    def _displace(self, key: Key) -> None:
        """Let the node of a value that goes, or is replaced, live on unlinked. Lock held."""
        node = self._nodes.at(key)
        if node is None:
            return
        with node.lock:
            if node.open_files and node.staged is None:
                node.staged, node.staged_mtime_ns = Spool(self.backend.get(key)), time.time_ns()
            node.dirty = False
            self._nodes.unlinked(node)

    def _move_folder(self, old: Key, new: Key, *, to_value: bool, to_folder: bool) -> None:
        if to_value:
            raise NotAFolderError(new)
        if new.startswith(f"{old}/"):
            raise OSError(errno.EINVAL, "into itself")
        if to_folder and self._has_children(new):
            raise NotEmptyError(new)
        for key in list(self.backend.list_keys(old)):
            self.backend.set(Key(new + key[len(old) :]), self.backend.get(key))
        for key in list(self.backend.list_keys(old)):
            self.backend.delete(key)
        below = {key for key in self._empty if key == old or key.startswith(f"{old}/")}
        self._empty -= below
        self._empty |= {new + key[len(old) :] for key in below}
        displaced = self._nodes.at(new)
        if displaced is not None:
            self._nodes.unlinked(displaced)
        self._listings.clear()
        self._renamed(old, new)
        self._keep_if_empty(new)

    def _renamed(self, old: Key, new: Key) -> None:
        self._nodes.renamed(old, new)
        self._changed(old)
        self._changed(new)
        self._keep_if_empty(split_key(old)[0])
