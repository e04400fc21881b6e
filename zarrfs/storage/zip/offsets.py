"""Reading and changing where a directory record points.

For records that are kept as they are, whoever wrote them. Pure; any thread.
Specification: APPNOTE.TXT 4.3.12, 4.5.3 (ZIP64).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from zarrfs.storage.zip.format import CENTRAL, MAX_32, Extra

_FIELD = Struct("<HH")
_U64 = Struct("<Q")
_NAME_LENGTH: Final = 11
_EXTRA_LENGTH: Final = 12
_CSIZE: Final = 9
_USIZE: Final = 10
_OFFSET: Final = 17
"""Positions in the tuple that `CENTRAL` unpacks to."""


def header_offset(record: bytes) -> int:
    """Return the offset of an entry's local header."""
    return _wide(record, _OFFSET)


def with_offset(record: bytes, offset: int) -> bytes:
    """Return a directory record that points elsewhere, otherwise as it was."""
    fields = CENTRAL.unpack_from(record)
    name_end = CENTRAL.size + fields[_NAME_LENGTH]
    extra_end = name_end + fields[_EXTRA_LENGTH]
    wide = [_wide(record, place) for place in (_USIZE, _CSIZE) if fields[place] == MAX_32]
    if offset >= MAX_32 or fields[_OFFSET] == MAX_32:
        wide.append(offset)
        offset = MAX_32
    extra = b"".join(
        record[start:stop]
        for kind, start, stop in _extra_fields(record, name_end, extra_end)
        if kind != Extra.ZIP64
    )
    if wide:
        zip64 = b"".join(map(_U64.pack, wide))
        extra = _FIELD.pack(Extra.ZIP64, len(zip64)) + zip64 + extra
    changed = list(fields)
    changed[_EXTRA_LENGTH] = len(extra)
    changed[_OFFSET] = offset
    name, comment = record[CENTRAL.size : name_end], record[extra_end:]
    return CENTRAL.pack(*changed) + name + extra + comment


def _wide(record: bytes, place: int) -> int:
    """Return a field, or what ZIP64 says in its stead."""
    fields = CENTRAL.unpack_from(record)
    value = int(fields[place])
    if value != MAX_32:
        return value
    name_end = CENTRAL.size + fields[_NAME_LENGTH]
    skipped = 0
    for earlier in (_USIZE, _CSIZE, _OFFSET):
        if earlier == place:
            break
        skipped += 8 * (fields[earlier] == MAX_32)
    for kind, start, stop in _extra_fields(record, name_end, name_end + fields[_EXTRA_LENGTH]):
        position = start + _FIELD.size + skipped
        if kind == Extra.ZIP64 and position + 8 <= stop:
            return int(_U64.unpack_from(record, position)[0])
    return value


def _extra_fields(record: bytes, start: int, stop: int) -> list[tuple[int, int, int]]:
    """Return kind, start and end of each extra field; a rest that is none counts as one."""
    found = []
    while start + _FIELD.size <= stop:
        kind, size = _FIELD.unpack_from(record, start)
        end = min(start + _FIELD.size + size, stop)
        found.append((kind, start, end))
        start = end
    if start < stop:
        found.append((-1, start, stop))
    return found
