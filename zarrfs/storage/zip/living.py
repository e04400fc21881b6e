"""The entries of an archive that live, as they lie in its file.

For whoever copies an archive: where each entry begins and ends, its local
header and data descriptor included, and its directory record, to be copied as
it is but for where it points. What cannot be copied faithfully is refused.
One thread. Specification: APPNOTE.TXT 4.3.7, 4.3.9, 4.3.12.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from zarrfs.errors import CorruptError
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.central import read_records, record_starts
from zarrfs.storage.zip.format import (
    CENTRAL,
    DESCRIPTOR_SIGNATURE,
    LOCAL,
    LOCAL_SIGNATURE,
    MAX_32,
    Flag,
)
from zarrfs.storage.zip.offsets import with_offset
from zarrfs.storage.zip.spans import Bools, Bytes, Ints, loads
from zarrfs.storage.zip.writable_directory import KeptRecords

_OFFSET_FIELD: Final = 42
_NAME_LENGTH_FIELD: Final = 26
_EXTRA_LENGTH_FIELD: Final = 28
_DESCRIPTOR_MAX: Final = 24


@dataclass(frozen=True, slots=True)
class Living:
    """Entries in the order in which they are to be copied. One element an entry."""

    starts: Ints
    stops: Ints
    """Where they lie in the file."""
    directory: Bytes
    """Their directory records, one after the other."""
    record_starts: Ints
    listed: Ints
    """Which entries the records belong to, in the order of the directory to be."""

    def sorted_by(self, order: Callable[[bytes], tuple[int, ...]]) -> Living:
        """Return them in an order of their paths, in the file and in the directory."""
        place_of = np.empty(len(self.starts), np.int64)
        place_of[self.listed] = self.record_starts
        paths = [self._path(start) for start in place_of.tolist()]
        by_path = np.array(sorted(range(len(paths)), key=lambda n: order(paths[n])), np.int64)
        return Living(
            self.starts[by_path],
            self.stops[by_path],
            self.directory,
            place_of[by_path],
            np.arange(len(by_path)),
        )

    def _path(self, record_start: int) -> bytes:
        record = self.directory[record_start : record_start + _size(self.directory, record_start)]
        data = record.tobytes()
        return data[CENTRAL.size : CENTRAL.size + int(CENTRAL.unpack_from(data)[11])]

    def ranges(self) -> list[tuple[int, int]]:
        """Return what to copy, neighbours joined."""
        if not len(self.starts):
            return []
        gaps = np.flatnonzero(self.starts[1:] != self.stops[:-1])
        begins = self.starts[np.append(0, gaps + 1)].tolist()
        ends = self.stops[np.append(gaps, len(self.stops) - 1)].tolist()
        return list(zip(begins, ends, strict=True))

    def records_at(self, offsets: Ints) -> Iterator[bytes]:
        """Yield the directory with its entries at new offsets."""
        wanted = offsets[self.listed]
        old = loads(self.directory, 4)[self.record_starts + _OFFSET_FIELD]
        narrow = (old != MAX_32) & (wanted < MAX_32)
        changed = self.directory.copy()
        for byte in range(4):
            places = self.record_starts[narrow] + _OFFSET_FIELD + byte
            changed[places] = (wanted[narrow] >> (8 * byte)) & 0xFF
        in_order = (self.record_starts[1:] > self.record_starts[:-1]).all()
        if in_order and narrow.all():
            yield changed.tobytes()
            return
        for start, offset, is_narrow in zip(
            self.record_starts.tolist(), wanted.tolist(), narrow.tolist(), strict=True
        ):
            record = changed[start : start + _size(changed, start)].tobytes()
            yield record if is_narrow else with_offset(record, offset)


def read_living(archive: Archive) -> Living:
    """Find the entries that live, in the order of the file.

    Raises: CorruptError, for an entry that is not where the directory says, or
    that overlaps another.
    """
    kept = b"".join(run.data for run in KeptRecords(archive, set(), set()).runs())
    directory = np.frombuffer(kept, np.uint8)
    starts_of_records, used = record_starts(directory)
    assert used == len(directory)
    if not len(starts_of_records):
        nothing: Ints = np.empty(0, np.int64)
        return Living(nothing, nothing, directory, nothing, nothing)
    records = read_records(directory, starts_of_records)
    starts = records.offset + archive.end.base
    check = _Checker(archive, directory, starts_of_records)
    stops = _stops(archive, starts, records.csize, records.fields, check)
    order = np.argsort(starts, kind="stable")
    check.refuse(order[1:][starts[order[1:]] < stops[order[:-1]]], "it overlaps another entry")
    listed = np.empty(len(order), np.int64)
    listed[order] = np.arange(len(order))
    return Living(starts[order], stops[order], directory, starts_of_records, listed)


class _Checker:
    def __init__(self, archive: Archive, directory: Bytes, record_starts: Ints) -> None:
        self._archive = archive
        self._directory = directory
        self._record_starts = record_starts

    def refuse(self, entries: Ints, reason: str) -> None:
        """Raises: CorruptError, if there are any."""
        if not len(entries):
            return
        start = int(self._record_starts[entries[0]])
        record = self._directory[start : start + _size(self._directory, start)].tobytes()
        name = record[CENTRAL.size : CENTRAL.size + int(CENTRAL.unpack_from(record)[11])]
        subject = f"{self._archive.path}: {os.fsdecode(name)}"
        raise CorruptError(subject, f"{reason}; nothing was changed")


def _stops(archive: Archive, starts: Ints, csize: Ints, fields: Any, check: _Checker) -> Ints:
    """Where entries end, as their local headers say."""
    end = archive.end
    outside: Bools = (starts < end.base) | (starts + LOCAL.size > end.directory_start)
    check.refuse(np.flatnonzero(outside), "it lies outside the archive")
    archive.file.require(end.directory_start)
    data = np.frombuffer(archive.file.view, np.uint8)
    signature = int.from_bytes(LOCAL_SIGNATURE, "little")
    absent = np.flatnonzero(loads(data, 4)[starts] != signature)
    check.refuse(absent, "there is no entry where the directory says")
    u16 = loads(data, 2)
    lengths = u16[starts + _NAME_LENGTH_FIELD].astype(np.int64)
    lengths += u16[starts + _EXTRA_LENGTH_FIELD]
    stops: Ints = starts + LOCAL.size + lengths + csize
    check.refuse(np.flatnonzero(stops > end.directory_start), "it lies outside the archive")
    flags = u16[starts + 6]
    for row in np.flatnonzero(flags & int(Flag.DESCRIPTOR)).tolist():
        stops[row] += _descriptor_size(archive, int(stops[row]), fields[row])
    return stops


def _descriptor_size(archive: Archive, position: int, fields: Any) -> int:
    """4.3.9: with or without a signature, with sizes of 4 or of 8 bytes."""
    room = min(_DESCRIPTOR_MAX, archive.end.directory_start - position)
    data = archive.file.read(position, room)
    signature = 4 if data[:4] == DESCRIPTOR_SIGNATURE else 0
    if data[signature : signature + 4] != int(fields["crc"]).to_bytes(4, "little"):
        return 0  # none, whatever the flag says
    sizes = int(fields["csize"]).to_bytes(4, "little") + int(fields["usize"]).to_bytes(4, "little")
    wide = data[signature + 4 : signature + 12] != sizes
    return min(signature + (20 if wide else 12), room)


def _size(directory: Bytes, start: int) -> int:
    fields = CENTRAL.unpack_from(directory[start : start + CENTRAL.size].tobytes())
    return CENTRAL.size + int(fields[11]) + int(fields[12]) + int(fields[13])
