"""Reading and writing what files hold, by node.

Data goes to the journal's space before the tree's lock is taken, so that
writers copy in parallel; the record that makes it part of a file is written
under the lock, and the order of these records is the order of the writes.
Any thread may call these methods; none may hold the lock, but for `replace`.
Specification: pwrite(2), fallocate(2), lseek(2).
"""

from __future__ import annotations

import errno
import os
import time
from typing import NamedTuple

from zarrfs.errors import (
    InvalidArgumentError,
    NoSpaceError,
    UnavailableError,
    UnsupportedError,
)
from zarrfs.storage.inodes.extents import (
    IN_ARCHIVE,
    IN_BASE,
    Extent,
    Piece,
    data_bytes,
    next_data,
    next_hole,
    pieces,
)
from zarrfs.storage.inodes.journal import data_crc32c
from zarrfs.storage.inodes.ledger import Ledger
from zarrfs.storage.inodes.node import Node
from zarrfs.storage.inodes.records import NOT_CHECKED, Clear, Relocate, Replace, Write
from zarrfs.storage.inodes.space import PAGE
from zarrfs.storage.tree import Buffer, NodeId

FALLOC_KEEP_SIZE = 0x01
FALLOC_PUNCH_HOLE = 0x02
FALLOC_ZERO_RANGE = 0x10

_MANY_EXTENTS = 512
_JOIN_BYTES = 1 << 20


class Staged(NamedTuple):
    """Data in the journal's space that is no file's yet."""

    source: int
    size: int
    data_crc32c: int


class Contents:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = ledger.lock
        self._space = ledger.space

    # Reading

    def read(self, node: Node, offset: int, size: int) -> Buffer:
        """Return what file handles see; short only at the end."""
        with self._lock:
            size = min(size, node.size - offset)
            if size <= 0:
                return b""
            extents = node.extents
            if extents:
                start, stop, source = extents[0]  # of a chunk there is mostly but one
                if start <= offset and offset + size <= stop and source < IN_ARCHIVE:
                    found = self._space.mapped_view(source + offset - start, size)
                    if found is not None:
                        return found
            plan = list(pieces(extents, offset, size))
            epoch = self._space.pin()
        return self._gather(node.nodeid, plan, epoch)

    def read_base(self, nodeid: NodeId, offset: int, size: int) -> Buffer:
        """Read a file of the base that nobody has touched."""
        base = self._ledger.state.base
        assert base is not None
        return base.read(nodeid, offset, size)

    def read_published(self, node: Node, offset: int, stop: int | None) -> bytes | None:
        """Return a copy of what `Storage` sees of a file; None if it was never published."""
        with self._lock:
            if node.published is None:
                return None
            end = node.published_size if stop is None else min(stop, node.published_size)
            if end <= offset:
                return b""
            plan = list(pieces(node.published, offset, end - offset))
            epoch = self._space.pin()
        return bytes(self._gather(node.nodeid, plan, epoch))

    def read_extents(self, nodeid: NodeId, extents: list[Extent], offset: int, size: int) -> Buffer:
        """Read a content that was published once; the caller has pinned the space since."""
        return self._join(nodeid, list(pieces(extents, offset, size)))

    def _gather(self, nodeid: NodeId, plan: list[Piece], epoch: int) -> Buffer:
        try:
            return self._join(nodeid, plan)
        finally:
            self._space.unpin(epoch)

    def _join(self, nodeid: NodeId, plan: list[Piece]) -> Buffer:
        if len(plan) == 1:
            return self._piece(nodeid, plan[0])
        return b"".join([self._piece(nodeid, piece) for piece in plan])

    def _piece(self, nodeid: NodeId, piece: Piece) -> Buffer:
        source, size = piece
        if source is None:
            return bytes(size)
        if source < IN_ARCHIVE:
            return self._space.view(source, size)
        base = self._ledger.state.base
        assert base is not None
        if source & IN_BASE:
            data = base.read(nodeid, source - IN_BASE, size)
        else:
            data = base.read_archive(source - IN_ARCHIVE, size)
        if len(data) != size:
            raise UnavailableError(f"node {nodeid}", "the archive is shorter than it was")
        return data

    # Writing

    def write(self, node: Node, offset: int | None, data: Buffer) -> int:
        """Write at an offset, or (None) at the end. Raises: NoSpaceError."""
        size = len(data)
        if not size:
            return 0
        source = self._store(node.extents, data)
        crc = self._check(data)
        with self._lock:
            at = node.size if offset is None else offset
            try:
                self._ledger.commit(Write(node.nodeid, at, size, source, crc, time.time_ns()))
            except BaseException:
                self._space.release(((source, source + size),))
                raise
        return size

    def stage(self, data: Buffer) -> Staged:
        """Store a whole content that `replace` will give to a file; no lock may be held."""
        size = len(data)
        if not size:
            return Staged(0, 0, NOT_CHECKED)
        return Staged(self._store([], data), size, self._check(data))

    def unstage(self, staged: Staged) -> None:
        """Give up a content that no file got."""
        self._space.release(((staged.source, staged.source + staged.size),))

    def replace(self, node: Node, staged: Staged) -> None:
        """Put a staged content in place of a file's, and publish it, at once."""
        source, size, crc = staged
        self._ledger.commit(Replace(node.nodeid, size, source, crc, time.time_ns()))

    def _store(self, extents: list[Extent], data: Buffer) -> int:
        last = extents[-1] if extents else None
        after = last.source + last.stop - last.start if last else -1
        try:
            return self._space.store(data, after)
        except NoSpaceError:
            self._ledger.journal.reclaim()
            return self._space.store(data, after)

    def _check(self, data: Buffer) -> int:
        return data_crc32c(data) if self._ledger.journal.durable else NOT_CHECKED

    def truncate(self, node: Node, size: int) -> None:
        if size < 0:
            raise InvalidArgumentError(reason="negative size")
        with self._lock:
            start = min(size, node.size)
            record = Clear(node.nodeid, start, node.size - start, size, time.time_ns())
            self._ledger.commit(record)

    def allocate(self, node: Node, mode: int, offset: int, length: int) -> None:
        """fallocate(2). Raises: UnsupportedError, InvalidArgumentError, NoSpaceError."""
        if offset < 0 or length <= 0:
            raise InvalidArgumentError(reason="negative offset or length")
        keep_size = bool(mode & FALLOC_KEEP_SIZE)
        action = mode & ~FALLOC_KEEP_SIZE
        if action == FALLOC_PUNCH_HOLE and not keep_size:
            raise UnsupportedError(reason="FALLOC_FL_PUNCH_HOLE without FALLOC_FL_KEEP_SIZE")
        if action not in (0, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE):
            raise UnsupportedError(reason=f"fallocate mode {mode:#x}")
        with self._lock:
            end = offset + length
            new_size = node.size if keep_size else max(node.size, end)
            if not action:
                self._require_room(node, offset, min(end, new_size) - offset)
            cleared = max(0, min(end, node.size) - offset) if action else 0
            self._ledger.commit(Clear(node.nodeid, offset, cleared, new_size, time.time_ns()))

    def _require_room(self, node: Node, offset: int, size: int) -> None:
        if self._space.limit_bytes is None or size <= 0:
            return
        missing = sum(
            piece.size for piece in pieces(node.extents, offset, size) if not piece.source
        )
        if self._space.in_use_bytes + missing > self._space.limit_bytes:
            raise NoSpaceError(reason=f"the limit of {self._space.limit_bytes} bytes is reached")

    def seek(self, nodeid: NodeId, offset: int, whence: int) -> int:
        """lseek(2) with SEEK_DATA or SEEK_HOLE. Raises: OSError ENXIO."""
        with self._lock:
            node = self._ledger.state.node(nodeid)
            if not 0 <= offset < node.size:
                raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
            if whence == os.SEEK_HOLE:
                return min(next_hole(node.extents, offset), node.size)
            if whence != os.SEEK_DATA:
                raise InvalidArgumentError(reason=f"whence {whence}")
            found = next_data(node.extents, offset)
            if found is None:
                raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
            return found

    # Publication

    def publish(self, node: Node) -> None:
        """Let `Storage` see a file's content; join it first if it is in crumbs."""
        if len(node.extents) > _MANY_EXTENTS:
            self._join_crumbs(node)
        with self._lock:
            self._ledger.publish(node)

    def _join_crumbs(self, node: Node) -> None:
        """Store a content anew, in large extents, when it lies in very many small ones."""
        with self._lock:
            extents = node.extents
            if data_bytes(extents) > len(extents) * PAGE or node.data_bytes != node.size:
                return
            size = node.size
        for offset in range(0, size, _JOIN_BYTES):
            with self._lock:
                if node.size != size:
                    return
                data = self.read(node, offset, min(_JOIN_BYTES, size - offset))
                source = self._space.store(data)
                self._ledger.commit(
                    Relocate(node.nodeid, offset, len(data), source, self._check(data))
                )
