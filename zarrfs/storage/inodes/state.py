"""What the journal's records add up to: nodes, names, contents; and `apply`.

`apply` is the only way anything changes, live or in a replay, so that a
successor ends with the same tree. It trusts its records: whether a change is
allowed was decided in `tree` before the record was written. Everything here is
guarded by the tree's lock (`Journal.lock`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import cast

from zarrfs.errors import NotAFolderError, StaleError
from zarrfs.storage.inodes import records
from zarrfs.storage.inodes.base import Base
from zarrfs.storage.inodes.extents import (
    IN_ARCHIVE,
    IN_BASE,
    Extent,
    cut,
    data_bytes,
    journal_ranges,
    put,
    subtract,
    unpack,
)
from zarrfs.storage.inodes.node import HIDDEN, NO_PARENT, Node
from zarrfs.storage.inodes.records import Record
from zarrfs.storage.tree import ROOT, Entry, NodeId

RENAME_EXCHANGE = 2


class TreeState:
    """All nodes that are not untouched nodes of the base."""

    def __init__(self, base: Base | None = None) -> None:
        self.base = base
        self.last_base_nodeid = base.last_nodeid if base else 0
        self.nodes: dict[int, Node] = {}
        self.next_nodeid = max(ROOT, self.last_base_nodeid) + 1
        self.dead: list[tuple[int, int]] = []
        """Journal ranges that the changes so far left unused; the owner takes them."""
        self._handlers: dict[type, Callable[..., None]] = {
            records.Make: self._make,
            records.Link: self._link,
            records.Remove: self._remove,
            records.Rename: self._rename,
            records.SetAttr: self._set_attr,
            records.Write: self._write,
            records.Relocate: self._relocate,
            records.Settled: self._settled,
            records.Clear: self._clear,
            records.Replace: self._replace,
            records.Publish: self._publish,
            records.SetXattr: self._set_xattr,
            records.RemoveXattr: self._remove_xattr,
            records.Drop: self._drop,
            records.Whole: self._whole,
            records.Name: self._name,
            records.NextNode: self._next_node,
        }

    def apply(self, record: Record) -> None:
        self._handlers[type(record)](record)

    # Finding

    def node(self, nodeid: int) -> Node:
        """Return a node, copied up from the base if need be. Raises: StaleError."""
        return self.nodes.get(nodeid) or self._copy_up(nodeid)

    def _copy_up(self, nodeid: int) -> Node:
        if self.base is None or not 1 <= nodeid <= self.last_base_nodeid:
            raise StaleError(f"node {nodeid}")
        attr = self.base.entry(NodeId(nodeid)).attr
        node = Node(NodeId(nodeid), attr.mode, attr.uid, attr.gid, attr.mtime_ns)
        node.atime_ns, node.ctime_ns = attr.atime_ns, attr.ctime_ns
        node.nlink, node.rdev, node.size = attr.nlink, attr.rdev, attr.size
        node.in_base = node.is_folder
        node.inherited = True
        if node.is_file and attr.size:
            node.extents = [Extent(0, attr.size, IN_BASE)]
            node.data_bytes = attr.size
        elif stat.S_ISLNK(attr.mode):
            node.target = self.base.read_link(node.nodeid)
        node.publish()
        if nodeid != ROOT:
            node.parent, node.name = self.base.place(node.nodeid)
        self.nodes[nodeid] = node
        return node

    def folder(self, nodeid: int) -> Node:
        """Raises: StaleError, NotAFolderError."""
        node = self.node(nodeid)
        if node.names is None:
            raise NotAFolderError(os.fsdecode(node.name))
        return node

    def child(self, parent: int, name: bytes) -> int | None:
        """Return the nodeid under a name; None if there is none, or `parent` is no folder."""
        folder = self.nodes.get(parent)
        if folder is not None:
            if folder.names is None:
                return None
            nodeid = folder.names.get(name)
            if nodeid is not None:
                return nodeid or None
            if not folder.in_base:
                return None
        if self.base is None:
            return None
        return self.base.find(NodeId(parent), name)

    def children(self, parent: int) -> Iterator[tuple[bytes, Entry]]:
        """Yield the names of a folder and what they mean, those of the base first."""
        folder = self.nodes.get(parent)
        names = (folder and folder.names) or {}
        if self.base is not None and (folder is None or folder.in_base):
            for name, entry in self.base.children(NodeId(parent)):
                if name not in names:
                    node = self.nodes.get(entry.nodeid)
                    yield name, node.entry() if node else entry
        for name, nodeid in names.items():
            if nodeid != HIDDEN:
                yield name, self.entry(nodeid)

    def entry(self, nodeid: int) -> Entry:
        """Return what a lookup answers, without copying anything up. Raises: StaleError."""
        node = self.nodes.get(nodeid)
        if node is not None:
            return node.kept_entry or node.entry()
        if self.base is None or nodeid > self.last_base_nodeid:
            raise StaleError(f"node {nodeid}")
        return self.base.entry(NodeId(nodeid))

    def place(self, nodeid: int) -> tuple[int, bytes] | None:
        """Return a parent and name of a node, or None if it has no name (or is the root)."""
        node = self.nodes.get(nodeid)
        if node is not None:
            return (node.parent, node.name) if node.parent else None
        if self.base is None or nodeid == ROOT:
            return None
        return self.base.place(NodeId(nodeid))

    # Names

    def _make(self, record: records.Make) -> None:
        nodeid = NodeId(record.nodeid)
        node = Node(nodeid, record.mode, record.uid, record.gid, record.time_ns)
        node.rdev = record.rdev
        node.target = record.target
        node.size = len(record.target)
        self.nodes[nodeid] = node
        self.next_nodeid = max(self.next_nodeid, record.nodeid + 1)
        if record.parent == NO_PARENT:  # the root itself
            node.nlink = 2
            return
        parent = self.folder(record.parent)
        if node.is_folder:
            node.nlink = 2
            parent.nlink += 1
        self._add_name(parent, record.name, node)
        _changed(parent, record.time_ns)

    def _link(self, record: records.Link) -> None:
        node, parent = self.node(record.nodeid), self.folder(record.parent)
        node.nlink += 1
        self._add_name(parent, record.name, node)
        _changed(parent, record.time_ns)
        _attributes_changed(node, record.time_ns)

    def _remove(self, record: records.Remove) -> None:
        parent = self.folder(record.parent)
        node = self.node(cast(int, self.child(record.parent, record.name)))
        self._unlink(parent, record.name, node, record.time_ns)
        _changed(parent, record.time_ns)

    def _rename(self, record: records.Rename) -> None:
        old, new = self.folder(record.parent), self.folder(record.new_parent)
        node = self.node(cast(int, self.child(record.parent, record.name)))
        replaced_id = self.child(record.new_parent, record.new_name)
        self._take_name(old, record.name, node)
        if replaced_id is not None:
            replaced = self.node(replaced_id)
            if record.flags & RENAME_EXCHANGE:
                self._take_name(new, record.new_name, replaced)
                self._add_name(old, record.name, replaced)
                _move_folder_link(replaced, new, old)
                _attributes_changed(replaced, record.time_ns)
            else:
                self._unlink(new, record.new_name, replaced, record.time_ns)
        self._add_name(new, record.new_name, node)
        _move_folder_link(node, old, new)
        _attributes_changed(node, record.time_ns)
        _changed(old, record.time_ns)
        _changed(new, record.time_ns)

    def _unlink(self, parent: Node, name: bytes, node: Node, time_ns: int) -> None:
        self._take_name(parent, name, node)
        if node.is_folder:
            node.nlink = 0
            parent.nlink -= 1
        else:
            node.nlink -= 1
        _attributes_changed(node, time_ns)

    def _add_name(self, parent: Node, name: bytes, node: Node) -> None:
        assert parent.names is not None
        parent.names[name] = node.nodeid
        if node.parent:
            if node.other_names is None:
                node.other_names = set()
            node.other_names.add((node.parent, node.name))
        node.parent, node.name = parent.nodeid, name

    def _take_name(self, parent: Node, name: bytes, node: Node) -> None:
        assert parent.names is not None
        if parent.in_base and self.base and self.base.find(parent.nodeid, name):
            parent.names[name] = HIDDEN
        else:
            del parent.names[name]
        if (node.parent, node.name) != (parent.nodeid, name):
            assert node.other_names is not None
            node.other_names.discard((parent.nodeid, name))
        elif node.other_names:
            other, node.name = node.other_names.pop()
            node.parent = NodeId(other)
        else:
            node.parent, node.name = NO_PARENT, b""

    # Attributes

    def _set_attr(self, record: records.SetAttr) -> None:
        node = self.node(record.nodeid)
        node.mode, node.uid, node.gid = record.mode, record.uid, record.gid
        if node.is_file and record.size != node.size:
            self._resize(node, record.size)
        node.atime_ns, node.mtime_ns = record.atime_ns, record.mtime_ns
        _attributes_changed(node, record.ctime_ns)

    def _set_xattr(self, record: records.SetXattr) -> None:
        node = self.node(record.nodeid)
        if node.xattrs is None:
            node.xattrs = {}
        node.xattrs[record.name] = record.value
        _attributes_changed(node, record.time_ns)

    def _remove_xattr(self, record: records.RemoveXattr) -> None:
        node = self.node(record.nodeid)
        if node.xattrs is not None:
            del node.xattrs[record.name]
        _attributes_changed(node, record.time_ns)

    # Contents

    def _write(self, record: records.Write) -> None:
        nodeid, offset, size, source, _, time_ns = record
        node = self.node(nodeid)
        self._put(node, Extent(offset, offset + size, source))
        node.size = max(node.size, offset + size)
        _changed(node, time_ns)

    def _relocate(self, record: records.Relocate) -> None:
        node = self.node(record.nodeid)
        extent = Extent(record.offset, record.offset + record.size, record.source)
        published, settled = node.published is node.extents, node.settled
        self._put(node, extent)
        node.touch()
        if published:
            self._publish_node(node)
            node.settled = settled

    def _put(self, node: Node, extent: Extent) -> None:
        removed = put(node.own_extents(), extent)
        node.data_bytes += extent.stop - extent.start
        if removed:
            node.data_bytes -= data_bytes(removed)
            self.dead.extend(node.unshared(removed))

    def _settled(self, record: records.Settled) -> None:
        node = self.node(record.nodeid)
        if record.source != records.NOT_RELOCATED:
            where = Extent(0, record.size, IN_ARCHIVE | record.source)
            self._relocate_published(node, [where] if record.size else [])
        if node.settled is None:
            node.settled = {}
        node.settled[record.path] = record

    def _relocate_published(self, node: Node, extents: list[Extent]) -> None:
        """What is published is found elsewhere now, whatever was written since."""
        if node.published is node.extents:
            self._bury_all(node)
            node.extents = node.published = extents
            node.data_bytes = data_bytes(extents)  # holes were written out as zeros
            node.touch()
            return
        before = journal_ranges(node.published or ())
        self.dead.extend(subtract(before, journal_ranges(node.extents)))
        node.published = extents
        node.horizon = 0

    def _clear(self, record: records.Clear) -> None:
        node = self.node(record.nodeid)
        self._cut(node, record.offset, record.offset + record.size)
        if record.new_size != node.size:
            self._resize(node, record.new_size)
        _changed(node, record.time_ns)

    def _resize(self, node: Node, size: int) -> None:
        if size < node.size:
            self._cut(node, size, node.size)
        node.size = size

    def _cut(self, node: Node, start: int, stop: int) -> None:
        removed = cut(node.own_extents(), start, stop)
        if removed:
            node.data_bytes -= data_bytes(removed)
            self.dead.extend(node.unshared(removed))

    def _replace(self, record: records.Replace) -> None:
        node = self.node(record.nodeid)
        self._bury_all(node)
        node.extents = [Extent(0, record.size, record.source)] if record.size else []
        node.size = node.data_bytes = record.size
        _changed(node, record.time_ns)
        node.publish()
        node.settled = None

    def _publish(self, record: records.Publish) -> None:
        self._publish_node(self.node(record.nodeid))

    def _publish_node(self, node: Node) -> None:
        before = node.published
        if before and before is not node.extents:
            self.dead.extend(subtract(journal_ranges(before), journal_ranges(node.extents)))
        if before is not node.extents or node.published_size != node.size:
            node.settled = None
        node.publish()

    def _drop(self, record: records.Drop) -> None:
        node = self.node(record.nodeid)
        self._bury_all(node)
        if record.nodeid > self.last_base_nodeid:
            del self.nodes[record.nodeid]
        else:  # without it the base's node would show through again
            node.extents = node.published = []
            node.size = node.data_bytes = 0

    def _bury_all(self, node: Node) -> None:
        ranges = list(journal_ranges(node.extents))
        if node.published and node.published is not node.extents:
            ranges += subtract(journal_ranges(node.published), ranges)
        self.dead += ranges

    # Checkpoints

    def _whole(self, record: records.Whole) -> None:
        node = Node(NodeId(record.nodeid), record.mode, record.uid, record.gid, record.mtime_ns)
        node.rdev, node.nlink, node.size = record.rdev, record.nlink, record.size
        node.atime_ns, node.ctime_ns = record.atime_ns, record.ctime_ns
        node.parent, node.name = NodeId(record.parent), record.name
        node.in_base = bool(record.in_base)
        node.target = record.target
        node.extents = unpack(record.extents)
        node.data_bytes = data_bytes(node.extents)
        if record.publication:
            node.published = node.extents
        if record.publication == PUBLISHED_OTHER:
            node.published = unpack(record.published)
            node.horizon = max((end for _, end in journal_ranges(node.published)), default=0)
        node.published_size = record.published_size
        node.published_mtime_ns = record.published_mtime_ns
        self.nodes[record.nodeid] = node

    def _name(self, record: records.Name) -> None:
        parent = self.folder(record.parent)
        assert parent.names is not None
        parent.names[record.name] = record.child
        if record.child == HIDDEN:
            return
        node = self.node(record.child)
        if (node.parent, node.name) != (parent.nodeid, record.name):
            if node.other_names is None:
                node.other_names = set()
            node.other_names.add((parent.nodeid, record.name))

    def _next_node(self, record: records.NextNode) -> None:
        self.next_nodeid = record.nodeid


PUBLISHED_SAME = 1
PUBLISHED_OTHER = 2
"""`Whole.publication`; 0 is a file that was never published."""


def _changed(node: Node, time_ns: int) -> None:
    node.mtime_ns = node.ctime_ns = time_ns
    node.kept_entry = None


def _attributes_changed(node: Node, time_ns: int) -> None:
    node.ctime_ns = time_ns
    node.kept_entry = None


def _move_folder_link(node: Node, old: Node, new: Node) -> None:
    if node.is_folder and old is not new:
        old.nlink -= 1
        new.nlink += 1
