"""The node table's changes in shared memory, for whoever takes over when we die.

A memfd holds records, one after the other, each written before the kernel is
told what it says. A process that gets the memfd has all nodes again. The memory
outlives SIGKILL, not the machine: nodeids mean nothing after the mount is gone.

A record is a head and what follows it by kind; the byte that tells the kind is
stored last, so that a record which was being written is not there yet. When
dead records are most of it, the table is written to a fresh memfd, which then
takes the place of the old one. Not thread-safe: the table's lock is held.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from zarrfs.storage.tree import NodeId

if TYPE_CHECKING:
    from zarrfs.storage.directory.node_table import Identity, NodeRecord, Place

_GROWTH_BYTES: Final = 1 << 20
_LEAST_TO_COMPACT_BYTES: Final = 128 << 10
"""Reading so much again takes a successor some ten milliseconds."""

_HEAD: Final = struct.Struct("<BxHiQ")
"""Kind, length of the name, count, nodeid."""
_IDENTITY: Final = struct.Struct("<QQI4x")
"""st_dev, st_ino, type."""
_PARENT: Final = struct.Struct("<Q")
_NODE_AT: Final = struct.Struct("<BxHiQ QQI4x BxHiQ Q")
"""NODE and, behind it, ENTER up to the name: memory that is fresh is all zeros, so
the name needs no padding."""


class Kind(IntEnum):
    """What a record says."""

    NODE = 1
    """There is a node of this identity."""
    COUNT = 2
    """So many references more, or fewer."""
    ENTER = 3
    """The node is at a place."""
    LEAVE = 4
    """The node is not at a place any more."""
    DROP = 5
    """The node is forgotten."""
    LOSE = 6
    """The inode number of this node may be another file's from now on."""
    RENAMING = 7
    """The node is about to go to a place, if the rename succeeds."""


LoggedChange: TypeAlias = "tuple[int, NodeId, int, Identity, Place]"
"""One record, decoded: kind, nodeid, references, identity and place; what its kind
does not have is empty."""

_NODE: Final = int(Kind.NODE)
_WITH_PLACE: Final = frozenset(int(kind) for kind in (Kind.ENTER, Kind.LEAVE, Kind.RENAMING))
_NO_IDENTITY: Final = (0, 0, 0)
_NO_PLACE: Final = (NodeId(0), b"")


class NodeLog:
    """Records appended to a memfd."""

    def __init__(self, fd: int, *, replaced: Callable[[int], None]) -> None:
        """Continue the log in a memfd, which stays its owner's.

        `replaced` is called with a fresh memfd that holds everything and is to be
        kept in place of the old one; it must not return before that is certain.
        """
        self._fd = os.dup(fd)
        self._replaced = replaced
        self._map = _mapped(self._fd)
        self._end = 0
        self._compact_at = _LEAST_TO_COMPACT_BYTES

    # -- reading -----------------------------------------------------------

    def changes(self) -> Iterator[LoggedChange]:
        """Yield what a predecessor logged; appending goes on behind it."""
        # Clients wait while a long log is read: plain numbers, and no calls.
        buffer, at = self._map, self._end
        last = len(buffer) - _HEAD.size
        head, identity_of, parent_of = _HEAD.unpack_from, _IDENTITY.unpack_from, _PARENT.unpack_from
        while at <= last:
            kind, name_length, count, nodeid = head(buffer, at)
            if kind == 0:
                break
            at += _HEAD.size
            identity, place = _NO_IDENTITY, _NO_PLACE
            if kind == _NODE:
                identity = identity_of(buffer, at)
                at += _IDENTITY.size
            elif kind in _WITH_PLACE:
                name_at = at + _PARENT.size
                place = parent_of(buffer, at)[0], buffer[name_at : name_at + name_length]
                at = name_at + (name_length + 7 & ~7)
            yield kind, nodeid, count, identity, place
        self._end = at
        # What was being written when it died must not look like a record some day.
        rest = memoryview(buffer)[at:]
        rest[:] = bytes(len(rest))

    # -- writing -----------------------------------------------------------

    def node(self, nodeid: NodeId, identity: Identity, references: int) -> None:
        self._append(Kind.NODE, nodeid, references, _IDENTITY.pack(*identity))

    def node_at(self, nodeid: NodeId, identity: Identity, place: Place) -> None:
        """NODE with one reference, and ENTER: what a listing logs for each name."""
        parent, name = place
        length = len(name)
        at, buffer = self._end, self._map
        after = at + _NODE_AT.size + _padded(length)
        if after > len(buffer):
            buffer = self._grow(after)
        _NODE_AT.pack_into(
            buffer, at, 0, 0, 1, nodeid, *identity, Kind.ENTER, length, 0, nodeid, parent
        )
        name_at = at + _NODE_AT.size
        buffer[name_at : name_at + length] = name
        buffer[at] = Kind.NODE
        self._end = after

    def count(self, nodeid: NodeId, change: int) -> None:
        self._append(Kind.COUNT, nodeid, change)

    def at(self, kind: Kind, nodeid: NodeId, place: Place) -> None:
        """ENTER, LEAVE or RENAMING."""
        parent, name = place
        body = _PARENT.pack(parent) + name.ljust(_padded(len(name)), b"\0")
        self._append(kind, nodeid, 0, body, len(name))

    def end(self, kind: Kind, nodeid: NodeId) -> None:
        """DROP or LOSE."""
        self._append(kind, nodeid, 0)

    def _append(
        self, kind: Kind, nodeid: NodeId, count: int, body: bytes = b"", name_length: int = 0
    ) -> None:
        at, buffer = self._end, self._map
        after = at + _HEAD.size + len(body)
        if after > len(buffer):
            buffer = self._grow(after)
        _HEAD.pack_into(buffer, at, 0, name_length, count, nodeid)
        if body:
            buffer[at + _HEAD.size : after] = body
        buffer[at] = kind
        self._end = after

    def _grow(self, least: int) -> mmap.mmap:
        size = -(-least // _GROWTH_BYTES) * _GROWTH_BYTES
        os.ftruncate(self._fd, size)
        self._map.close()
        self._map = _mapped(self._fd)
        return self._map

    # -- compacting --------------------------------------------------------

    @property
    def wants_compacting(self) -> bool:
        return self._end >= self._compact_at

    def compact(self, records: Iterator[NodeRecord]) -> None:
        """Write the whole table to a fresh memfd and go on there."""
        fresh = os.memfd_create("zarrfs-nodes", os.MFD_CLOEXEC)
        os.ftruncate(fresh, _GROWTH_BYTES)
        old, self._fd = self._fd, fresh
        self._map.close()
        self._map = _mapped(fresh)
        self._end = 0
        for record in records:
            self.node(record.nodeid, record.identity, record.references)
            if record.is_lost:
                self.end(Kind.LOSE, record.nodeid)
            for place in record.places:
                self.at(Kind.ENTER, record.nodeid, place)
        self._replaced(fresh)
        os.close(old)
        self._compact_at = max(_LEAST_TO_COMPACT_BYTES, 3 * self._end)

    def close(self) -> None:
        with suppress(ValueError):
            self._map.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _padded(length: int) -> int:
    return -(-length // 8) * 8


def _mapped(fd: int) -> mmap.mmap:
    if os.fstat(fd).st_size < _GROWTH_BYTES:
        os.ftruncate(fd, _GROWTH_BYTES)
    return mmap.mmap(fd, os.fstat(fd).st_size)
