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
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NamedTuple

import numpy as np

from zarrfs.errors import (
    BusyError,
    CorruptError,
    KeyNotFoundError,
    NoSpaceError,
    UnavailableError,
)
from zarrfs.storage.backend import Buffer, Key
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.format import END, LOCAL
from zarrfs.storage.zip.index import NO_ENTRY
from zarrfs.storage.zip.living import Living, read_living
from zarrfs.storage.zip.writable_append import Style
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


def reclaimable_bytes(archive: Archive) -> int:
    """Return about how much smaller an archive would become.

    An estimate from the directory alone: local extra fields are not counted.
    """
    columns, end = archive.index.columns, archive.end
    entries = columns["entry"] != NO_ENTRY
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
    archive = Archive.open(path, save_index=False, quiet=True)
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
        self._fd = fd
        self._on_progress = on_progress

    def run(self) -> int:
        """Returns: the size of the copy."""
        archive = self._archive
        base = archive.end.base
        style = style_of(archive.path, archive, self._get)
        living = read_living(archive)
        if style.order is not None:
            living = living.sorted_by(style.order)
        moved = base + np.cumsum(living.stops - living.starts) - (living.stops - living.starts)
        position = self._copy_ranges(living, base)
        records = living.records_at(moved - base)
        return self._write_directory(position, records, len(living.starts), base, style)

    def _get(self, key: Key) -> Buffer:
        row = self._archive.index.resolve(os.fsencode(key))
        if row < 0:
            raise KeyNotFoundError(key)
        return self._archive.content.read(row, 0, 1 << 20)

    def _copy_ranges(self, living: Living, base: int) -> int:
        """Copy what is before the archive, and the entries; neighbours at once."""
        total = base + int((living.stops - living.starts).sum())
        position = 0
        for start, stop in [(0, base), *living.ranges()]:
            while start < stop:
                size = min(stop - start, _BLOCK_BYTES)
                copied = self._copy_some(start, size, position)
                start += copied
                position += copied
                self._on_progress(position, total)
        return position

    def _copy_some(self, start: int, size: int, target: int) -> int:
        source = self._archive.file
        try:
            copied = os.copy_file_range(source.fd, self._fd, size, start, target)
            if copied:
                return copied
        except OSError as error:
            if error.errno in _FULL or error.errno == errno.EIO:
                raise
        return os.pwrite(self._fd, source.read(start, size), target)

    def _write_directory(
        self, position: int, records: Iterable[Buffer], count: int, base: int, style: Style
    ) -> int:
        with open(self._fd, "wb", buffering=1 << 20, closefd=False) as out:
            out.seek(position)
            for record in records:
                out.write(record)
            size = out.tell() - position
            out.write(
                end_records(
                    count=count,
                    directory_offset=position - base,
                    directory_size=size,
                    comment=style.comment,
                    zip64=style.zip64,
                )
            )
            return out.tell()


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
    copy = Archive.open(path, save_index=False, quiet=True)
    try:
        before, after = archive.index, copy.index
        rows = np.full(before.node_count, -1)
        if before.node_count == after.node_count:
            for row in range(before.node_count):
                path_before = before.path(row)
                # Mostly the order is the same.
                same = path_before == after.path(row)
                rows[row] = row if same else after.resolve(path_before)
        # A folder without an entry has its newest entry's time, which may have been
        # one that was replaced.
        implied = before.columns["entry"] == NO_ENTRY
        equal = (rows >= 0).all() and all(
            ((before.columns[name] == after.columns[name][rows]) | implied).all()
            for name in ("mode", "mtime_ns", "usize", "csize", "crc", "method")
        )
        if not equal:
            raise CorruptError(archive.path, "its copy came out different; nothing was changed")
    finally:
        copy.close()
