"""The records that a commit writes: local headers, directory records, the end.

Entries are stored (method 0) unless their compressed bytes were copied from
elsewhere in the archive. Pure; any thread. Specification: PKWARE APPNOTE.TXT
4.3.7, 4.3.12, 4.3.14 to 4.3.16, 4.5.3 (ZIP64), 4.5.5 (NTFS); the extended
timestamp and the owner as in Info-ZIP's "proginfo/extrafld.txt".
"""

from __future__ import annotations

import stat
import time
from struct import Struct
from typing import Final, NamedTuple

from zarrfs.storage.zip.format import (
    CENTRAL,
    CENTRAL_SIGNATURE,
    END,
    END_SIGNATURE,
    LOCAL,
    LOCAL_SIGNATURE,
    MAX_16,
    MAX_32,
    ZIP64_END,
    ZIP64_END_SIGNATURE,
    ZIP64_LOCATOR,
    ZIP64_LOCATOR_SIGNATURE,
    Extra,
    Flag,
    Host,
)

MAX_NAME_BYTES: Final = MAX_16
_NEEDED: Final = 20
_NEEDED_ZIP64: Final = 45
_DOS_FOLDER: Final = 0x10
_FILETIME_1970: Final = 116_444_736_000_000_000
_FIELD = Struct("<HH")
_TIMESTAMP = Struct("<HHBi")
_NTFS = Struct("<HHIHH3Q")
_OWNER = Struct("<HHBBIBI")
_OWNER_FIELD: Final = 0x7875
_ATTRIBUTE_FIELDS: Final = (Extra.TIMESTAMP, Extra.NTFS, _OWNER_FIELD)


class EntryRecord(NamedTuple):
    """One entry, as its headers describe it."""

    path: bytes
    """With a slash at the end for a folder."""
    mode: int
    mtime_ns: int
    method: int
    crc32: int
    csize: int
    usize: int
    offset: int
    """Of its local header, from the archive's beginning."""
    owner: tuple[int, int] | None = None
    """uid and gid, where they are not those of the archive's owner."""


def local_header(entry: EntryRecord) -> bytes:
    """4.3.7; its size depends on nothing but the path and the sizes."""
    wide = entry.usize >= MAX_32 or entry.csize >= MAX_32
    extra = _timestamp(entry.mtime_ns) + _owner(entry.owner)
    if wide:
        extra = _FIELD.pack(Extra.ZIP64, 16) + _u64(entry.usize, entry.csize) + extra
    clock, date = dos_time(entry.mtime_ns)
    return (
        LOCAL.pack(
            LOCAL_SIGNATURE,
            _NEEDED_ZIP64 if wide else _NEEDED,
            _flags(entry.path),
            entry.method,
            clock,
            date,
            entry.crc32,
            MAX_32 if wide else entry.csize,
            MAX_32 if wide else entry.usize,
            len(entry.path),
            len(extra),
        )
        + entry.path
        + extra
    )


def central_record(entry: EntryRecord) -> bytes:
    """4.3.12."""
    zip64 = [value for value in (entry.usize, entry.csize, entry.offset) if value >= MAX_32]
    extra = time_fields(entry.mtime_ns) + _owner(entry.owner)
    if zip64:
        extra = _FIELD.pack(Extra.ZIP64, 8 * len(zip64)) + _u64(*zip64) + extra
    needed = _NEEDED_ZIP64 if zip64 else _NEEDED
    clock, date = dos_time(entry.mtime_ns)
    return (
        CENTRAL.pack(
            CENTRAL_SIGNATURE,
            needed,
            Host.UNIX,
            needed,
            _flags(entry.path),
            entry.method,
            clock,
            date,
            entry.crc32,
            min(entry.csize, MAX_32),
            min(entry.usize, MAX_32),
            len(entry.path),
            len(extra),
            0,
            0,
            0,
            external_attributes(entry.mode),
            min(entry.offset, MAX_32),
        )
        + entry.path
        + extra
    )


def with_attributes(raw: bytes, mode: int, mtime_ns: int, owner: tuple[int, int] | None) -> bytes:
    """Return a directory record as it was, but for mode, mtime and owner."""
    fields = list(CENTRAL.unpack_from(raw))
    name_size, extra_size = fields[11], fields[12]
    name_end = CENTRAL.size + name_size
    extra_end = name_end + extra_size
    extra = time_fields(mtime_ns) + _owner(owner) + _without_attributes(raw[name_end:extra_end])
    fields[2] = Host.UNIX
    fields[6], fields[7] = dos_time(mtime_ns)
    fields[12] = len(extra)
    fields[16] = external_attributes(mode)
    return CENTRAL.pack(*fields) + raw[CENTRAL.size : name_end] + extra + raw[extra_end:]


def _without_attributes(extra: bytes) -> bytes:
    kept = b""
    position = 0
    while position + _FIELD.size <= len(extra):
        identifier, size = _FIELD.unpack_from(extra, position)
        end = position + _FIELD.size + size
        if identifier not in _ATTRIBUTE_FIELDS:
            kept += extra[position:end]
        position = end
    return kept


def end_records(
    *, count: int, directory_offset: int, directory_size: int, comment: bytes, zip64: bool
) -> bytes:
    """4.3.14 to 4.3.16: what follows the directory. `zip64` even where it is not needed."""
    position = directory_offset + directory_size
    wide = b""
    if zip64 or count >= MAX_16 or directory_offset >= MAX_32 or directory_size >= MAX_32:
        wide = ZIP64_END.pack(
            ZIP64_END_SIGNATURE,
            ZIP64_END.size - 12,
            Host.UNIX << 8 | _NEEDED_ZIP64,
            _NEEDED_ZIP64,
            0,
            0,
            count,
            count,
            directory_size,
            directory_offset,
        ) + ZIP64_LOCATOR.pack(ZIP64_LOCATOR_SIGNATURE, 0, position, 1)
    return (
        wide
        + END.pack(
            END_SIGNATURE,
            0,
            0,
            min(count, MAX_16),
            min(count, MAX_16),
            min(directory_size, MAX_32),
            min(directory_offset, MAX_32),
            len(comment),
        )
        + comment
    )


def external_attributes(mode: int) -> int:
    """4.4.15: `st_mode` above, DOS attributes below."""
    return mode << 16 | (_DOS_FOLDER if stat.S_ISDIR(mode) else 0)


def time_fields(mtime_ns: int) -> bytes:
    """The mtime in seconds, for all programs, and in units of 100 ns."""
    filetime = mtime_ns // 100 + _FILETIME_1970
    fields = _timestamp(mtime_ns)
    if 0 <= filetime < 1 << 63:
        fields += _NTFS.pack(Extra.NTFS, 32, 0, 1, 24, filetime, filetime, filetime)
    return fields


def _timestamp(mtime_ns: int) -> bytes:
    seconds = mtime_ns // 1_000_000_000
    if not -(1 << 31) <= seconds < 1 << 31:
        return b""
    return _TIMESTAMP.pack(Extra.TIMESTAMP, 5, 1, seconds)


def _owner(owner: tuple[int, int] | None) -> bytes:
    """Info-ZIP's "ux" field, which `unzip -X` restores."""
    if owner is None:
        return b""
    uid, gid = owner
    return _OWNER.pack(_OWNER_FIELD, 11, 1, 4, uid, 4, gid)


def dos_time(mtime_ns: int) -> tuple[int, int]:
    """4.4.6: local time, of two seconds, from 1980 to 2107."""
    try:
        local = time.localtime(mtime_ns // 1_000_000_000)
    except (OverflowError, OSError, ValueError):
        return 0, 0x21
    if not 1980 <= local.tm_year <= 2107:
        return 0, 0x21
    clock = local.tm_hour << 11 | local.tm_min << 5 | min(local.tm_sec, 59) // 2
    return clock, (local.tm_year - 1980) << 9 | local.tm_mon << 5 | local.tm_mday


def _flags(path: bytes) -> int:
    """UTF-8 is only claimed for what is UTF-8: readers refuse the archive otherwise."""
    if path.isascii():
        return 0
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return 0
    return Flag.UTF8


def _u64(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)
