"""What a commit has to write: the difference between a tree and its archive.

Only nodes that were touched are looked at, and whatever lies below a folder
that was moved; entries of the base that stay as they are cost nothing. Reads
the tree's state; the caller holds its lock. What comes out refers to nothing
that later changes of the tree alter, as long as the caller holds a pin of the
journal's space.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from zarrfs.storage.inodes.extents import IN_BASE, Extent
from zarrfs.storage.inodes.node import HIDDEN, Node
from zarrfs.storage.inodes.records import Settled
from zarrfs.storage.inodes.state import TreeState
from zarrfs.storage.tree import ROOT, Attr, NodeId, Owner
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.attributes import DEFAULT_FOLDER
from zarrfs.storage.zip.index import NO_ENTRY
from zarrfs.zarr_format.keys import is_temporary_name

_KEPT_TYPES = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


class Content(NamedTuple):
    """Bytes of the tree, to be stored."""

    extents: list[Extent]
    size: int


class Packed(NamedTuple):
    """An entry of the base under another name: its bytes are copied as they are."""

    row: int


class Plain(NamedTuple):
    """A link's target, or nothing (a folder)."""

    data: bytes


class SameEntry(NamedTuple):
    """An entry of the base of which only the directory record changes."""

    row: int


Source: TypeAlias = Content | Packed | Plain | SameEntry | Settled


class Planned(NamedTuple):
    """One entry of the archive to be, other than those of the base that stay."""

    nodeid: NodeId
    path: bytes
    """With a slash at the end for a folder."""
    mode: int
    mtime_ns: int
    owner: tuple[int, int] | None
    """uid and gid, where they are not the archive's owner's."""
    source: Source


@dataclass(slots=True)
class Plan:
    entries: list[Planned] = field(default_factory=list)
    dropped_rows: set[int] = field(default_factory=set)
    """Rows of the base whose directory records go."""

    @property
    def changes_nothing(self) -> bool:
        return not self.entries and not self.dropped_rows


def plan_commit(state: TreeState, archive: Archive | None, owner: Owner) -> Plan:
    """Compare a tree with the archive beneath it, if there is one."""
    planner = _Planner(state, archive, owner)
    planner.run()
    return planner.plan


class _Planner:
    def __init__(self, state: TreeState, archive: Archive | None, owner: Owner) -> None:
        self.plan = Plan()
        self._owner = (owner.uid, owner.gid)
        self._state = state
        self._base = state.base
        self._own_entry = archive.index.views["entry"] if archive else None
        self._stays: dict[int, bool] = {ROOT: True}

    def run(self) -> None:
        for node in list(self._state.nodes.values()):
            if not self._node_stays(node.nodeid):
                if self._is_of_base(node.nodeid):
                    self._drop(node.nodeid)
                continue
            if node.nodeid != ROOT:
                self._compare(node)
            for name, child in (node.names or {}).items():
                if child != HIDDEN and not self._node_stays_as(child, node.nodeid, name):
                    self._add(child, self._path(node.nodeid) + name)

    def _is_of_base(self, nodeid: int) -> bool:
        return nodeid <= self._state.last_base_nodeid

    def _node_stays(self, nodeid: int) -> bool:
        """Whether a node of the base is still where it was, and all folders above it."""
        known = self._stays.get(nodeid)
        if known is not None:
            return known
        stays = False
        if self._base is not None and self._is_of_base(nodeid):
            parent, name = self._base.place(NodeId(nodeid))
            stays = self._state.child(parent, name) == nodeid and self._node_stays(parent)
        self._stays[nodeid] = stays
        return stays

    def _node_stays_as(self, nodeid: int, parent: int, name: bytes) -> bool:
        if self._base is None or not self._node_stays(nodeid):
            return False
        return self._base.place(NodeId(nodeid)) == (parent, name)

    def _compare(self, node: Node) -> None:
        """Plan what changed of a node of the base that is still in its place."""
        assert self._base is not None
        row = node.nodeid - 1
        before = self._base.entry(node.nodeid).attr
        if node.is_folder:
            self._compare_folder(node, before, row)
            return
        same_content = self._is_whole_base(node) or not node.is_file
        if same_content and _shown_attributes(node.attr()) == _shown_attributes(before):
            return
        self._drop(node.nodeid)
        path = self._path(node.nodeid)[:-1]
        source = SameEntry(row) if same_content else self._source_of(node, path)
        if source is not None:
            self._plan(node, path, source)

    def _compare_folder(self, node: Node, before: Attr, row: int) -> None:
        """A folder has an entry if it had one, is empty, or has a mode of its own."""
        if self._own_entry is None or self._own_entry[row] == NO_ENTRY:
            if self._needs_entry(node.nodeid, node.mode):
                self._add_folder(node.nodeid, self._path(node.nodeid))
        elif _shown_attributes(node.attr()) != _shown_attributes(before):
            self._drop(node.nodeid)
            self._plan(node, self._path(node.nodeid), SameEntry(row))

    def _drop(self, nodeid: int) -> None:
        self.plan.dropped_rows.add(nodeid - 1)

    # Names that are new

    def _add(self, nodeid: int, path: bytes) -> None:
        """Plan entries for a node under a new name, and for all that is below it."""
        pending = [(nodeid, path)]
        while pending:
            nodeid, path = pending.pop()
            if self._is_of_base(nodeid) and not self._node_stays(nodeid):
                self._drop(nodeid)
            mode = self._state.entry(nodeid).attr.mode
            if not stat.S_ISDIR(mode):
                self._add_file(nodeid, path)
                continue
            if self._needs_entry(nodeid, mode):
                self._add_folder(nodeid, path + b"/")
            children = [
                (entry.nodeid, path + b"/" + name) for name, entry in self._state.children(nodeid)
            ]
            pending += reversed(children)

    def _needs_entry(self, folder: int, mode: int) -> bool:
        if stat.S_IMODE(mode) != stat.S_IMODE(DEFAULT_FOLDER):
            return True
        return next(self._kept_children(folder), None) is None

    def _kept_children(self, folder: int) -> Iterator[bytes]:
        for name, entry in self._state.children(folder):
            mode = entry.attr.mode
            if stat.S_ISDIR(mode) or not _is_left_out(name, mode):
                yield name

    def _add_folder(self, nodeid: int, path: bytes) -> None:
        node = self._state.nodes.get(nodeid)
        attr = self._state.entry(nodeid).attr
        settled = node.settled.get(path) if node is not None and node.settled else None
        self._append(nodeid, path, attr, attr.mtime_ns, settled or Plain(b""))

    def _add_file(self, nodeid: int, path: bytes) -> None:
        attr = self._state.entry(nodeid).attr
        if _is_left_out(path.rpartition(b"/")[2], attr.mode):
            return
        node = self._state.nodes.get(nodeid)
        if node is None:
            self._append(nodeid, path, attr, attr.mtime_ns, Packed(nodeid - 1))
            return
        source = self._source_of(node, path)
        if source is not None:
            self._plan(node, path, source)

    def _plan(self, node: Node, path: bytes, source: Source) -> None:
        # A file that is being written keeps the time of what is published of it.
        written = node.is_file and node.unpublished
        mtime_ns = node.published_mtime_ns if written else node.mtime_ns
        self._append(node.nodeid, path, node.attr(), mtime_ns, source)

    def _append(self, nodeid: int, path: bytes, attr: Attr, mtime_ns: int, source: Source) -> None:
        owner = (attr.uid, attr.gid)
        named = owner if owner != self._owner else None
        self.plan.entries.append(Planned(NodeId(nodeid), path, attr.mode, mtime_ns, named, source))

    def _is_whole_base(self, node: Node) -> bool:
        """Whether what is published of a file is what the base holds of it."""
        if self._base is None or not self._is_of_base(node.nodeid):
            return False
        size = self._base.entry(node.nodeid).attr.size
        whole = [Extent(0, size, IN_BASE)] if size else []
        return node.published_size == size and node.published == whole

    def _source_of(self, node: Node, path: bytes) -> Source | None:
        """Return where an entry's bytes come from; None if the file was never published."""
        if node.settled and path in node.settled:
            return node.settled[path]
        if not node.is_file:
            return Plain(node.target)
        if node.published is None:
            return None
        if self._is_whole_base(node):
            return Packed(node.nodeid - 1)
        return Content(node.published, node.published_size)

    def _path(self, nodeid: int) -> bytes:
        """Return a node's path with a slash at its end, or nothing for the root."""
        parts = []
        while nodeid != ROOT:
            place = self._state.place(nodeid)
            assert place is not None
            nodeid, name = place
            parts.append(name + b"/")
        return b"".join(reversed(parts))


def _is_left_out(name: bytes, mode: int) -> bool:
    """Whether a name has no place in an archive: unfinished work of a writer, a device."""
    if stat.S_IFMT(mode) not in _KEPT_TYPES:
        return True
    return not stat.S_ISDIR(mode) and is_temporary_name(name.decode("utf-8", "surrogateescape"))


def _shown_attributes(attr: Attr) -> tuple[int, ...]:
    """Return what an entry keeps of a node's attributes."""
    return attr.mode, attr.uid, attr.gid, attr.mtime_ns
