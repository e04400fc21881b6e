"""What became of a commit that was cut short.

Behind the archive as it was last known to be committed there may be nothing,
a part of a commit, or a whole one whose completion the journal does not know.
(Nobody else appends to an archive behind its end record: other programs write
over that, and the mark tells.) A whole one is kept, because somebody may be
reading it; a part is cut off. The journal still has everything that the commit
was to write. One thread, which holds the archive's lock.
"""

from __future__ import annotations

import os
from contextlib import suppress

from zarrfs.errors import CorruptError, UnavailableError, ZarrfsError
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.writable_journal import ArchiveMark, journal_path

_BLOCK_BYTES = 1 << 20


def settle_tail(fd: int, path: str, committed: ArchiveMark) -> int:
    """Return where the archive ends, after cutting off a part of a commit.

    Raises: CorruptError when the archive is not the one the journal belongs to.
    """
    size = os.fstat(fd).st_size
    if not committed.matches(fd):
        raise foreign(path)
    try:
        if is_whole(path, committed.archive_bytes, size):
            os.fsync(fd)
            return size
        os.ftruncate(fd, committed.archive_bytes)
        os.fsync(fd)
    except OSError as error:
        raise UnavailableError(path, f"settling an unfinished commit: {error}") from error
    return committed.archive_bytes


def is_whole(path: str, committed_bytes: int, size_bytes: int) -> bool:
    """Whether what lies behind the committed part is a commit, to its last byte."""
    if size_bytes == committed_bytes:
        return False
    with suppress(ZarrfsError):
        archive = Archive.open(path, save_index=False)
        try:
            if archive.end.end != size_bytes or archive.end.directory_start < committed_bytes:
                return False
            return _contents_are_whole(archive, committed_bytes)
        finally:
            archive.close()
    return False


def _contents_are_whole(archive: Archive, committed_bytes: int) -> bool:
    """Read every appended entry, which checks its CRC. Raises: CorruptError."""
    views = archive.index.views
    for row in (archive.index.columns["offset"] >= committed_bytes).nonzero()[0].tolist():
        for offset in range(0, views["usize"][row], _BLOCK_BYTES):
            archive.content.read(row, offset, _BLOCK_BYTES)
    return True


def foreign(path: str) -> CorruptError:
    return CorruptError(
        path,
        "the archive was changed by another program since its journal was begun",
        remedy=f"put the archive back, or move {journal_path(path)} away: it holds "
        "changes that are not in the archive",
    )
