"""The nodes of a `KeyTree`: which nodeid is which key.

A nodeid is made from the key itself, so that a process that takes over a
mount, or mounts the same store again, gives the same key the same number. Any
thread may call this; one lock, never held across a call to a backend.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass, field

from zarrfs.errors import StaleError
from zarrfs.storage.backend import Key, KeyStat
from zarrfs.storage.tree import NODEID_BITS, ROOT, NodeId
from zarrfs.vfs.spool import Spool


@dataclass(slots=True, eq=False)
class KeyNode:
    """One key or prefix that the kernel knows, or that has no value in the backend yet."""

    nodeid: NodeId
    key: Key
    is_folder: bool
    references: int = 0
    """Guarded by: the table's lock."""
    linked: bool = True
    """Whether the key still means this node."""
    known: KeyStat | None = None
    known_until_s: float = 0.0
    """On the monotonic clock; `known` is not trusted after it."""
    staged: Spool | None = None
    """Content newer than the backend's, or kept after unlink. Guarded by: `lock`."""
    staged_mtime_ns: int = 0
    dirty: bool = False
    """Whether `staged` must still be set. Guarded by: `lock`."""
    open_files: int = 0
    """Guarded by: the tree's lock."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Held while the value is set, so that others wait for it; after the tree's lock."""


def number_of(key: str) -> int:
    """Return a key's number: of `NODEID_BITS`, above the root's, the same everywhere."""
    digest = hashlib.blake2b(os.fsencode(key), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 64 - NODEID_BITS | 2


class KeyNodes:
    """The nodes of one tree."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        root = KeyNode(ROOT, Key(""), True, references=1)
        self._by_id: dict[NodeId, KeyNode] = {ROOT: root}
        """Guarded by: `_lock`; single reads need no lock."""
        self._by_key: dict[str, KeyNode] = {"": root}
        """Guarded by: `_lock`; only linked nodes."""

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, nodeid: NodeId) -> KeyNode:
        """Raises: StaleError."""
        try:
            return self._by_id[nodeid]
        except KeyError:
            raise StaleError(f"node {nodeid}", "no such node") from None

    def at(self, key: str) -> KeyNode | None:
        return self._by_key.get(key)

    def found(self, key: Key, *, is_folder: bool) -> KeyNode:
        """A key is there: return its node with one more reference."""
        with self._lock:
            node = self._by_key.get(key)
            if node is None or node.is_folder != is_folder:
                if node is not None:
                    node.linked = False
                nodeid = NodeId(number_of(key))
                while nodeid in self._by_id:  # an unlinked file of that key, still open
                    nodeid = NodeId(nodeid + 1)
                node = KeyNode(nodeid, key, is_folder)
                self._by_id[nodeid] = self._by_key[key] = node
            node.references += 1
            return node

    def count(self, nodeid: NodeId) -> None:
        with self._lock:
            self.get(nodeid).references += 1

    def forget(self, nodeid: NodeId, count: int) -> None:
        with self._lock:
            node = self._by_id.get(nodeid)
            if node is None or nodeid == ROOT:
                return
            node.references -= count
            if node.references <= 0 and not node.open_files:
                del self._by_id[nodeid]
                if self._by_key.get(node.key) is node:
                    del self._by_key[node.key]

    def unlinked(self, node: KeyNode) -> None:
        with self._lock:
            node.linked = False
            if self._by_key.get(node.key) is node:
                del self._by_key[node.key]

    def renamed(self, old: str, new: str) -> None:
        """A key, or all keys below a prefix, are called otherwise now."""
        with self._lock:
            for key in [key for key in self._by_key if key == old or key.startswith(f"{old}/")]:
                node = self._by_key.pop(key)
                node.key = Key(new + key[len(old) :])
                node.known = None
                self._by_key[node.key] = node

    def staged_below(self, prefix: str) -> list[KeyNode]:
        """Return the linked nodes in a folder whose content is not in the backend."""
        lead = f"{prefix}/" if prefix else ""
        with self._lock:
            return [
                node
                for key, node in self._by_key.items()
                if node.dirty and key.startswith(lead) and "/" not in key[len(lead) :]
            ]
