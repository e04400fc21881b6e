"""One folder of a tree, as a tree of its own.

Only the root differs: the kernel's nodeid 1 stands for the chosen folder, which
keeps its own nodeid too. Everything else passes through, abilities included.
All methods may be called from several threads at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from zarrfs.errors import NotAFolderError, PathNotFoundError, ZarrfsError
from zarrfs.storage.tree import (
    ROOT,
    Attr,
    AttrChange,
    Change,
    ChangeListener,
    DirEntry,
    Entry,
    FileTree,
    NodeId,
    OpenFile,
    Owner,
    StatFs,
    Watchable,
)

_BY_NODEID = ("read_node", "list_entries", "count_reference", "create", "left_out")


def subtree(tree: FileTree, path: str) -> FileTree:
    """Return the tree below a path such as `a/b`; the whole tree for the empty path.

    Raises: PathNotFoundError, NotAFolderError.
    """
    nodeid = ROOT
    entered: list[NodeId] = []
    for name in filter(None, path.split("/")):
        try:
            entry = tree.lookup(nodeid, os.fsencode(name))
        except ZarrfsError as error:
            reason = "no such folder in the store"
            raise PathNotFoundError(path, reason) from error
        if entry.attr.mode & 0o170000 != 0o040000:
            raise NotAFolderError(path, "not a folder of the store")
        nodeid = entry.nodeid
        entered.append(nodeid)
    return Subtree(tree, entered, path) if entered else tree


class Subtree:
    """A folder as the root. It refers to that folder and those above until `close`."""

    def __init__(self, tree: FileTree, entered: Sequence[NodeId], key: str) -> None:
        self._tree = tree
        self._entered = entered
        self._root = entered[-1]
        self._prefix = key + "/"
        # As attributes of the object, so that `isinstance` finds an ability
        # exactly where the tree beneath has it.
        for ability in _BY_NODEID:
            if method := getattr(tree, ability, None):
                setattr(self, ability, self._rooted(method))
        if hasattr(tree, "nodeids"):
            self.nodeids = tree.nodeids
        if hasattr(tree, "ignores_flush"):
            self.ignores_flush = tree.ignores_flush
        if isinstance(tree, Watchable):
            self.watch = self._watch

    def _rooted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        root = self._root

        def call(nodeid: NodeId, *args: Any) -> Any:
            return method(root if nodeid == ROOT else nodeid, *args)

        return call

    def _watch(self, listener: ChangeListener) -> None:
        """Watch the tree; the kernel knows the chosen folder as the root."""

        def outer(nodeid: NodeId | None) -> NodeId | None:
            return ROOT if nodeid == self._root else nodeid

        def tell(change: Change) -> None:
            listener(Change(outer(change.parent), change.name, outer(change.nodeid)))

        assert isinstance(self._tree, Watchable)
        self._tree.watch(tell)

    def _inner(self, nodeid: NodeId) -> NodeId:
        return self._root if nodeid == ROOT else nodeid

    @property
    def read_only(self) -> bool:
        return self._tree.read_only

    @property
    def static(self) -> bool:
        return self._tree.static

    def lookup(self, parent: NodeId, name: bytes) -> Entry:
        return self._tree.lookup(self._inner(parent), name)

    def forget(self, nodeid: NodeId, count: int) -> None:
        if nodeid != ROOT:
            self._tree.forget(nodeid, count)

    def attr(self, nodeid: NodeId) -> Attr:
        return self._tree.attr(self._inner(nodeid))

    def read_link(self, nodeid: NodeId) -> bytes:
        return self._tree.read_link(nodeid)

    def list_dir(self, nodeid: NodeId) -> Sequence[DirEntry]:
        return self._tree.list_dir(self._inner(nodeid))

    def open(self, nodeid: NodeId, flags: int) -> OpenFile:
        return self._tree.open(self._inner(nodeid), flags)

    def set_attr(self, nodeid: NodeId, change: AttrChange) -> Attr:
        return self._tree.set_attr(self._inner(nodeid), change)

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
        return self._tree.make(self._inner(parent), name, mode, owner, rdev=rdev, target=target)

    def link(self, nodeid: NodeId, parent: NodeId, name: bytes) -> Entry:
        return self._tree.link(nodeid, self._inner(parent), name)

    def unlink(self, parent: NodeId, name: bytes) -> None:
        self._tree.unlink(self._inner(parent), name)

    def remove_dir(self, parent: NodeId, name: bytes) -> None:
        self._tree.remove_dir(self._inner(parent), name)

    def rename(
        self, parent: NodeId, name: bytes, new_parent: NodeId, new_name: bytes, flags: int
    ) -> None:
        self._tree.rename(self._inner(parent), name, self._inner(new_parent), new_name, flags)

    def list_xattr(self, nodeid: NodeId) -> Sequence[bytes]:
        return self._tree.list_xattr(self._inner(nodeid))

    def get_xattr(self, nodeid: NodeId, name: bytes) -> bytes:
        return self._tree.get_xattr(self._inner(nodeid), name)

    def set_xattr(self, nodeid: NodeId, name: bytes, value: bytes, flags: int) -> None:
        self._tree.set_xattr(self._inner(nodeid), name, value, flags)

    def remove_xattr(self, nodeid: NodeId, name: bytes) -> None:
        self._tree.remove_xattr(self._inner(nodeid), name)

    def sync(self, nodeid: NodeId, *, data_only: bool) -> None:
        self._tree.sync(self._inner(nodeid), data_only=data_only)

    def statfs(self) -> StatFs:
        return self._tree.statfs()

    def key_of(self, nodeid: NodeId) -> str | None:
        if nodeid == ROOT:
            return ""
        key = self._tree.key_of(nodeid)
        return None if key is None else key.removeprefix(self._prefix)

    def close(self) -> None:
        for nodeid in self._entered:
            self._tree.forget(nodeid, 1)
        self._tree.close()
