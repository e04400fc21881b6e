"""Paths, as libfuse's high-level interface gives them, turned into nodeids.

Owns a bounded memory of paths; each remembered path holds one reference to its
node, given back when it is dropped. A node in use is *pinned*: it is forgotten
only after the last user is done with it. Any thread may call.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from stat import S_ISDIR

from zarrfs.storage.tree import ROOT, Change, Entry, NodeId
from zarrfs.vfs.operations import Caller, FileSystem


@dataclass(slots=True)
class Pinned:
    """A node and who still needs it; all fields are guarded by `Paths._lock`."""

    nodeid: NodeId
    is_folder: bool
    pins: int
    expires_s: float
    epoch: int
    remembered: bool = True


class Paths:
    """Resolves paths of one mounted file system.

    Lock order: `_lock` is never held while the file system is called.
    """

    def __init__(self, filesystem: FileSystem, *, capacity: int, timeout_s: float) -> None:
        self._filesystem = filesystem
        self._capacity = capacity
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, Pinned] = OrderedDict()
        """Least recently used first. Guarded by: `_lock`."""
        self._epoch = 0
        """Grows when anything changed behind our back. Guarded by: `_lock`."""
        self._root = Pinned(ROOT, True, 1, float("inf"), 0)

    def on_change(self, change: Change) -> None:
        """Look every path up again: libfuse cannot say which names a node has."""
        if change.name:
            with self._lock:
                self._epoch += 1

    def pin(self, caller: Caller, path: bytes) -> Pinned:
        """Return the node at a path, which the caller must `unpin`.

        Raises: NotFoundError, NotAFolderError.
        """
        if path == b"/":
            with self._lock:
                self._root.pins += 1
            return self._root
        with self._lock:
            found = self._known.get(path)
            if found and found.epoch == self._epoch and found.expires_s > time.monotonic():
                found.pins += 1
                self._known.move_to_end(path)
                return found
        return self.look_up(caller, path)[1]

    def pin_again(self, node: Pinned) -> Pinned:
        """Pin a node that is pinned already."""
        with self._lock:
            node.pins += 1
        return node

    def look_up(self, caller: Caller, path: bytes) -> tuple[Entry, Pinned]:
        """Ask the file system what a path means now; not for the root."""
        with self._lock:
            epoch = self._epoch
        folder, name = split(path)
        parent = self.pin(caller, folder)
        try:
            entry = self._filesystem.lookup(caller, parent.nodeid, name)
        finally:
            self.unpin(parent)
        return entry, self.remember(path, entry, epoch)

    def remember(self, path: bytes, entry: Entry, epoch: int | None = None) -> Pinned:
        """Take over the entry's reference; return the node pinned."""
        now_s = time.monotonic()
        folder = S_ISDIR(entry.attr.mode)
        with self._lock:
            new = Pinned(entry.nodeid, folder, 1, now_s + self._timeout_s, self._epoch)
            if epoch is not None:
                new.epoch = epoch
            dropped = [self._known.pop(path, None)]
            self._known[path] = new
            if len(self._known) > self._capacity:
                dropped.append(self._known.popitem(last=False)[1])
            unused = self._drop(dropped)
        self._forget(unused)
        return new

    def unpin(self, node: Pinned) -> None:
        with self._lock:
            node.pins -= 1
            unused = node.pins == 0 and not node.remembered
        if unused:
            self._filesystem.forget(node.nodeid, 1)

    def drop(self, path: bytes) -> None:
        """Forget what a path and all paths below it meant."""
        with self._lock:
            found = self._known.pop(path, None)
            dropped = [found]
            if found is None or found.is_folder:
                below = path.rstrip(b"/") + b"/"
                inside = [known for known in self._known if known.startswith(below)]
                dropped += [self._known.pop(known) for known in inside]
            unused = self._drop(dropped)
        self._forget(unused)

    def clear(self) -> None:
        """Forget every path; for the end of the mount."""
        self.drop(b"/")

    def _drop(self, dropped: list[Pinned | None]) -> list[NodeId]:
        """Mark nodes as dropped; return those nobody uses. Needs `_lock`."""
        unused = []
        for node in filter(None, dropped):
            node.remembered = False
            if node.pins == 0:
                unused.append(node.nodeid)
        return unused

    def _forget(self, unused: list[NodeId]) -> None:
        for nodeid in unused:
            self._filesystem.forget(nodeid, 1)


def split(path: bytes) -> tuple[bytes, bytes]:
    """Return a path's folder and its last name.

    >>> split(b"/a/b"), split(b"/a")
    ((b'/a', b'b'), (b'/', b'a'))
    """
    folder, _, name = path.rpartition(b"/")
    return folder or b"/", name
