"""What became of a commit that was cut short.

Behind the archive as it was last known to be committed there may be nothing,
a part of a commit, or a whole one whose completion the journal does not know.
A whole one is kept, because somebody may be reading it; a part is cut off. The
journal still has everything that the commit was to write; but after a power
failure a commit, which was synced, may know more than the journal, which was
not. So each commit says which journal it is of and how much of that it holds
(`CommitLabel`, before its directory). One thread, which holds the archive's
lock.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from zarrfs.errors import CorruptError, UnavailableError, ZarrfsError
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.writable_journal import ArchiveMark, JournalContext, journal_path

_BLOCK_BYTES = 1 << 20
_LABEL = Struct("<8s16sQI")
_MAGIC = b"zarrfsC1"


class CommitLabel(NamedTuple):
    """Which records a commit holds: those of a journal before a position."""

    journal_id: bytes
    position: int

    def encode(self) -> bytes:
        body = _LABEL.pack(_MAGIC, self.journal_id, self.position, 0)
        return _LABEL.pack(_MAGIC, self.journal_id, self.position, crc32(body))

    @classmethod
    def read(cls, fd: int, directory_start: int) -> CommitLabel | None:
        data = os.pread(fd, _LABEL.size, directory_start - _LABEL.size)
        if len(data) < _LABEL.size:
            return None
        _, journal_id, position, _ = _LABEL.unpack(data)
        label = cls(journal_id, position)
        return label if label.encode() == data else None


def settle_tail(fd: int, path: str, context: JournalContext) -> JournalContext:
    """Find where the archive ends, after cutting off a part of a commit.

    Returns what the journal's context should say of the archive.
    Raises: CorruptError when the archive is not the one the journal belongs to.
    """
    size = os.fstat(fd).st_size
    committed = context.committed
    if not committed.matches(fd):
        raise foreign(path)
    if size == committed.archive_bytes:
        return context
    directory_start = whole_directory(path, committed.archive_bytes, size)
    try:
        if directory_start is None:
            os.ftruncate(fd, committed.archive_bytes)
        os.fsync(fd)
    except OSError as error:
        raise UnavailableError(path, f"settling an unfinished commit: {error}") from error
    if directory_start is None:
        return context
    label = CommitLabel.read(fd, directory_start)
    if label is None or label.journal_id != context.journal_id:
        raise foreign(path)
    return replace(context, committed=ArchiveMark.of(fd), position=label.position)


def whole_directory(path: str, committed_bytes: int, size_bytes: int) -> int | None:
    """Return where the directory behind the committed part begins.

    None if what lies there is not a commit to its last byte.
    """
    with suppress(ZarrfsError):
        archive = Archive.open(path, save_index=False)
        try:
            end = archive.end
            if end.end == size_bytes and end.directory_start >= committed_bytes + _LABEL.size:
                _read_contents(archive, committed_bytes)
                return end.directory_start
        finally:
            archive.close()
    return None


def _read_contents(archive: Archive, committed_bytes: int) -> None:
    """Read every appended entry, which checks its CRC. Raises: CorruptError."""
    views = archive.index.views
    for row in (archive.index.columns["offset"] >= committed_bytes).nonzero()[0].tolist():
        for offset in range(0, views["usize"][row], _BLOCK_BYTES):
            archive.content.read(row, offset, _BLOCK_BYTES)


def foreign(path: str) -> CorruptError:
    return CorruptError(
        path,
        "the archive was changed by another program since its journal was begun",
        remedy=f"put the archive back, or move {journal_path(path)} away: it holds "
        "changes that are not in the archive",
    )
