"""The half of `KeyTree` that finds, shows and reads; what it shows may be still unset.

What a backend without `static` was asked is remembered for a quarter of a
second. Any thread may call any method; reads take no lock.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from zarrfs.errors import (
    KeyNotFoundError,
    NotAFolderError,
    PathNotFoundError,
    StaleError,
    UnsupportedError,
)
from zarrfs.storage.backend import Backend, Key, KeyStat, LeavesOut
from zarrfs.storage.tree import (
    Attr,
    Buffer,
    DirEntry,
    Entry,
    NodeId,
    Owner,
    StatFs,
)
from zarrfs.vfs.key_nodes import KeyNode, KeyNodes, number_of
from zarrfs.zarr_format.keys import join_key, split_key

TRUST_S: Final = 0.25
_MOST_LISTINGS: Final = 64
_BLOCK_BYTES: Final = 4096
_ENDLESS_BLOCKS: Final = 1 << 38
"""A petabyte: what a store without a known bound shows as its size and free space."""


class ReadingKeyTree:
    """The half of `KeyTree` that finds and shows."""

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
        self._numbers: dict[int, tuple[int, str, bool]] = {}
        """What `_inherited` came past so far. Guarded by: `_lock`."""
        self._numbering = self._numbered()
        """Guarded by: `_lock`."""
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
            return self._inherited(nodeid)

    def _inherited(self, nodeid: NodeId) -> KeyNode:
        """Find the key of a number that another process, now gone, gave out."""
        with self._lock:
            found = self._numbers.get(nodeid)
            while found is None:
                step = next(self._numbering, None)
                if step is None:
                    self._numbering = self._numbered()  # look again next time
                    raise StaleError(f"node {nodeid}", "no such node")
                number, *_ = step
                self._numbers[number] = step
                found = step if number == nodeid else None
            _, key, is_folder = found
        return self._nodes.found(Key(key), is_folder=is_folder)

    def _numbered(self) -> Iterator[tuple[int, str, bool]]:
        """Yield all that is in the store, by number."""
        pending = [""]
        while pending:
            prefix = pending.pop()
            for found in self._listing(prefix):
                key = join_key(prefix, os.fsdecode(found.name))
                is_folder = found.type_bits == stat.S_IFDIR
                if is_folder:
                    pending.append(key)
                yield found.ino, key, is_folder

    def nodeids(self) -> Iterator[NodeId]:
        return (NodeId(number) for number, _, _ in self._numbered())

    def lookup(self, parent: NodeId, name: bytes) -> Entry:
        key = self._child(parent, name)
        node = self._nodes.at(key)
        settled = self._static and node is not None and (node.is_folder or node.known)
        if node is not None and (node.dirty or settled):
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
            try:
                entry = self.lookup(nodeid, name)
            except PathNotFoundError:  # it vanished meanwhile
                continue
            yield name, entry
            self.forget(entry.nodeid, 1)

    def read_node(self, nodeid: NodeId, offset: int, size: int) -> Buffer:
        return self.backend.get(self._node(nodeid).key, offset, offset + size)

    def left_out(self, nodeid: NodeId) -> Mapping[str, str]:
        node = self._node(nodeid)
        if not node.is_folder or not isinstance(self.backend, LeavesOut):
            return {}
        return self.backend.left_out(node.key)

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
