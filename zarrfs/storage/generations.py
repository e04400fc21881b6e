"""Several states of one archive, one after the other, as one tree.

When an archive is replaced while it is mounted, the kernel still refers to
nodes of the old one: files that are open, folders somebody stands in. They keep
their content. The root, and with it every path looked up from now on, is the
newest archive's. A nodeid carries its generation in the bits from `SHIFT` on;
generation 0 is numbered as if there were no others.

Read-only and static: a generation never changes, and that a new one has come
is told by `announce`. Any thread may call it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NoReturn, Protocol

from zarrfs.errors import AttributeNotFoundError, ReadOnlyError, StaleError
from zarrfs.storage.read_only_tree import RefusesChanges
from zarrfs.storage.tree import (
    ROOT,
    Attr,
    Buffer,
    Change,
    ChangeListener,
    DirEntry,
    Entry,
    FileTree,
    NodeId,
    OpenFile,
    StatFs,
)

SHIFT: Final = 40
_INNER: Final = (1 << SHIFT) - 1


class StaticTree(FileTree, Protocol):
    """What a generation must be: static, and readable without an open file."""

    def read_node(self, nodeid: NodeId, offset: int, size: int) -> Buffer: ...
    def list_entries(self, nodeid: NodeId, start: int) -> Iterator[tuple[bytes, Entry]]: ...


class GenerationTree(RefusesChanges):
    """Implements `FileTree`, `StatelessReads`, `ListsEntries` and `Watchable`."""

    read_only = True
    static = True

    def __init__(self, generations: Mapping[int, StaticTree]) -> None:
        """`generations` by number; the highest is shown."""
        self._trees = dict(generations)
        self._newest = max(self._trees)
        self._listeners: list[ChangeListener] = []

    def _find(self, nodeid: NodeId) -> tuple[StaticTree, NodeId, int]:
        """Return a node's tree, its nodeid there, and the bits of its generation."""
        if nodeid == ROOT:
            return self._trees[self._newest], ROOT, self._newest << SHIFT
        try:
            tree = self._trees[nodeid >> SHIFT]
        except KeyError:
            raise StaleError(f"node {nodeid}", "of an archive replaced long ago") from None
        return tree, NodeId(nodeid & _INNER), nodeid & ~_INNER

    def announce(self) -> None:
        """Tell the listeners that every name of the root means something else now."""
        names = {entry.name for tree in self._trees.values() for entry in tree.list_dir(ROOT)}
        for listener in self._listeners:
            for name in names:
                listener(Change(ROOT, name, None))
            listener(Change(None, b"", ROOT))

    def watch(self, listener: ChangeListener) -> None:
        self._listeners.append(listener)

    def lookup(self, parent: NodeId, name: bytes) -> Entry:
        tree, inner, bits = self._find(parent)
        return _with_bits(tree.lookup(inner, name), bits)

    def forget(self, nodeid: NodeId, count: int) -> None:
        pass

    def count_reference(self, nodeid: NodeId) -> None:
        pass

    def attr(self, nodeid: NodeId) -> Attr:
        tree, inner, bits = self._find(nodeid)
        attr = tree.attr(inner)
        return attr if nodeid == ROOT else attr._replace(ino=attr.ino | bits)

    def read_link(self, nodeid: NodeId) -> bytes:
        tree, inner, _ = self._find(nodeid)
        return tree.read_link(inner)

    def list_dir(self, nodeid: NodeId) -> Sequence[DirEntry]:
        tree, inner, bits = self._find(nodeid)
        return [entry._replace(ino=entry.ino | bits) for entry in tree.list_dir(inner)]

    def list_entries(self, nodeid: NodeId, start: int) -> Iterator[tuple[bytes, Entry]]:
        tree, inner, bits = self._find(nodeid)
        for name, entry in tree.list_entries(inner, start):
            yield name, _with_bits(entry, bits)

    def open(self, nodeid: NodeId, flags: int) -> OpenFile:
        tree, inner, _ = self._find(nodeid)
        return tree.open(inner, flags)

    def read_node(self, nodeid: NodeId, offset: int, size: int) -> Buffer:
        tree, inner, _ = self._find(nodeid)
        return tree.read_node(inner, offset, size)

    def key_of(self, nodeid: NodeId) -> str | None:
        tree, inner, _ = self._find(nodeid)
        return tree.key_of(inner)

    def list_xattr(self, nodeid: NodeId) -> Sequence[bytes]:
        return ()

    def get_xattr(self, nodeid: NodeId, name: bytes) -> bytes:
        raise AttributeNotFoundError(os.fsdecode(name))

    def sync(self, nodeid: NodeId, *, data_only: bool) -> None:
        pass

    def statfs(self) -> StatFs:
        return self._trees[self._newest].statfs()

    def close(self) -> None:
        for tree in self._trees.values():
            tree.close()

    def _refuse(self) -> NoReturn:
        raise ReadOnlyError("", "an archive that is mounted read-only")


def _with_bits(entry: Entry, bits: int) -> Entry:
    if not bits:
        return entry
    attr = entry.attr
    return Entry(NodeId(entry.nodeid | bits), attr._replace(ino=attr.ino | bits))
