"""`KeyTree`: a file tree made out of any plain `Backend`.

For third-party stores and for views. Folders are the prefixes of keys; one
that is made, or left empty, is remembered until it is removed or the mount
ends, since a backend has no empty prefixes. Owners, modes, links and extended
attributes do not exist: changing them answers EPERM or EOPNOTSUPP. A rename
copies and deletes.

What a backend without `static` was asked is remembered for a second at most.
Any thread may call any method; reads take no lock.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from zarrfs.errors import (
    ExistsError,
    IsAFolderError,
    KeyNotFoundError,
    NotAFolderError,
    NotEmptyError,
    PathNotFoundError,
    StaleError,
    UnsupportedError,
)
from zarrfs.storage.backend import Backend, Key, KeyStat
from zarrfs.storage.tree import (
    Attr,
    AttrChange,
    Buffer,
    DirEntry,
    Entry,
    NodeId,
    Owner,
    StatFs,
)
from zarrfs.vfs.key_files import KeyFile
from zarrfs.vfs.key_nodes import KeyNode, KeyNodes, number_of
from zarrfs.vfs.spool import Spool
from zarrfs.zarr_format.keys import join_key, split_key

TRUST_S: Final = 0.5
RENAME_NOREPLACE: Final = 1
_MOST_LISTINGS: Final = 64
_BLOCK_BYTES: Final = 4096
_ENDLESS_BLOCKS: Final = 1 << 38
"""A petabyte: what a store without a known bound shows as its size and free space."""


class KeyTree:
    """Implements `FileTree`, `StatelessReads` and `ListsEntries` over a backend."""

    def __init__(self, backend: Backend, *, owner: Owner | None = None) -> None:
        self.backend = backend
        self._owner = owner or Owner(os.geteuid(), os.getegid())
        self._static = backend.static
        self._read_only = backend.read_only
        self._trust_s = float("inf") if backend.static else TRUST_S
        self._nodes = KeyNodes()
        self._lock = threading.RLock()
        """Orders writers; taken before the node table's."""
        self._listings: dict[str, tuple[float, list[DirEntry]]] = {}
        """Single dictionary operations; by prefix, with the time until which it is trusted."""
        self._empty: set[str] = set()
        """Prefixes that exist without a key below them. Guarded by: `_lock`."""
        self._folder_times_ns: dict[str, int] = {}
        self._born_ns = time.time_ns()
        folder_bits, file_bits = (0o555, 0o444) if self._read_only else (0o755, 0o644)
        self._folder_mode = stat.S_IFDIR | folder_bits
        self._file_mode = stat.S_IFREG | file_bits

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def static(self) -> bool:
        return self._static

    # What the backend says

    def stat(self, node: KeyNode) -> KeyStat:
        """Return what is known of a value, asking again when it is old."""
        known = node.known
        now_s = 0.0 if self._static else time.monotonic()
        if known is not None and now_s <= node.known_until_s:
            return known
        return self._remember(node, self.backend.stat(node.key))

    def _remember(self, node: KeyNode, known: KeyStat) -> KeyStat:
        node.known = known
        node.known_until_s = time.monotonic() + self._trust_s
        return known

    def size(self, node: KeyNode) -> int:
        staged = node.staged
        return self.stat(node).size_bytes if staged is None else staged.size

    def _has_children(self, prefix: str) -> bool:
        if self._nodes.staged_below(prefix) or self._has_empty_below(prefix):
            return True
        return next(iter(self.backend.list_dir(Key(prefix))), None) is not None

    def _is_folder(self, key: str) -> bool:
        return key == "" or key in self._empty or self._has_children(key)

    def _has_empty_below(self, prefix: str) -> bool:
        lead = f"{prefix}/"
        return any(key.startswith(lead) for key in tuple(self._empty))

    # Names and attributes

    def _child(self, parent: NodeId, name: bytes) -> Key:
        folder = self._node(parent)
        if not folder.is_folder:
            raise NotAFolderError(folder.key)
        return Key(join_key(folder.key, os.fsdecode(name)))

    def _node(self, nodeid: NodeId) -> KeyNode:
        try:
            return self._nodes.get(nodeid)
        except StaleError:
            if not self._static:
                raise
        return self._search(nodeid)

    def _search(self, nodeid: NodeId) -> KeyNode:
        """Find the key of a number that another process, now gone, gave out."""
        pending = [""]
        while pending:
            prefix = pending.pop()
            for found in self._listing(prefix):
                key = join_key(prefix, os.fsdecode(found.name))
                is_folder = found.type_bits == stat.S_IFDIR
                if found.ino == nodeid:
                    return self._nodes.found(Key(key), is_folder=is_folder)
                if is_folder:
                    pending.append(key)
        raise StaleError(f"node {nodeid}", "no such node")

    def lookup(self, parent: NodeId, name: bytes) -> Entry:
        key = self._child(parent, name)
        node = self._nodes.at(key)
        if node is not None and (node.dirty or (self._static and node.known is not None)):
            return self._entry(self._nodes.found(key, is_folder=node.is_folder))
        try:
            known = self.backend.stat(key)
        except KeyNotFoundError:
            if not self._is_folder(key):
                raise PathNotFoundError(key) from None
            return self._entry(self._nodes.found(key, is_folder=True))
        node = self._nodes.found(key, is_folder=False)
        self._remember(node, known)
        return self._entry(node)

    def _entry(self, node: KeyNode) -> Entry:
        return Entry(node.nodeid, self._attr(node))

    def _attr(self, node: KeyNode) -> Attr:
        uid, gid = self._owner.uid, self._owner.gid
        if node.is_folder:
            at_ns = self._folder_times_ns.get(node.key, self._born_ns)
            return Attr(node.nodeid, self._folder_mode, 2, uid, gid, 0, 0, 0, at_ns, at_ns, at_ns)
        staged = node.staged
        if staged is None:
            size, at_ns = self.stat(node)
        else:
            size, at_ns = staged.size, node.staged_mtime_ns
        blocks = -(-size // 512)
        return Attr(
            node.nodeid,
            self._file_mode,
            int(node.linked),
            uid,
            gid,
            0,
            size,
            blocks,
            at_ns,
            at_ns,
            at_ns,
        )

    def attr(self, nodeid: NodeId) -> Attr:
        try:
            return self._attr(self._node(nodeid))
        except KeyNotFoundError as error:
            raise StaleError(error.subject, "it was deleted") from error

    def forget(self, nodeid: NodeId, count: int) -> None:
        self._nodes.forget(nodeid, count)

    def count_reference(self, nodeid: NodeId) -> None:
        self._nodes.count(nodeid)

    def key_of(self, nodeid: NodeId) -> str | None:
        node = self._node(nodeid)
        return node.key if node.linked else None

    def read_link(self, nodeid: NodeId) -> bytes:
        raise OSError(errno.EINVAL, "not a symbolic link")

    # Listings

    def _listing(self, prefix: str) -> list[DirEntry]:
        cached = self._listings.get(prefix)
        if cached is not None and (self._static or time.monotonic() <= cached[0]):
            return cached[1]
        names = {
            listed.name: stat.S_IFDIR if listed.is_prefix else stat.S_IFREG
            for listed in self.backend.list_dir(Key(prefix))
        }
        lead = f"{prefix}/" if prefix else ""
        entries = [
            DirEntry(os.fsencode(name), number_of(lead + name), bits)
            for name, bits in sorted(names.items())
        ]
        while len(self._listings) >= _MOST_LISTINGS:
            self._listings.pop(next(iter(self._listings), ""), None)
        self._listings[prefix] = time.monotonic() + self._trust_s, entries
        return entries

    def list_dir(self, nodeid: NodeId) -> Sequence[DirEntry]:
        folder = self._node(nodeid)
        if not folder.is_folder:
            raise NotAFolderError(folder.key)
        entries = self._listing(folder.key)
        extra = {} if self._static else self._not_in_backend(folder.key)
        for found in entries if extra else ():
            extra.pop(found.name, None)
        return [*entries, *extra.values()] if extra else entries

    def _not_in_backend(self, prefix: str) -> dict[bytes, DirEntry]:
        """Return new files that are still being written, and empty folders."""
        with self._lock:
            empty = [key for key in self._empty if key and split_key(key)[0] == prefix]
            staged = [node.key for node in self._nodes.staged_below(prefix)]
        return {
            (name := os.fsencode(split_key(key)[1])): DirEntry(name, number_of(key), bits)
            for keys, bits in ((empty, stat.S_IFDIR), (staged, stat.S_IFREG))
            for key in keys
        }

    def list_entries(self, nodeid: NodeId, start: int) -> Iterator[tuple[bytes, Entry]]:
        entries = self.list_dir(nodeid)
        for position in range(start, len(entries)):
            name = entries[position].name
            entry = self.lookup(nodeid, name)
            yield name, entry
            self.forget(entry.nodeid, 1)

    # Reading and writing

    def read_node(self, nodeid: NodeId, offset: int, size: int) -> Buffer:
        return self.backend.get(self._node(nodeid).key, offset, offset + size)

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
        """Let a node have new content. Lock held."""
        if node.staged is not None:
            node.staged.close()
        node.staged, node.dirty, node.staged_mtime_ns = spool, True, time.time_ns()

    @contextmanager
    def staging(self, node: KeyNode) -> Iterator[Spool]:
        """Give the spool in which a node's content is changed, loaded first if need be."""
        with self._lock:
            if node.staged is None:
                node.staged = Spool(self.backend.get(node.key))
            yield node.staged
            node.dirty, node.staged_mtime_ns = True, time.time_ns()

    def commit(self, node: KeyNode) -> None:
        """Set a value that was written; the node keeps its spool while it is open."""
        with self._lock:
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
                self.commit(node)
            finally:
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
            with self._lock, self.staging(node) as spool:
                spool.truncate(change.size)
            if not node.open_files:
                node.open_files += 1
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
        node = self._nodes.at(key)
        if node is not None and node.open_files and node.staged is None:
            node.staged = Spool(self.backend.get(key))
            node.staged_mtime_ns = time.time_ns()
        try:
            self.backend.delete(key)
        except KeyNotFoundError:
            pass  # still being written
        if node is not None:
            node.dirty = False
            self._nodes.unlinked(node)
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
        if node is not None and node.dirty and node.staged is not None:
            content = node.staged.content()
        else:
            content = self.backend.get(old)
        if to_value:
            self._displace(new)
        self.backend.set(new, content)
        try:
            self.backend.delete(old)
        except KeyNotFoundError:
            pass  # it was never set under the old name
        if node is not None:
            node.dirty = False
        self._renamed(old, new)

    def _displace(self, key: Key) -> None:
        """Let the node of a value that is about to be replaced live on unlinked."""
        node = self._nodes.at(key)
        if node is None:
            return
        if node.open_files and node.staged is None:
            node.staged = Spool(self.backend.get(key))
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

    # Extended attributes, and the whole

    def list_xattr(self, nodeid: NodeId) -> Sequence[bytes]:
        return ()

    def get_xattr(self, nodeid: NodeId, name: bytes) -> bytes:
        raise UnsupportedError(os.fsdecode(name), "this store keeps no extended attributes")

    def set_xattr(self, nodeid: NodeId, name: bytes, value: bytes, flags: int) -> None:
        raise UnsupportedError(os.fsdecode(name), "this store keeps no extended attributes")

    def remove_xattr(self, nodeid: NodeId, name: bytes) -> None:
        raise UnsupportedError(os.fsdecode(name), "this store keeps no extended attributes")

    def sync(self, nodeid: NodeId, *, data_only: bool) -> None:
        self.backend.flush()

    def statfs(self) -> StatFs:
        free = 0 if self._read_only else _ENDLESS_BLOCKS
        return StatFs(_BLOCK_BYTES, _ENDLESS_BLOCKS, free, free, len(self._nodes), 0)

    def close(self) -> None:
        self.backend.flush()
