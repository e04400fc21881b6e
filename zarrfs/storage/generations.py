"""Several states of one store, one after the other, as one tree.

When a store is replaced while it is mounted, the kernel still refers to nodes
of the old one: files that are open, folders somebody stands in. They stay what
they were. The root, and with it every path looked up from now on, is the
newest state's. Each state is a *generation*, a tree of its own; a nodeid
carries its generation in the bits from `NODEID_BITS` on, and generation 0 is
numbered as if there were no others.

All generations are of one kind: static or not, with the same abilities. Static
ones are opened when something of theirs is asked for, since nothing needs to be
counted in them. What one of them is asked to change stays within it: names
cannot move from one to another (EXDEV). Any thread may call it.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import zarrfs.storage.tree as abilities
from zarrfs.errors import StaleError, ZarrfsError
from zarrfs.storage.tree import (
    NODEID_BITS,
    ROOT,
    Attr,
    AttrChange,
    Change,
    ChangeListener,
    DirEntry,
    Entry,
    FileTree,
    FolderColumns,
    NodeId,
    OpenFile,
    Owner,
    StatFs,
)

OpenTree: TypeAlias = Callable[[], FileTree]
_INNER: Final = (1 << NODEID_BITS) - 1
_TAGS: Final = 1 << 63 - NODEID_BITS
"""Numbers that fit above a nodeid, the sign bit left free; then they begin again."""


class GenerationTree:
    """Implements `FileTree`, `Watchable`, and the abilities that its generations have."""

    def __init__(
        self, newest: int, trees: Mapping[int, FileTree], later: Mapping[int, OpenTree]
    ) -> None:
        """`trees` are the open generations by number, `later` open the others when needed.

        Opening one raises ZarrfsError or OSError when it is gone for good.
        """
        self._bits = _bits_of(newest)
        self._shown = trees[newest]
        self._trees: dict[int, Any] = {_bits_of(number): tree for number, tree in trees.items()}
        """By bits. `Any`, because which abilities they have is known from `shown`."""
        self._later = {_bits_of(number): open_tree for number, open_tree in later.items()}
        """Guarded by: `_opening`, and so is changing `_trees`."""
        self._opening = threading.Lock()
        self._listeners: list[ChangeListener] = []
        self._add_abilities(self._shown)

    def _add_abilities(self, shown: FileTree) -> None:
        """Have what the trees have, as attributes, so that `isinstance` finds it."""
        for name, method in (
            ("read_node", self._read_node),
            ("create", self._create),
            ("list_entries", self._list_entries),
            ("count_reference", self._count_reference),
            ("list_columns", self._list_columns),
            ("expect_read", self._expect_read),
            ("left_out", self._left_out),
        ):
            if hasattr(shown, name):
                setattr(self, name, method)
        if isinstance(shown, abilities.IgnoresFlush):
            self.ignores_flush = all(
                getattr(tree, "ignores_flush", False) for tree in self._trees.values()
            )
        watched = isinstance(shown, abilities.Watchable)
        untold = isinstance(shown, abilities.ChangesUnderneath) and shown.changes_underneath
        self.changes_underneath = not shown.static and (untold or not watched)

    # Which tree

    def _find(self, nodeid: NodeId) -> tuple[Any, NodeId, int]:
        """Return a node's tree, its nodeid there, and the bits of its generation."""
        if nodeid == ROOT:
            return self._shown, ROOT, self._bits
        bits = nodeid & ~_INNER
        tree = self._trees.get(bits)
        return tree or self._open_older(bits), NodeId(nodeid & _INNER), bits

    def _open_older(self, bits: int) -> Any:
        with self._opening:
            open_tree = self._later.pop(bits, None)
            if open_tree is not None:
                try:
                    self._trees[bits] = open_tree()
                except (ZarrfsError, OSError) as error:
                    raise StaleError("an older node", f"its store is gone: {error}") from error
        try:
            return self._trees[bits]
        except KeyError:
            raise StaleError("a node", "of a store replaced long ago") from None

    @property
    def read_only(self) -> bool:
        return self._shown.read_only

    @property
    def static(self) -> bool:
        return self._shown.static

    # Letting go

    def nodeids(self, number: int) -> Iterator[NodeId]:
        """Yield those of a generation that the kernel may refer to."""
        bits = _bits_of(number)
        tree = self._trees.get(bits) or self._open_older(bits)
        for nodeid in tree.nodeids():
            yield NodeId(nodeid | bits)

    def place_of(self, nodeid: NodeId) -> tuple[NodeId, bytes] | None:
        """Return the folder and name of an older node.

        None for what has no name, or has it in the root, whose names are the newest's.
        """
        tree, inner, bits = self._find(nodeid)
        parent = ROOT
        try:
            *folders, name = os.fsencode(tree.key_of(inner) or "").split(b"/")
            for folder in folders:
                parent = tree.lookup(parent, folder).nodeid
                tree.forget(parent, 1)  # the kernel's own reference keeps it
        except (ZarrfsError, OSError):  # open, but its folder is gone
            return None
        return (NodeId(parent | bits), name) if folders else None

    def drop(self, number: int) -> None:
        """Let go of a generation to which nobody refers; its tree stays its opener's to close."""
        with self._opening:
            self._later.pop(_bits_of(number), None)
            self._trees.pop(_bits_of(number), None)

    # What is told

    def announce(self, *before: int) -> None:
        """Tell the listeners that each name of the root means something else now.

        `before` are generations that may have been shown until now.
        """
        names = {entry.name for entry in self._shown.list_dir(ROOT)}
        for bits in map(_bits_of, before):
            with suppress(ZarrfsError, OSError):  # nothing of it is to be had any more
                old = self._trees.get(bits) or self._open_older(bits)
                names.update(entry.name for entry in old.list_dir(ROOT))
        for name in names:
            self._tell(Change(ROOT, name, None))
        self._tell(Change(None, b"", ROOT))

    def watch(self, listener: ChangeListener) -> None:
        self._listeners.append(listener)
        if len(self._listeners) > 1:
            return
        for bits, tree in self._trees.items():
            if isinstance(tree, abilities.Watchable):
                tree.watch(self._translated(bits))

    def _translated(self, bits: int) -> ChangeListener:
        """Return a listener to one generation."""

        def outer(nodeid: NodeId | None) -> NodeId | None:
            if nodeid == ROOT:
                return ROOT if bits == self._bits else None  # an older root is nobody's
            return None if nodeid is None else NodeId(nodeid | bits)

        def tell(change: Change) -> None:
            self._tell(Change(outer(change.parent), change.name, outer(change.nodeid)))

        return tell

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            listener(change)

    # Names and attributes

    def lookup(self, parent: NodeId, name: bytes) -> Entry:
        tree, inner, bits = self._find(parent)
        return _with_bits(tree.lookup(inner, name), bits)

    def forget(self, nodeid: NodeId, count: int) -> None:
        tree = self._trees.get(nodeid & ~_INNER)
        if tree is not None and nodeid != ROOT:
            tree.forget(NodeId(nodeid & _INNER), count)

    def _count_reference(self, nodeid: NodeId) -> None:
        tree, inner, _ = self._find(nodeid)
        tree.count_reference(inner)

    def attr(self, nodeid: NodeId) -> Attr:
        tree, inner, bits = self._find(nodeid)
        attr: Attr = tree.attr(inner)
        return attr if nodeid == ROOT else _attr_with_bits(attr, bits)

    def set_attr(self, nodeid: NodeId, change: AttrChange) -> Attr:
        tree, inner, bits = self._find(nodeid)
        attr: Attr = tree.set_attr(inner, change)
        return attr if nodeid == ROOT else _attr_with_bits(attr, bits)

    def read_link(self, nodeid: NodeId) -> bytes:
        tree, inner, _ = self._find(nodeid)
        target: bytes = tree.read_link(inner)
        return target

    def key_of(self, nodeid: NodeId) -> str | None:
        tree, inner, bits = self._find(nodeid)
        # What is not shown any more is as if it were unlinked.
        return tree.key_of(inner) if bits == self._bits else None

    # Listings

    def list_dir(self, nodeid: NodeId) -> Sequence[DirEntry]:
        tree, inner, bits = self._find(nodeid)
        return [entry._replace(ino=_ino(entry.ino, bits)) for entry in tree.list_dir(inner)]

    def _list_entries(self, nodeid: NodeId, start: int) -> Iterator[tuple[bytes, Entry]]:
        tree, inner, bits = self._find(nodeid)
        for name, entry in tree.list_entries(inner, start):
            yield name, _with_bits(entry, bits)

    def _list_columns(self, nodeid: NodeId, start: int, count: int) -> FolderColumns:
        import numpy as np  # only trees that have it imported have columns

        tree, inner, bits = self._find(nodeid)
        columns: FolderColumns = tree.list_columns(inner, start, count)
        return columns._replace(nodeids=columns.nodeids | np.uint64(bits))

    def _left_out(self, nodeid: NodeId) -> Mapping[str, str]:
        tree, inner, _ = self._find(nodeid)
        left_out: Mapping[str, str] = tree.left_out(inner)
        return left_out

    # Files

    def open(self, nodeid: NodeId, flags: int) -> OpenFile:
        tree, inner, _ = self._find(nodeid)
        file: OpenFile = tree.open(inner, flags)
        return file

    def _create(
        self, parent: NodeId, name: bytes, mode: int, owner: Owner, flags: int
    ) -> tuple[Entry, OpenFile]:
        tree, inner, bits = self._find(parent)
        entry, file = tree.create(inner, name, mode, owner, flags)
        return _with_bits(entry, bits), file

    def _read_node(self, nodeid: NodeId, offset: int, size: int) -> abilities.Buffer:
        tree, inner, _ = self._find(nodeid)
        content: abilities.Buffer = tree.read_node(inner, offset, size)
        return content

    def _expect_read(self, nodeid: NodeId) -> None:
        tree = self._trees.get(nodeid & ~_INNER)
        if tree is not None:
            tree.expect_read(NodeId(nodeid & _INNER))

    # Making, linking, removing, renaming

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
        tree, inner, bits = self._find(parent)
        return _with_bits(tree.make(inner, name, mode, owner, rdev=rdev, target=target), bits)

    def link(self, nodeid: NodeId, parent: NodeId, name: bytes) -> Entry:
        tree, inner, bits = self._find(nodeid)
        return _with_bits(tree.link(inner, self._within(bits, parent), name), bits)

    def _within(self, bits: int, nodeid: NodeId) -> NodeId:
        """Return a node's nodeid in one generation. Raises: OSError EXDEV for another's."""
        _, inner, its_bits = self._find(nodeid)
        if its_bits != bits:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return inner

    def unlink(self, parent: NodeId, name: bytes) -> None:
        tree, inner, _ = self._find(parent)
        tree.unlink(inner, name)

    def remove_dir(self, parent: NodeId, name: bytes) -> None:
        tree, inner, _ = self._find(parent)
        tree.remove_dir(inner, name)

    def rename(
        self, parent: NodeId, name: bytes, new_parent: NodeId, new_name: bytes, flags: int
    ) -> None:
        tree, inner, bits = self._find(parent)
        tree.rename(inner, name, self._within(bits, new_parent), new_name, flags)

    # Extended attributes

    def list_xattr(self, nodeid: NodeId) -> Sequence[bytes]:
        tree, inner, _ = self._find(nodeid)
        names: Sequence[bytes] = tree.list_xattr(inner)
        return names

    def get_xattr(self, nodeid: NodeId, name: bytes) -> bytes:
        tree, inner, _ = self._find(nodeid)
        value: bytes = tree.get_xattr(inner, name)
        return value

    def set_xattr(self, nodeid: NodeId, name: bytes, value: bytes, flags: int) -> None:
        tree, inner, _ = self._find(nodeid)
        tree.set_xattr(inner, name, value, flags)

    def remove_xattr(self, nodeid: NodeId, name: bytes) -> None:
        tree, inner, _ = self._find(nodeid)
        tree.remove_xattr(inner, name)

    # The whole

    def sync(self, nodeid: NodeId, *, data_only: bool) -> None:
        tree, inner, _ = self._find(nodeid)
        tree.sync(inner, data_only=data_only)

    def statfs(self) -> StatFs:
        return self._shown.statfs()

    def close(self) -> None:
        for tree in self._trees.values():
            tree.close()


def _bits_of(number: int) -> int:
    return number % _TAGS << NODEID_BITS


def _ino(ino: int, bits: int) -> int:
    """Files of two generations are two files, so their numbers differ where there is room."""
    return ino | bits if ino <= _INNER else ino


def _attr_with_bits(attr: Attr, bits: int) -> Attr:
    return attr._replace(ino=_ino(attr.ino, bits)) if bits else attr


def _with_bits(entry: Entry, bits: int) -> Entry:
    if not bits:
        return entry
    attr = entry.attr
    return entry._replace(
        nodeid=NodeId(entry.nodeid | bits), attr=attr._replace(ino=_ino(attr.ino, bits))
    )
