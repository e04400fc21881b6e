"""Appends a commit to an archive's file: entries, a whole directory, its end.

Writes only behind the position it is given, so that until its last byte is
there, and for everybody who read the old directory before, the archive is
what it was. Entries of the base keep their bytes and, unless dropped, their
directory records, which are copied as they lie. One thread.
Specification: APPNOTE.TXT 4.3.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias

from zarrfs.storage.inodes.extents import Extent
from zarrfs.storage.inodes.records import NOT_RELOCATED, Settled
from zarrfs.storage.tree import Buffer, NodeId
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.checksums import crc32
from zarrfs.storage.zip.format import Method
from zarrfs.storage.zip.writable_directory import KeptRecords, record_path
from zarrfs.storage.zip.writable_plan import Content, Packed, Plain, Plan, Planned, SameEntry
from zarrfs.storage.zip.writable_records import (
    EntryRecord,
    central_record,
    end_records,
    local_header,
    with_attributes,
)

_BLOCK_BYTES: Final = 1 << 20

ReadContent: TypeAlias = Callable[[NodeId, list[Extent], int, int], Buffer]
"""Of a node: its published extents, an offset, a size."""


class Appended(NamedTuple):
    """What a commit wrote."""

    end: int
    """Where the archive ends now."""
    settled: list[Settled]
    """One for each entry that was written."""


class Style(NamedTuple):
    """What the archive as a whole is like."""

    comment: bytes
    zip64: bool
    order: Callable[[bytes], tuple[int, ...]] | None
    """Sorts paths, in the file and in the directory; None keeps them as they come."""


class _Output:
    """Writes at a position of the file, in large blocks."""

    def __init__(self, fd: int, position: int) -> None:
        self._fd = fd
        self._blocks: list[Buffer] = []
        self._buffered = 0
        self.position = position

    def write(self, data: Buffer) -> None:
        self._blocks.append(data)
        self._buffered += len(data)
        self.position += len(data)
        if self._buffered >= _BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._blocks:
            data = self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)
            start = self.position - self._buffered
            self._blocks, self._buffered = [], 0
            self.patch(start, data)

    def sync(self) -> None:
        self.flush()
        os.fsync(self._fd)

    def patch(self, offset: int, data: Buffer) -> None:
        written = 0
        view = memoryview(data)
        while written < len(view):
            written += os.pwrite(self._fd, view[written:], offset + written)


def append_commit(
    fd: int,
    position: int,
    archive: Archive | None,
    plan: Plan,
    read: ReadContent,
    style: Style,
    announce: Callable[[int], None],
) -> Appended:
    """Write a commit behind `position`, and sync it.

    Its end record is written when all before it is on the disk: where other
    programs find an archive, its contents are there. `announce` is told before
    that where the archive will end.

    Raises: OSError, and what reading the contents raises; what was written
    until then is for the caller to cut off.
    """
    return _Commit(fd, position, archive, plan, read, style, announce).run()


class _Commit:
    def __init__(
        self,
        fd: int,
        position: int,
        archive: Archive | None,
        plan: Plan,
        read: ReadContent,
        style: Style,
        announce: Callable[[int], None],
    ) -> None:
        self._out = _Output(fd, position)
        self._archive = archive
        self._plan = plan
        self._read = read
        self._style = style
        self._announce = announce
        self._shift = archive.end.base if archive else 0
        self._settled: list[Settled] = []
        self._records: list[tuple[bytes, bytes]] = []
        """Path and directory record of every planned entry."""
        self._same: dict[int, Planned] = {}
        """Entries of the base whose records are patched, by their number."""

    def run(self) -> Appended:
        entries = self._plan.entries
        if self._style.order is not None:
            order = self._style.order
            entries = sorted(entries, key=lambda planned: order(planned.path))
        for planned in entries:
            self._add(planned)
        self._write_directory()
        return Appended(self._out.position, self._settled)

    # Entries

    def _add(self, planned: Planned) -> None:
        match planned.source:
            case Settled() as settled:
                self._record(planned, settled)
            case SameEntry(row):
                assert self._archive is not None
                self._same[int(self._archive.index.views["entry"][row])] = planned
            case Plain(target):
                self._add_small(planned, target, NOT_RELOCATED)
            case Content(extents, size) if size <= _BLOCK_BYTES:
                data: Buffer = self._read(planned.nodeid, extents, 0, size) if size else b""
                self._add_small(planned, data, 0)
            case Content(extents, size):
                self._add_large(planned, extents, size)
            case Packed(row):
                self._add_packed(planned, row)

    def _add_small(self, planned: Planned, data: Buffer, source: int) -> None:
        entry = self._entry(planned, crc32(data, 0), len(data))
        self._out.write(local_header(entry))
        if source != NOT_RELOCATED:
            source = self._out.position
        self._out.write(data)
        self._settle(planned, entry, source)

    def _add_large(self, planned: Planned, extents: list[Extent], size: int) -> None:
        """The header is written last: only then is the CRC known."""
        entry = self._entry(planned, 0, size)
        start = self._out.position
        self._out.write(local_header(entry))
        source = self._out.position
        crc = 0
        for offset in range(0, size, _BLOCK_BYTES):
            block = min(_BLOCK_BYTES, size - offset)
            data = self._read(planned.nodeid, extents, offset, block)
            crc = crc32(data, crc)
            self._out.write(data)
        self._out.flush()
        entry = entry._replace(crc32=crc)
        self._out.patch(start, local_header(entry))
        self._settle(planned, entry, source)

    def _add_packed(self, planned: Planned, row: int) -> None:
        """Copy an entry's bytes, compressed as they are, under a header with its new name."""
        assert self._archive is not None
        views = self._archive.index.views
        csize = views["csize"][row]
        start = self._archive.content.data_start(row)
        entry = self._entry(planned, views["crc"][row], views["usize"][row])
        entry = entry._replace(method=views["method"][row], csize=csize)
        self._out.write(local_header(entry))
        for offset in range(start, start + csize, _BLOCK_BYTES):
            size = min(_BLOCK_BYTES, start + csize - offset)
            self._out.write(self._archive.file.read(offset, size))
        self._settle(planned, entry, NOT_RELOCATED)

    def _entry(self, planned: Planned, crc: int, size: int) -> EntryRecord:
        return EntryRecord(
            planned.path,
            planned.mode,
            planned.mtime_ns,
            Method.STORED,
            crc,
            size,
            size,
            self._out.position - self._shift,
            planned.owner,
        )

    def _settle(self, planned: Planned, entry: EntryRecord, source: int) -> None:
        settled = Settled(
            planned.nodeid,
            source,
            entry.usize,
            entry.csize,
            entry.method,
            entry.crc32,
            entry.offset,
            planned.path,
        )
        self._settled.append(settled)
        self._record(planned, settled)

    def _record(self, planned: Planned, settled: Settled) -> None:
        entry = EntryRecord(
            planned.path,
            planned.mode,
            planned.mtime_ns,
            settled.method,
            settled.crc32,
            settled.packed_size,
            settled.size,
            settled.header_offset,
            planned.owner,
        )
        self._records.append((planned.path, central_record(entry)))

    # Directory

    def _write_directory(self) -> None:
        start = self._out.position
        count = 0
        for records, number in self._directory():
            self._out.write(records)
            count += number
        end = end_records(
            count=count,
            directory_offset=start - self._shift,
            directory_size=self._out.position - start,
            comment=self._style.comment,
            zip64=self._style.zip64,
        )
        self._out.sync()
        self._announce(self._out.position + len(end))
        self._out.write(end)
        self._out.sync()

    def _directory(self) -> Iterator[tuple[bytes, int]]:
        """Yield directory records and how many they are."""
        kept: KeptRecords | None = None
        if self._archive is not None:
            kept = KeptRecords(self._archive, self._plan.dropped_rows, set(self._same))
        if self._style.order is None:
            if kept is not None:
                yield from kept.runs()
            for _, record in self._new_records(kept):
                yield record, 1
            return
        order = self._style.order
        records = [(record_path(record), record) for record in kept.records()] if kept else []
        records += self._new_records(kept)
        for _, record in sorted(records, key=lambda item: order(item[0])):
            yield record, 1

    def _new_records(self, kept: KeptRecords | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield paths and records; what is kept must have been read before."""
        if kept is not None:
            for number, planned in self._same.items():
                record = with_attributes(
                    kept.found[number], planned.mode, planned.mtime_ns, planned.owner
                )
                yield planned.path, record
        yield from self._records
