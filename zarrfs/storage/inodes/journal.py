"""The journal: records in segments, and file content, in one file.

Segments are chained: the last record of a full one (`Continue`) names the next.
Content lies between them, wherever `Space` had room; records refer to it by
offset, and are written after it. A memfd's journal lives as long as somebody
holds the descriptor; a disk's (`durable`) also survives power loss:

- After SIGKILL everything written is still there, and a record that was cut
  short fails its CRC-32 and ends the replay.
- After another boot a record may be on the disk without the content it speaks
  of. Up to the last `Synced` record everything is known to be there; what
  follows is taken while the CRC-32C of its content agrees.
- Content that dies is given back only when a later sync has made a `Synced`
  record durable that covers its death; else the replay would miss it.

`lock` is the lock of the tree: `append`, `rewrite` and `bury` are called with
it held; `sync` takes it. Lock order: `_sync_lock`, `lock`, then Space's own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from zarrfs.errors import CorruptError, UnavailableError
from zarrfs.storage.inodes.journal_header import (
    HEADER_BYTES,
    JournalHeader,
    current_boot_id,
    newest,
)
from zarrfs.storage.inodes.records import (
    NOT_CHECKED,
    Continue,
    Record,
    Relocate,
    Replace,
    Synced,
    Write,
    decode,
    encode,
)
from zarrfs.storage.inodes.space import Space

SEGMENT_BYTES = 64 << 10
_CONTINUE_BYTES = len(encode(Continue(0, 0)))

Ranges = list[tuple[int, int]]


class Journal:
    """A chain of records, and the space that their contents lie in."""

    def __init__(self, space: Space, header: JournalHeader, *, durable: bool) -> None:
        self.lock = threading.RLock()
        self.space = space
        self.durable = durable
        self.replayed_after_reboot = False
        self._header = header  # Guarded by: lock
        self._segments: Ranges = []  # Guarded by: lock. All in use, oldest first
        self.record_bytes = 0
        """What the records of the chain take. Guarded by: lock."""
        self._cursor = 0  # Guarded by: lock. Where the next record goes
        self._end = 0  # Guarded by: lock. Of the last segment
        self._sync_lock = threading.Lock()
        self._synced = 0  # Guarded by: lock. Nothing before this position needs a sync
        self._marked = 0  # Guarded by: lock. Position the last `Synced` covers
        self._dead: Ranges = []  # Guarded by: lock. Died since the last sync began
        self._dead_marked: Ranges = []  # Guarded by: lock. Death covered by the last `Synced`
        self._sync_error: OSError | None = None  # Guarded by: lock

    @classmethod
    def create(cls, space: Space, *, durable: bool, context: bytes = b"") -> Journal:
        """Begin an empty journal in an empty file. Raises: NoSpaceError."""
        header = JournalHeader(0, 0, 0, current_boot_id(), os.getpid(), context)
        journal = cls(space, header, durable=durable)
        journal.rewrite(())
        return journal

    @classmethod
    def open(cls, space: Space, *, durable: bool) -> Journal:
        """Open a journal that is there; read `replay` to its end before anything else.

        Raises: CorruptError when the file is no journal.
        """
        return cls(space, read_header(space.fd), durable=durable)

    @property
    def context(self) -> bytes:
        return self._header.context

    @property
    def position(self) -> int:
        """Where the next record goes; it only grows."""
        return self._cursor

    @property
    def segments(self) -> Ranges:
        """The `[begin, end)` ranges of the file that hold records."""
        return list(self._segments)

    # Writing

    def append(self, record: Record) -> None:
        """Write a record; when this returns, a successor will find it.

        Raises: NoSpaceError, UnavailableError; nothing has changed then.
        """
        packed = encode(record)
        if self._cursor + len(packed) + _CONTINUE_BYTES > self._end:
            self._begin_segment(len(packed))
        self._write_record(packed)

    def _begin_segment(self, needed: int) -> None:
        segment = self._new_segment(needed)
        try:
            if self._segments:
                self._write_record(encode(Continue(segment[0], segment[1] - segment[0])))
        except BaseException:
            self.space.release((segment,))
            raise
        self._segments.append(segment)
        self._cursor, self._end = segment

    def _new_segment(self, needed: int) -> tuple[int, int]:
        """Take a segment whose blocks exist, so that records in it meet no full disk."""
        size = max(SEGMENT_BYTES, needed + _CONTINUE_BYTES)
        begin = self.space.reserve(size, limited=False)
        if self.durable:
            try:
                self.space.allocate_blocks(begin, size)
            except BaseException:
                self.space.release(((begin, begin + size),))
                raise
        return begin, begin + size

    def _write_record(self, packed: bytes) -> None:
        try:
            self.space.write_at(self._cursor, packed)
        except BaseException:
            # What was written of it must not look like a record to a successor.
            with suppress(OSError):
                os.pwrite(self.space.fd, b"\0\0", self._cursor)
            raise
        self._cursor += len(packed)
        self.record_bytes += len(packed)

    def rewrite(self, records: Iterable[Record], context: bytes | None = None) -> None:
        """Begin a new chain with these records, and forget the old one (a checkpoint).

        The header is switched when all of them are safe: a crash before that
        leaves the old chain, one after it the new. Raises: NoSpaceError.
        """
        old = self._segments, self._cursor, self._end, self.record_bytes
        self._segments, self._cursor, self._end, self.record_bytes = [], 0, 0, 0
        try:
            self._begin_segment(0)
            for record in records:
                self.append(record)
            begin, end = self._segments[0]
            self._sync_file()
            self._write_header(
                replace(
                    self._header,
                    first_segment=begin,
                    segment_bytes=end - begin,
                    context=self._header.context if context is None else context,
                )
            )
        except BaseException:
            self.space.release(self._segments)
            self._segments, self._cursor, self._end, self.record_bytes = old
            raise
        # The new chain is durable as a whole, so what died before it is too.
        self.space.release(old[0] + self._dead + self._dead_marked)
        self._dead, self._dead_marked = [], []
        if self.durable:
            self._marked = self._cursor
            self.append(Synced(self._cursor))

    def _write_header(self, header: JournalHeader) -> None:
        header = replace(
            header,
            sequence=self._header.sequence + 1,
            boot_id=current_boot_id(),
            pid=os.getpid(),
        )
        offset, slot = header.slot()
        if self.durable:
            self.space.write_durably(offset, slot)
        else:
            self.space.write_at(offset, slot)
        self._header = header

    def set_context(self, context: bytes) -> None:
        """Put something else into the header's context, durably and at once."""
        self._write_header(replace(self._header, context=context))

    def bury(self, ranges: Ranges) -> None:
        """Give back ranges that the records up to now have made unused."""
        if self.durable:
            self._dead += ranges
        else:
            self.space.release(ranges)

    # Durability

    def sync(self) -> None:
        """Make everything appended so far survive power loss.

        Raises: UnavailableError, from then on every time: the kernel forgets a
        failed write after reporting it once, and so must not be asked again.
        """
        if not self.durable:
            return
        with self.lock:
            wanted = self._cursor
        with self._sync_lock:
            # Somebody else's sync, begun after our last record, served us as well.
            if wanted > self._synced:
                self._sync_all()

    @property
    def dead_bytes(self) -> int:
        """What `reclaim` would give back."""
        with self.lock:
            return sum(end - begin for begin, end in self._dead + self._dead_marked)

    def reclaim(self) -> None:
        """Give back now what died; two syncs make sure that its death is durable.

        Raises: UnavailableError.
        """
        if self.durable:
            with self._sync_lock:
                self._sync_all()
                self._sync_all()
        self.space.reclaim()

    def _sync_all(self) -> None:
        with self.lock:
            position = self._cursor
            covered, self._dead = self._dead, []
        self._sync_file()
        with self.lock:
            self.space.release(self._dead_marked)
            self._dead_marked = covered
            nothing_since = position == self._cursor
            if position > self._marked:
                self._marked = position
                self.append(Synced(position))
            self._synced = max(self._synced, self._cursor if nothing_since else position)

    def _sync_file(self) -> None:
        if not self.durable:
            return
        try:
            if self._sync_error is not None:
                raise self._sync_error
            os.fdatasync(self.space.fd)
        except OSError as error:
            self._sync_error = error
            raise UnavailableError(reason=f"syncing the journal: {error.strerror}") from error

    # Reading

    def replay(self) -> Iterator[Record]:
        """Yield records in order, then be ready to append.

        What follows the last record that can be relied on is cut off.
        """
        same_boot = not self.durable or self._header.boot_id == current_boot_id()
        self.replayed_after_reboot = not same_boot
        trusted = 0
        if not same_boot:
            for record, _ in self._chain():
                if isinstance(record, Synced):
                    trusted = record.position
        for record, position in self._chain():
            if not same_boot and position > trusted and not self._content_is_there(record):
                break
            if isinstance(record, Synced):
                self._marked = record.position
            elif not isinstance(record, Continue):
                yield record
            self._cursor = position
        self.record_bytes = sum(end - begin for begin, end in self._segments)
        self._cut_off()
        self._write_header(self._header)

    def _chain(self) -> Iterator[tuple[Record, int]]:
        """Yield every intact record with the position after it.

        Sets `_segments`, `_end` and `_cursor` to those of the record yielded.
        """
        begin, size = self._header.first_segment, self._header.segment_bytes
        self._segments = []
        following: Continue | None = Continue(begin, size)
        while following is not None:
            begin, size = following
            following = None
            segment = os.pread(self.space.fd, size, begin)
            self._segments.append((begin, begin + size))
            self._cursor, self._end = begin, begin + size
            position = 0
            while (found := decode(segment, position)) is not None:
                record, position = found
                yield record, begin + position
                if isinstance(record, Continue):
                    following = record
                    break

    def _content_is_there(self, record: Record) -> bool:
        if not isinstance(record, Write | Replace | Relocate):
            return True
        if record.data_crc32c == NOT_CHECKED:
            return True
        data = os.pread(self.space.fd, record.size, record.source)
        return len(data) == record.size and data_crc32c(data) == record.data_crc32c

    def _cut_off(self) -> None:
        """Zero what follows the cursor in the last segment."""
        rest = os.pread(self.space.fd, self._end - self._cursor, self._cursor)
        if rest.strip(b"\0"):
            self.space.write_at(self._cursor, bytes(len(rest)))


def read_header(fd: int) -> JournalHeader:
    """Raises: CorruptError when the file is no journal."""
    header = newest(os.pread(fd, HEADER_BYTES, 0))
    if header is None:
        raise CorruptError("journal", "no intact header")
    return header


def data_crc32c(data: bytes | bytearray | memoryview) -> int:
    # Imported late: only a journal on a disk checks contents.
    import google_crc32c

    return int(google_crc32c.value(bytes(data)))
