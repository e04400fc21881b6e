"""Writes an archive anew without what nobody can see any more.

Replaced and deleted entries, and directories of earlier commits, stay in an
archive until it is compacted. What lives is copied, byte for byte, to a file
beside the archive, which takes its name when it is complete: at no moment is
there anything but a whole archive under that name. Who has the old one open
goes on reading it. One thread; the archive's lock keeps writers out.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Final, NamedTuple

from zarrfs.errors import BusyError, CorruptError, NoSpaceError, UnavailableError
from zarrfs.storage.backend import Buffer, Key
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.format import (
    CENTRAL,
    DESCRIPTOR_SIGNATURE,
    END,
    LOCAL,
    LOCAL_SIGNATURE,
    Flag,
)
from zarrfs.storage.zip.offsets import header_offset, packed_size, with_offset
from zarrfs.storage.zip.writable_append import Style
from zarrfs.storage.zip.writable_directory import KeptRecords, record_path
from zarrfs.storage.zip.writable_journal import JournalFile, journal_path, lock, sync_folder
from zarrfs.storage.zip.writable_records import end_records
from zarrfs.storage.zip.writable_style import style_of

TEMPORARY_SUFFIX: Final = ".zarrfs-compact"
_BLOCK_BYTES: Final = 8 << 20
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

OnProgress = Callable[[int, int], object]
"""Called with the bytes copied so far, and those there are to copy."""


class Compacted(NamedTuple):
    """What compacting an archive came to."""

    before_bytes: int
    after_bytes: int


class _Living(NamedTuple):
    """An entry that stays: its directory record, and where it lies in the file."""

    record: bytes
    start: int
    stop: int


def reclaimable_bytes(archive: Archive) -> int:
    """Return about how much smaller an archive would become.

    An estimate from the directory alone: local extra fields are not counted.
    """
    columns, end = archive.index.columns, archive.end
    entries = columns["entry"] != 0xFFFFFFFF
    names = (columns["name_end"] - columns["path_start"])[entries]
    living = int(columns["csize"][entries].sum()) + int(names.sum()) + len(names) * LOCAL.size
    rest = end.base + end.directory_size + END.size + len(end.comment)
    return max(0, archive.size_bytes - living - rest)


def compact(path: str, on_progress: OnProgress = lambda done, total: None) -> Compacted:
    """Compact the archive at a path; first finish what a crashed writer left.

    Raises: BusyError (it is open for writing), CorruptError (it has entries that
    cannot be copied faithfully), DeniedError, NoSpaceError, UnavailableError; the
    archive is what it was then.
    """
    path = os.path.realpath(path)
    if os.path.exists(journal_path(path)):
        _finish_writing(path)
    journal_file = JournalFile(path)
    try:
        if os.fstat(journal_file.fd).st_size:
            raise BusyError(path, "another program wrote to it just now")
        try:
            return _compact_locked(path, journal_file, on_progress)
        finally:
            journal_file.remove()
    finally:
        journal_file.close()


def _compact_locked(path: str, journal_file: JournalFile, on_progress: OnProgress) -> Compacted:
    archive = Archive.open(path, save_index=False)
    try:
        lock(archive.file.fd, path, journal_file.fd)
        return _compact(archive, on_progress)
    finally:
        archive.close()


def _finish_writing(path: str) -> None:
    from zarrfs.storage.zip.writable import WritableZip

    WritableZip(path).close()


def _compact(archive: Archive, on_progress: OnProgress) -> Compacted:
    temporary = archive.path + TEMPORARY_SUFFIX
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            after_bytes = _Copy(archive, fd, on_progress).run()
            _dress(archive.file.fd, fd)
            os.fsync(fd)
        finally:
            os.close(fd)
        _compare(archive, temporary)
        os.rename(temporary, archive.path)
    except OSError as error:
        text = os.strerror(error.errno or errno.EIO)
        if error.errno in _FULL:
            raise NoSpaceError(archive.path, text) from error
        raise UnavailableError(archive.path, text) from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)
    sync_folder(archive.path)
    return Compacted(archive.size_bytes, after_bytes)


class _Copy:
    """One archive being copied into an empty file."""

    def __init__(self, archive: Archive, fd: int, on_progress: OnProgress) -> None:
        self._archive = archive
        self._source = archive.file.fd
        self._fd = fd
        self._on_progress = on_progress
        self._position = 0
        self._pending: tuple[int, int] | None = None
        """A range of the source that is to be copied next."""

    def run(self) -> int:
        style = style_of(self._archive.path, self._archive, self._get)
        living = sorted(self._living(), key=lambda entry: entry.start)
        self._check_apart(living)
        if style.order is not None:
            order = style.order
            living.sort(key=lambda entry: order(record_path(entry.record)))
        base = self._archive.end.base
        self._total = base + sum(entry.stop - entry.start for entry in living)
        self._add(0, base)
        moved: dict[int, int] = {}
        for entry in living:
            moved[entry.start] = self._position
            self._add(entry.start, entry.stop)
        self._flush()
        records = (with_offset(entry.record, moved[entry.start] - base) for entry in living)
        self._write_directory(records, len(living), base, style)
        return self._position

    def _get(self, key: Key) -> Buffer:
        row = self._archive.index.resolve(os.fsencode(key))
        return self._archive.content.read(max(row, 0), 0, 1 << 20)

    def _living(self) -> Iterator[_Living]:
        base = self._archive.end.base
        for record in KeptRecords(self._archive, set(), set()).records():
            start = header_offset(record) + base
            yield _Living(record, start, self._end_of_entry(record, start))

    def _end_of_entry(self, record: bytes, start: int) -> int:
        name = record_path(record)
        header = self._archive.file.read(start, LOCAL.size)
        signature, _, flags, _, _, _, _, _, _, name_size, extra_size = LOCAL.unpack(header)
        if signature != LOCAL_SIGNATURE:
            raise self._unfaithful(name, "there is no entry where the directory says")
        stop = start + LOCAL.size + name_size + extra_size + packed_size(record)
        if flags & Flag.DESCRIPTOR:
            stop += self._descriptor_size(record, stop)
        if stop > self._archive.end.directory_start:
            raise self._unfaithful(name, "it reaches into the directory")
        return int(stop)

    def _descriptor_size(self, record: bytes, position: int) -> int:
        """4.3.9: with or without a signature, with sizes of 4 or of 8 bytes."""
        crc, csize, usize = CENTRAL.unpack_from(record)[8:11]
        data = self._archive.file.read(position, 24)
        signature = 4 if data[:4] == DESCRIPTOR_SIGNATURE else 0
        if data[signature : signature + 4] != crc.to_bytes(4, "little"):
            return 0  # none, whatever the flag says
        narrow = csize.to_bytes(4, "little") + usize.to_bytes(4, "little")
        wide = data[signature + 4 : signature + 12] != narrow
        return signature + (20 if wide else 12)

    def _unfaithful(self, name: bytes, reason: str) -> CorruptError:
        subject = f"{self._archive.path}: {os.fsdecode(name)}"
        return CorruptError(subject, f"{reason}; nothing was changed")

    def _check_apart(self, living: list[_Living]) -> None:
        for before, entry in pairwise(living):
            if entry.start < before.stop:
                raise self._unfaithful(record_path(entry.record), "it overlaps another entry")

    def _add(self, start: int, stop: int) -> None:
        """Copy a range; neighbours in both files are copied together."""
        if self._pending is not None and self._pending[1] == start:
            self._pending = (self._pending[0], stop)
        else:
            self._flush()
            self._pending = (start, stop)
        self._position += stop - start
        if stop - self._pending[0] >= _BLOCK_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._pending is None:
            return
        start, stop = self._pending
        self._pending = None
        target = self._position - (stop - start)
        while start < stop:
            copied = self._copy_some(start, min(stop - start, _BLOCK_BYTES), target)
            start += copied
            target += copied
        self._on_progress(self._position, self._total)

    def _copy_some(self, start: int, size: int, target: int) -> int:
        try:
            copied = os.copy_file_range(self._source, self._fd, size, start, target)
            if copied:
                return copied
        except OSError as error:
            if error.errno in _FULL or error.errno == errno.EIO:
                raise
        return os.pwrite(self._fd, self._archive.file.read(start, size), target)

    def _write_directory(
        self, records: Iterator[bytes], count: int, base: int, style: Style
    ) -> None:
        start = self._position
        with open(self._fd, "wb", buffering=1 << 20, closefd=False) as out:
            out.seek(start)
            for record in records:
                out.write(record)
            size = out.tell() - start
            out.write(
                end_records(
                    count=count,
                    directory_offset=start - base,
                    directory_size=size,
                    comment=style.comment,
                    zip64=style.zip64,
                )
            )
            self._position = out.tell()


def _dress(source: int, target: int) -> None:
    """Give the copy the owner, the mode and the attributes of the original."""
    status = os.fstat(source)
    with suppress(PermissionError):
        os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, status.st_mode & 0o7777)
    with suppress(OSError):
        for name in os.listxattr(source):
            with suppress(OSError):
                os.setxattr(target, name, os.getxattr(source, name))


def _compare(archive: Archive, path: str) -> None:
    """Make sure that the copy shows what the original shows. Raises: CorruptError."""
    copy = Archive.open(path, save_index=False)
    try:
        before, after = archive.index, copy.index
        same = before.node_count == after.node_count
        for row in range(before.node_count) if same else ():
            other = after.resolve(before.path(row))
            same = other >= 0 and all(
                before.views[name][row] == after.views[name][other]
                for name in ("mode", "mtime_ns", "usize", "csize", "crc", "method")
            )
            if not same:
                break
        if not same:
            raise CorruptError(archive.path, "its copy came out different; nothing was changed")
    finally:
        copy.close()
