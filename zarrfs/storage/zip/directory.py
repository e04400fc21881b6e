"""Reads a whole central directory into columns, a window at a time.

Memory is bounded by the window and the columns, never by objects of entries.
Entries keep the archive's order; which of them are shown under which nodeid
is decided in `hierarchy`. One thread reads a directory. Specification:
APPNOTE.TXT 4.3.12.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zarrfs.errors import CorruptError
from zarrfs.storage.zip.attributes import FAULT_REASONS, Fault, faults, modes, mtimes_ns
from zarrfs.storage.zip.central import read_records, record_starts
from zarrfs.storage.zip.end_record import EndRecord
from zarrfs.storage.zip.folders import FolderTable, place
from zarrfs.storage.zip.format import LOCAL
from zarrfs.storage.zip.names import read_names
from zarrfs.storage.zip.problems import Problem, Problems
from zarrfs.storage.zip.spans import SLACK, Bools, Bytes, Ints

WINDOW_BYTES: Final = 8 << 20
MAX_DIRECTORY_BYTES: Final = (1 << 32) - (1 << 20)
"""Positions in the text of all names are uint32."""


class Columns(NamedTuple):
    """One element an entry, in the archive's order."""

    path_start: NDArray[np.uint32]
    """Where the whole name begins in the text of all names."""
    name_start: NDArray[np.uint32]
    """Where its last component begins."""
    name_end: NDArray[np.uint32]
    """Where the whole name ends (a folder's slash excluded)."""
    folder: NDArray[np.uint32]
    """Number of the folder that holds it."""
    is_file: Bools
    shown: Bools
    offset: Ints
    """Of the local header, in the file."""
    csize: Ints
    usize: Ints
    crc: NDArray[np.uint32]
    method: NDArray[np.uint8]
    mode: NDArray[np.uint16]
    mtime_ns: Ints
    fault: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Directory:
    """A central directory, read."""

    text: Bytes
    """All names, between zeros; SLACK zeros at the end."""
    columns: Columns
    folders: FolderTable
    problems: Problems

    @property
    def entry_count(self) -> int:
        return len(self.columns.offset)


def read_directory(
    fd: int, end: EndRecord, subject: str, window_bytes: int = WINDOW_BYTES
) -> Directory:
    """Read and check the central directory that an end record points to.

    Raises: CorruptError where the chain of records is broken.
    """
    if end.directory_size > MAX_DIRECTORY_BYTES:
        raise CorruptError(subject, "its directory is too large: more than 4 GiB")
    folders, problems = FolderTable(subject), Problems()
    parts: list[Columns] = []
    texts: list[Bytes] = []
    row = text_start = 0
    position, stop = end.directory_start, end.directory_start + end.directory_size
    while position < stop:
        window = _read_window(fd, position, min(stop - position, window_bytes), subject)
        starts, used = record_starts(window)
        if not used:
            raise _damaged(subject, position - end.directory_start)
        columns, text = _read_window_columns(
            window, starts, end, folders, problems, row, text_start
        )
        parts.append(columns)
        texts.append(text)
        row, text_start, position = row + len(starts), text_start + len(text), position + used
    _check_count(row, end, problems)
    texts.append(np.zeros(SLACK, np.uint8))
    directory = Directory(np.concatenate(texts), _concatenate(parts), folders, problems)
    _mark_misplaced(directory, end)
    return directory


def _damaged(subject: str, where: int) -> CorruptError:
    return CorruptError(
        subject,
        f"its directory is damaged {where} bytes from its start",
        remedy="'zarrfs repair' can rebuild it from the entries",
    )


def _check_count(found: int, end: EndRecord, problems: Problems) -> None:
    declared = end.entry_count
    if found != declared and not (not end.zip64 and found % 65536 == declared):
        problems.add(Problem(b"", f"{declared} entries declared, {found} found"))


def _read_window(fd: int, position: int, size: int, subject: str) -> Bytes:
    data = os.pread(fd, size, position)
    if len(data) < size:
        raise CorruptError(subject, "it became shorter while it was read")
    return np.frombuffer(data, np.uint8)


def _read_window_columns(
    window: Bytes,
    starts: Ints,
    end: EndRecord,
    folders: FolderTable,
    problems: Problems,
    row: int,
    text_start: int,
) -> tuple[Columns, Bytes]:
    records = read_records(window, starts)
    names = read_names(window, records, problems)
    numbers, components, is_file = place(names, folders, row, text_start)
    ends = names.starts + names.lengths - ~is_file
    method = np.minimum(records.fields["method"], 255).astype(np.uint8)
    fault = faults(records)
    columns = Columns(
        path_start=(names.starts + text_start).astype(np.uint32),
        name_start=(components + text_start).astype(np.uint32),
        name_end=(ends + text_start).astype(np.uint32),
        folder=numbers.astype(np.uint32),
        is_file=is_file,
        shown=names.shown,
        offset=records.offset + end.base,
        csize=records.csize,
        usize=records.usize,
        crc=records.fields["crc"].copy(),
        method=method,
        mode=modes(records, is_file),
        mtime_ns=mtimes_ns(records),
        fault=fault,
    )
    return columns, names.text[:-SLACK]


def _concatenate(parts: list[Columns]) -> Columns:
    if not parts:
        return Columns(*(np.empty(0, dtype) for dtype in _DTYPES))
    joined: list[NDArray[Any]] = []
    # One column at a time, letting go of its parts, keeps the peak low.
    rows: list[list[NDArray[Any] | None]] = [list(part) for part in parts]
    parts.clear()
    for index in range(len(Columns._fields)):
        joined.append(
            np.concatenate([column for row in rows if (column := row[index]) is not None])
        )
        for row in rows:
            row[index] = None
    return Columns(*joined)


_DTYPES: Final = (
    "u4", "u4", "u4", "u4", "?", "?", "i8", "i8", "i8", "u4", "u1", "u2", "i8", "u1",
)  # fmt: skip


def _mark_misplaced(directory: Directory, end: EndRecord) -> None:
    """Fault the entries that reach outside the archive, or into the next entry.

    The least an entry takes is its header, its name and its content; what its
    local extra fields take is only known when it is read.
    """
    columns = directory.columns
    fault = columns.fault
    unplaced = columns.offset < end.base
    fault[unplaced & (fault == 0)] = Fault.OUTSIDE
    order = _offset_order(columns.offset)
    begin = columns.offset[order]
    need = LOCAL.size + columns.csize[order]
    stop = begin + need
    outside = (stop > end.directory_start) | (need < 0)
    following = np.append(begin[1:], end.directory_start)
    overlap = ~outside & (stop > following)
    good = fault[order] == 0
    fault[order[outside & good]] = Fault.OUTSIDE
    fault[order[overlap & good]] = Fault.OVERLAP
    for row in np.flatnonzero(fault).tolist():
        reason = f"cannot be read: {FAULT_REASONS[Fault(int(fault[row]))]}"
        name = directory.text[columns.path_start[row] : columns.name_end[row]].tobytes()
        directory.problems.add(Problem(name, reason))


def _offset_order(offsets: Ints) -> Ints:
    if (offsets[1:] > offsets[:-1]).all():
        return np.arange(len(offsets))
    return np.argsort(offsets, kind="stable")
