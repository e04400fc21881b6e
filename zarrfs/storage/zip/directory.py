"""Reads a whole central directory into columns, a window at a time.

Memory is bounded by the window and the columns, never by objects of entries.
Entries keep the archive's order; which of them are shown under which nodeid
is decided in `hierarchy`. One thread reads a directory. Specification:
APPNOTE.TXT 4.3.12.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zarrfs.errors import CorruptError
from zarrfs.storage.zip.attributes import FAULT_REASONS, Fault, faults, modes, mtimes_ns
from zarrfs.storage.zip.central import read_records, record_starts
from zarrfs.storage.zip.end_record import EndRecord
from zarrfs.storage.zip.folders import FolderTable, place
from zarrfs.storage.zip.format import CENTRAL, LOCAL, MAX_16
from zarrfs.storage.zip.names import read_names
from zarrfs.storage.zip.problems import Problem, Problems
from zarrfs.storage.zip.spans import SLACK, Bytes, Ints

WINDOW_BYTES: Final = 2 << 20
_MAX_RECORD_BYTES: Final = CENTRAL.size + 3 * 0xFFFF
MAX_DIRECTORY_BYTES: Final = (1 << 32) - (1 << 20)
"""Positions in the text of all names are uint32."""


ENTRY_COLUMNS: Final = {
    # Where the whole name begins in the text of all names, where its last
    # component does, and where it ends (a folder's slash left out).
    "path_start": "u4",
    "name_start": "u4",
    "name_end": "u4",
    # The number of the folder that holds the entry.
    "folder": "u4",
    "is_file": "?",
    "shown": "?",
    # Of the local header, in the file.
    "offset": "i8",
    "csize": "i8",
    "usize": "i8",
    "crc": "u4",
    "method": "u1",
    "mode": "u2",
    "mtime_ns": "i8",
    "fault": "u1",
}
"""One element an entry, in the archive's order."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A central directory, read."""

    text: Bytes
    """All names, between zeros; SLACK zeros at the end."""
    columns: dict[str, NDArray[Any]]
    """Those of `ENTRY_COLUMNS`."""
    folders: FolderTable
    problems: Problems

    @property
    def entry_count(self) -> int:
        return len(self.columns["offset"])


def read_directory(
    fd: int, end: EndRecord, subject: str, window_bytes: int = WINDOW_BYTES
) -> Directory:
    """Read and check the central directory that an end record points to.

    Raises: CorruptError where the chain of records is broken.
    """
    if end.directory_size > MAX_DIRECTORY_BYTES:
        raise CorruptError(subject, "its directory is too large: more than 4 GiB")
    reader = _Reader(end, subject)
    position, stop = end.directory_start, end.directory_start + end.directory_size
    while position < stop:
        size = min(stop - position, window_bytes)
        window = _read_window(fd, position, size, subject)
        starts, used = record_starts(window)
        if used:
            reader.add(window, starts)
            position += used
        elif size < min(stop - position, _MAX_RECORD_BYTES):
            window_bytes = _MAX_RECORD_BYTES
        else:
            raise _damaged(subject, position - end.directory_start)
    directory = reader.finish()
    _mark_misplaced(directory, end)
    return directory


def _damaged(subject: str, where: int) -> CorruptError:
    return CorruptError(
        subject,
        f"its directory is damaged {where} bytes from its start",
        remedy="'zarrfs repair' can rebuild it from the entries",
    )


def _read_window(fd: int, position: int, size: int, subject: str) -> Bytes:
    data = os.pread(fd, size, position)
    if len(data) < size:
        raise CorruptError(subject, "it became shorter while it was read")
    return np.frombuffer(data, np.uint8)


class _Reader:
    """Columns being filled, one window of records after the other.

    They are allocated for as many records as the directory could have; the
    system provides memory only for those that it has.
    """

    def __init__(self, end: EndRecord, subject: str) -> None:
        self._end = end
        most = end.directory_size // CENTRAL.size
        self._columns = {name: np.empty(most, dtype) for name, dtype in ENTRY_COLUMNS.items()}
        self._text = np.empty(end.directory_size + SLACK, np.uint8)
        self._rows = 0
        self._text_size = 0
        self._folders = FolderTable(subject)
        self._problems = Problems()

    def add(self, window: Bytes, starts: Ints) -> None:
        records = read_records(window, starts)
        names = read_names(window, records, self._problems)
        place_start = self._text_size
        numbers, components, is_file = place(names, self._folders, self._rows, place_start)
        values: dict[str, Any] = {
            "path_start": names.starts + place_start,
            "name_start": components + place_start,
            "name_end": names.starts + names.lengths - ~is_file + place_start,
            "folder": numbers,
            "is_file": is_file,
            "shown": names.shown,
            "offset": records.offset + self._end.base,
            "csize": records.csize,
            "usize": records.usize,
            "crc": records.fields["crc"],
            "method": np.minimum(records.fields["method"], 255),
            "mode": modes(records, is_file),
            "mtime_ns": mtimes_ns(records),
            "fault": faults(records),
        }
        rows = slice(self._rows, self._rows + len(starts))
        for name, column in self._columns.items():
            column[rows] = values[name]
        self._rows += len(starts)
        self._append_text(names.text[:-SLACK])

    def _append_text(self, text: Bytes) -> None:
        size = self._text_size + len(text)
        if size + SLACK > len(self._text):
            # Names that had to be rewritten are there twice, and may be longer.
            self._text = np.concatenate((self._text, np.empty(size, np.uint8)))
        self._text[self._text_size : size] = text
        self._text_size = size

    def finish(self) -> Directory:
        end = self._end
        declared, found = end.entry_count, self._rows
        # Without ZIP64 the count has 16 bits: writers cut it off or let it overflow.
        possible = (found,) if end.zip64 else (min(found, MAX_16), found % (MAX_16 + 1))
        if declared not in possible:
            reason = f"{declared} entries declared, {found} found"
            self._problems.add(Problem(b"", reason))
        self._folders.finish()
        text = self._text[: self._text_size + SLACK]
        text[self._text_size :] = 0
        columns = {name: column[:found] for name, column in self._columns.items()}
        return Directory(text, columns, self._folders, self._problems)


def _mark_misplaced(directory: Directory, end: EndRecord) -> None:
    """Fault the entries that reach outside the archive, or into the next entry.

    The least an entry takes is its header, its name and its content; what its
    local extra fields take is only known when it is read.
    """
    columns = directory.columns
    fault: NDArray[np.uint8] = columns["fault"]
    begin, stop = columns["offset"], columns["csize"] + LOCAL.size
    stop += begin
    outside = stop > end.directory_start
    outside |= begin < end.base
    fault[outside & (fault == 0)] = Fault.OUTSIDE
    if (begin[1:] >= stop[:-1]).all():
        overlapping: Ints = np.empty(0, np.int64)
    else:
        order = np.argsort(begin, kind="stable")
        inside = order[~outside[order]]
        overlapping = inside[:-1][stop[inside[:-1]] > begin[inside[1:]]]
    fault[overlapping[fault[overlapping] == 0]] = Fault.OVERLAP
    for row in np.flatnonzero(fault).tolist():
        reason = f"cannot be read: {FAULT_REASONS[Fault(int(fault[row]))]}"
        name = directory.text[columns["path_start"][row] : columns["name_end"][row]].tobytes()
        directory.problems.add(Problem(name, reason))
