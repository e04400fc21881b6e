"""What became of a commit that was cut short.

Behind the archive as it was last known to be committed there may be nothing,
a part of a commit, or a whole one whose completion the journal does not know.
A whole one is kept, because somebody may be reading it; a part is cut off. The
journal still has everything that the commit was to write; but after a power failure a
commit, which was synced, may know more than the journal, which was not. So a
commit announces itself in the journal's header before its last bytes are
written: where it will end, and how much of the journal it holds. One thread,
which holds the archive's lock.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace

from zarrfs.errors import CorruptError, UnavailableError, ZarrfsError
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.writable_journal import ArchiveMark, JournalContext, journal_path

_BLOCK_BYTES = 1 << 20


def settle_tail(fd: int, path: str, context: JournalContext, reached_at: str) -> JournalContext:
    """Find where the archive ends, after cutting off a part of a commit.

    `reached_at` leads to the archive even when another file has its path.
    Returns what the journal's context should say of the archive.
    Raises: CorruptError when the archive is not the one the journal belongs to.
    """
    size = os.fstat(fd).st_size
    committed = context.committed
    if not committed.matches(fd):
        raise foreign(path)
    if size == committed.archive_bytes:
        return context
    whole = is_whole(reached_at, committed.archive_bytes, size)
    if whole and size != context.announced_bytes:
        raise foreign(path)
    if not whole and not committed.archive_bytes:
        raise foreign(path)  # a new archive is whole before it gets its name
    try:
        if not whole:
            os.ftruncate(fd, committed.archive_bytes)
        os.fsync(fd)
    except OSError as error:
        raise UnavailableError(path, f"settling an unfinished commit: {error}") from error
    if not whole:
        return context
    return replace(context, committed=ArchiveMark.of(fd), position=context.announced_position)


def is_whole(path: str, committed_bytes: int, size_bytes: int) -> bool:
    """Whether what lies behind the committed part is a commit, to its last byte."""
    with suppress(ZarrfsError):
        archive = Archive.open(path, save_index=False)
        try:
            end = archive.end
            if end.end == size_bytes and end.directory_start >= committed_bytes:
                _read_contents(archive, committed_bytes)
                return True
        finally:
            archive.close()
    return False


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
