"""Finds the end of an archive, and from it the central directory.

Understands archive comments, bytes after the archive, bytes before it (a
self-extractor) and ZIP64. Reads with `pread` only; any thread.
Specification: APPNOTE.TXT 4.3.14 to 4.3.16.
"""

from __future__ import annotations

import mmap
import os
from typing import Final, NamedTuple

from zarrfs.errors import CorruptError, UnsupportedError
from zarrfs.storage.zip.format import (
    CENTRAL_SIGNATURE,
    END,
    END_SIGNATURE,
    MAX_16,
    MAX_32,
    ZIP64_END,
    ZIP64_END_SIGNATURE,
    ZIP64_LOCATOR,
    ZIP64_LOCATOR_SIGNATURE,
)

TAIL_BYTES: Final = MAX_16 + END.size
"""Where an end record can start: its comment is at most 65,535 bytes."""


class EndRecord(NamedTuple):
    """Where an archive's parts are, as positions in its file."""

    directory_start: int
    directory_size: int
    entry_count: int
    """As declared; it wraps at 65,536 in archives without ZIP64."""
    base: int
    """Bytes before the archive: added to each header offset."""
    comment: bytes
    position: int
    """Of the end record itself (the ZIP64 one is before it)."""
    end: int
    """Of the archive; what follows in the file is no part of it."""
    zip64: bool


class _Claims(NamedTuple):
    """What an end record says of the directory, wherever it says it."""

    position: int
    disks: int
    entry_count: int
    directory_size: int
    directory_offset: int


def locate(fd: int, size_bytes: int, subject: str) -> EndRecord:
    """Find the end record that a whole central directory precedes.

    The last one that fits wins, so that one quoted in the comment is passed by.

    Raises: CorruptError, UnsupportedError (the archive spans several volumes).
    """
    tail_start = max(0, size_bytes - TAIL_BYTES)
    tail = os.pread(fd, size_bytes - tail_start, tail_start)
    found = tail.rfind(END_SIGNATURE)
    reason = "no end of central directory: not a zip archive, or cut off"
    while found >= 0:
        if len(tail) - found >= END.size:
            record, why = _read_end(fd, tail, found, tail_start, subject)
            if record is not None:
                return record
            reason = why
        found = tail.rfind(END_SIGNATURE, 0, found)
    raise CorruptError(
        subject, reason, remedy="'zarrfs repair' rebuilds the directory of a cut-off archive"
    )


def _read_end(
    fd: int, tail: bytes, found: int, tail_start: int, subject: str
) -> tuple[EndRecord | None, str]:
    fields = END.unpack_from(tail, found)
    _, disk, directory_disk, _, count, size, offset, comment_size = fields
    position = tail_start + found
    claims = _Claims(position, max(disk, directory_disk) + 1, count, size, offset)
    wide = _read_zip64(fd, position)
    if wide is not None:
        claims = wide
    elif size == MAX_32 or offset == MAX_32:
        return None, "the ZIP64 end record is missing"
    if claims.disks > 1:
        raise UnsupportedError(
            subject, "the archive spans several volumes", remedy="join them with 'zip -s 0'"
        )
    start = _directory_start(fd, claims)
    if start is None:
        return None, "the central directory is not where the end record says"
    comment = tail[found + END.size : found + END.size + comment_size]
    return (
        EndRecord(
            directory_start=start,
            directory_size=claims.directory_size,
            entry_count=claims.entry_count,
            base=start - claims.directory_offset,
            comment=comment,
            position=position,
            end=position + END.size + len(comment),
            zip64=wide is not None,
        ),
        "",
    )


def _read_zip64(fd: int, end_position: int) -> _Claims | None:
    locator_position = end_position - ZIP64_LOCATOR.size
    if locator_position < ZIP64_END.size:
        return None
    locator = os.pread(fd, ZIP64_LOCATOR.size, locator_position)
    if len(locator) < ZIP64_LOCATOR.size or not locator.startswith(ZIP64_LOCATOR_SIGNATURE):
        return None
    _, _, offset, disks = ZIP64_LOCATOR.unpack(locator)
    # What precedes a self-extracting archive shifts it: then the record is
    # where it would be without an extensible data sector.
    for position in (offset, locator_position - ZIP64_END.size):
        if position > locator_position - ZIP64_END.size:
            continue
        record = os.pread(fd, ZIP64_END.size, position)
        if record.startswith(ZIP64_END_SIGNATURE):
            fields = ZIP64_END.unpack(record)
            _, _, _, _, disk, directory_disk, _, count, size, directory_offset = fields
            volumes = max(disks, disk + 1, directory_disk + 1)
            return _Claims(position, volumes, count, size, directory_offset)
    return None


def _directory_start(fd: int, claims: _Claims) -> int | None:
    """The directory ends where the end records begin; failing that, trust its offset."""
    before_end = claims.position - claims.directory_size
    for start in (before_end, claims.directory_offset):
        if not max(claims.directory_offset, 0) <= start <= before_end:
            continue
        if claims.directory_size == 0:
            return start
        if os.pread(fd, len(CENTRAL_SIGNATURE), start) == CENTRAL_SIGNATURE:
            return start
    return None


def locate_before_cut(fd: int, size_bytes: int, whole_bytes: int, subject: str) -> EndRecord:
    """Find the last end record of an archive whose newest commit was cut short.

    Commits only append: the archive ended whole at `whole_bytes` once, and
    perhaps again after that. An archive stored within the cut-off part has no
    end record that fits, because its offsets count from its own beginning.

    Raises: CorruptError.
    """
    last_whole = locate(fd, whole_bytes, subject)
    return _last_of(fd, size_bytes, whole_bytes, last_whole.base, subject) or last_whole


def locate_lost(fd: int, size_bytes: int, subject: str) -> EndRecord | None:
    """Find the last end record that fits, however far from the end of the file.

    Only of an archive that begins where the file does: that of an archive stored
    in this one is none.
    """
    return _last_of(fd, size_bytes, 0, 0, subject)


def _last_of(fd: int, size_bytes: int, after: int, base: int, subject: str) -> EndRecord | None:
    if not size_bytes:
        return None
    with mmap.mmap(fd, size_bytes, prot=mmap.PROT_READ) as data:
        found = data.rfind(END_SIGNATURE, after)
        while found >= 0:
            tail = data[found : found + TAIL_BYTES]
            if len(tail) >= END.size:
                record, _ = _read_end(fd, tail, 0, found, subject)
                if record is not None and record.base == base and record.end <= size_bytes:
                    return record
            found = data.rfind(END_SIGNATURE, after, found)
    return None
