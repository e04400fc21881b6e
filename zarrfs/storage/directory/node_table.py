"""Which nodeid is which file: identity, places, references.

A node is an inode of the file system underneath, known by (st_dev, st_ino), so
that hard links share it. A *place* is a folder's nodeid and a name in it; a
node has as many places as names were seen. Places refer to folders by nodeid,
so renaming a folder changes one place and nothing beneath it.

A node lives while the kernel refers to it or another node has a place in it.
Any thread may call this; one lock, held for a few dictionary operations and
never across a system call.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from zarrfs.errors import StaleError
from zarrfs.storage.directory.node_log import Kind
from zarrfs.storage.tree import ROOT, NodeId

if TYPE_CHECKING:
    import os

    from zarrfs.storage.directory.descriptors import Descriptor
    from zarrfs.storage.directory.node_log import LoggedChange, NodeLog

Place: TypeAlias = tuple[NodeId, bytes]
Identity: TypeAlias = tuple[int, int, int]
"""st_dev, st_ino and the type: a reused inode number is seldom of the same type."""

_MOST_PLACES = 16
_NODE, _COUNT, _ENTER = int(Kind.NODE), int(Kind.COUNT), int(Kind.ENTER)
"""As plain numbers, which are compared for each record of a log."""
_TYPE_BITS = stat.S_IFMT(0xFFFF)


@dataclass(slots=True, eq=False)
class Node:
    """One inode. All fields but the first two are guarded by the table's lock."""

    nodeid: NodeId
    identity: Identity
    references: int = 0
    """How often the kernel was given this nodeid and did not forget it."""
    dependents: int = 0
    """How many places of other nodes are in this folder."""
    places: list[Place] = field(default_factory=list)
    """The latest last; empty once all were unlinked."""
    descriptors: list[Descriptor] = field(default_factory=list)
    """Open files, through which an unlinked node can still be reached."""

    def is_of(self, status: os.stat_result) -> bool:
        """Whether a stat result is of this very inode."""
        return self.identity == identity_of(status)


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """What another process needs to go on with a node."""

    nodeid: NodeId
    identity: Identity
    references: int
    places: tuple[Place, ...]
    is_lost: bool
    """Whether its inode number may be another file's by now."""


def identity_of(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_mode & _TYPE_BITS


class NodeTable:
    """The nodes of one tree."""

    def __init__(self, root: os.stat_result) -> None:
        self._lock = threading.Lock()
        self._next = ROOT + 1
        """Guarded by: `_lock`."""
        node = Node(ROOT, identity_of(root), references=1)
        self._nodes: dict[NodeId, Node] = {ROOT: node}
        """Guarded by: `_lock`; single reads need no lock."""
        self._by_identity: dict[Identity, Node] = {node.identity: node}
        """Guarded by: `_lock`. Without nodes that have no place left."""
        self._by_place: dict[Place, Node] = {}
        """Guarded by: `_lock`."""
        self.version = 0
        """How often names were taken away. Guarded by: `_lock` for changing."""
        self._log: NodeLog | None = None
        """Guarded by: `_lock`. Where a successor will find all this."""
        self._renaming: dict[NodeId, Place] = {}
        """What a predecessor may have been renaming when it died, and whither."""

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, nodeid: NodeId) -> bool:
        return nodeid in self._nodes

    def get(self, nodeid: NodeId) -> Node:
        """Raises: StaleError."""
        try:
            return self._nodes[nodeid]
        except KeyError:
            raise StaleError(f"node {nodeid}", "no such node") from None

    def found(self, parent: NodeId, name: bytes, status: os.stat_result) -> NodeId:
        """A place holds this inode: count one reference and return its nodeid."""
        nodeid = self.seen(parent, name, status, None)
        assert nodeid is not None
        return nodeid

    def seen(
        self, parent: NodeId, name: bytes, status: os.stat_result, version: int | None
    ) -> NodeId | None:
        """As `found`, for a stat that was made when the table had this version.

        None when names were taken away since and the stat says something new:
        it may be older than what the table knows. Then stat again.
        """
        identity = identity_of(status)
        place = (parent, name)
        with self._lock:
            node = self._by_place.get(place)
            if node is None or node.identity != identity:
                if version is not None and version != self.version:
                    return None
                node = self._settle(place, node, identity)
            else:
                self._count(node, 1)
            return node.nodeid

    def _count(self, node: Node, change: int) -> None:
        node.references += change
        if self._log is not None:
            self._log.count(node.nodeid, change)

    def _settle(self, place: Place, before: Node | None, identity: Identity) -> Node:
        """Note that a place holds another inode than was known, and count. Lock held."""
        if before is not None:
            self._leave(before, place)
        node = self._by_identity.get(identity)
        if node is not None:
            self._enter(node, place)
            self._count(node, 1)
        else:
            node = Node(NodeId(self._next), identity, references=1)
            self._next += 1
            self._nodes[node.nodeid] = node
            self._by_identity[identity] = node
            if self._log is not None:
                self._log.node_at(node.nodeid, identity, place)
            self._place(node, place)
        self._compact_log()
        return node

    def _enter(self, node: Node, place: Place) -> None:
        if node.nodeid == ROOT:
            return  # the root seen again inside itself: a bind mount
        if len(node.places) >= _MOST_PLACES:
            self._leave(node, node.places[0])
        if self._log is not None:
            self._log.at(Kind.ENTER, node.nodeid, place)
        self._place(node, place)

    def _place(self, node: Node, place: Place) -> None:
        node.places.append(place)
        self._by_place[place] = node
        parent = self._nodes.get(place[0])
        if parent is not None:
            parent.dependents += 1

    def _leave(self, node: Node, place: Place) -> None:
        """Take a place from a node. Lock held."""
        if self._log is not None:
            self._log.at(Kind.LEAVE, node.nodeid, place)
        del self._by_place[place]
        node.places.remove(place)
        self._drop_if_unused(node)
        parent = self._nodes.get(place[0])
        if parent is not None:
            parent.dependents -= 1
            self._drop_if_unused(parent)

    def _drop_if_unused(self, node: Node) -> None:
        if node.references > 0 or node.dependents > 0 or node.nodeid == ROOT:
            return
        if self._nodes.pop(node.nodeid, None) is None:
            return
        self._lose_identity(node)
        if self._log is not None:
            self._log.end(Kind.DROP, node.nodeid)
        for place in tuple(node.places):
            self._leave(node, place)

    def count(self, nodeid: NodeId) -> None:
        """The kernel was given a nodeid once more."""
        with self._lock:
            self._count(self.get(nodeid), 1)

    def forget(self, nodeid: NodeId, count: int) -> None:
        """The kernel gives references back."""
        with self._lock:
            node = self._nodes.get(nodeid)
            if node is None or nodeid == ROOT:
                return
            self._count(node, -count)
            self._drop_if_unused(node)

    def unlinked(self, parent: NodeId, name: bytes, *, last: bool) -> None:
        """A place holds nothing any more; `last` when the inode went with it.

        Then its number may soon be another file's.
        """
        with self._lock:
            self.version += 1
            node = self._by_place.get((parent, name))
            if node is None:
                return
            if last:
                self._lose_identity(node)
            self._leave(node, (parent, name))

    def _lose_identity(self, node: Node) -> None:
        if self._by_identity.get(node.identity) is node:
            del self._by_identity[node.identity]
            if self._log is not None:
                self._log.end(Kind.LOSE, node.nodeid)

    def about_to_rename(self, old: Place, new: Place) -> None:
        """Say so before it is done, for a successor that finds only the result."""
        if self._log is None:
            return
        with self._lock:
            node = self._by_place.get(old)
            if node is not None:
                self._log.at(Kind.RENAMING, node.nodeid, new)

    def renamed(self, old: Place, new: Place, *, exchange: bool, last: bool) -> None:
        """What was at `old` is now at `new`; with `exchange`, also the reverse.

        `last` says that the inode which was at `new` went with its name.
        """
        with self._lock:
            self.version += 1
            moved, displaced = self._by_place.get(old), self._by_place.get(new)
            if moved is displaced:
                return  # rename(2) leaves two names of one file alone
            if last and displaced is not None:
                self._lose_identity(displaced)
            for node in (moved, displaced):
                if node is not None:
                    node.references += 1  # lives through the change
            if moved is not None:
                self._leave(moved, old)
            if displaced is not None:
                self._leave(displaced, new)
            if moved is not None:
                self._enter(moved, new)
            if displaced is not None and exchange:
                self._enter(displaced, old)
            for node in (moved, displaced):
                if node is not None:
                    node.references -= 1
                    self._drop_if_unused(node)

    def at(self, parent: NodeId, name: bytes) -> Node | None:
        """Return the node that was last seen at a place."""
        return self._by_place.get((parent, name))

    def names_to(self, nodeid: NodeId) -> list[bytes] | None:
        """Return the names from the root to a node, or None when it has no place."""
        names: list[bytes] = []
        with self._lock:
            while nodeid != ROOT:
                node = self._nodes.get(nodeid)
                if node is None or not node.places:
                    return None
                nodeid, name = node.places[-1]
                names.append(name)
        names.reverse()
        return names

    def opened(self, node: Node, descriptor: Descriptor) -> None:
        with self._lock:
            node.descriptors.append(descriptor)

    def closed(self, node: Node, descriptor: Descriptor) -> None:
        with self._lock:
            if descriptor in node.descriptors:
                node.descriptors.remove(descriptor)

    def all(self) -> list[NodeId]:
        with self._lock:
            return list(self._nodes)

    def open_files(self) -> list[tuple[NodeId, Descriptor]]:
        """Return a descriptor of each node that is open."""
        with self._lock:
            return [
                (node.nodeid, node.descriptors[-1])
                for node in self._nodes.values()
                if node.descriptors
            ]

    def _records(self) -> Iterator[NodeRecord]:
        """Yield all nodes but the root. Lock held."""
        for node in self._nodes.values():
            if node.nodeid != ROOT:
                identity, places = node.identity, tuple(node.places)
                is_lost = self._by_identity.get(identity) is not node
                yield NodeRecord(node.nodeid, identity, node.references, places, is_lost)

    def keep_log(self, log: NodeLog) -> None:
        """Take over the nodes of a predecessor's log; log every change from now on.

        The table must be fresh.
        """
        with self._lock:
            for change in log.changes():
                self._redo(change)
            self._log = log

    def _redo(self, change: LoggedChange) -> None:
        """Carry out one change of a predecessor. Lock held, no log yet."""
        kind, nodeid, references, identity, place = change
        if kind == _NODE:
            node = Node(nodeid, identity, references)
            self._nodes[nodeid] = self._by_identity[identity] = node
            if nodeid >= self._next:
                self._next = nodeid + 1
            return
        known = self._nodes.get(nodeid)
        if known is None:
            return
        if kind == _COUNT:
            known.references += references
        elif kind == _ENTER:
            self._place(known, place)
        else:
            self._redo_end(Kind(kind), known, place)

    def _redo_end(self, kind: Kind, node: Node, place: Place) -> None:
        match kind:
            case Kind.LEAVE if place in node.places:
                self._renaming.pop(node.nodeid, None)
                self._leave(node, place)
            case Kind.LOSE:
                self._lose_identity(node)
            case Kind.DROP:
                self._drop_if_unused(node)
            case Kind.RENAMING:
                self._renaming[node.nodeid] = place

    def take_renaming(self) -> list[tuple[Node, Place]]:
        """Return what a predecessor was about to rename and did not note as renamed.

        Those that failed are among them.
        """
        with self._lock:
            begun, self._renaming = self._renaming, {}
            return [
                (self._nodes[nodeid], new) for nodeid, new in begun.items() if nodeid in self._nodes
            ]

    def _compact_log(self) -> None:
        if self._log is not None and self._log.wants_compacting:
            self._log.compact(self._records())

    def close(self) -> None:
        """Let go of the log; what it says stays with whoever keeps the memory."""
        with self._lock:
            log, self._log = self._log, None
        if log is not None:
            log.close()

    def check_invariants(self) -> None:
        """Assert what always holds; for tests."""
        with self._lock:
            for place, node in self._by_place.items():
                assert place in node.places, (place, node)
                assert self._nodes[node.nodeid] is node
            counted: dict[NodeId, int] = {}
            for node in self._nodes.values():
                assert node.references >= 0, node
                for parent, _ in node.places:
                    counted[parent] = counted.get(parent, 0) + 1
            for nodeid, count in counted.items():
                assert self._nodes[nodeid].dependents == count, nodeid
