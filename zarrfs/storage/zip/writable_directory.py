"""The directory records of a base that a commit takes over, a window at a time.

Records of one run are copied as one block: a commit that changes one entry of
a million costs one pass over the directory's bytes. Records that are dropped,
and those an archive had in vain (an entry that a later one of the same name
replaces), are left out; those of names that cannot be shown are kept, such as
a file's where there is a folder of that name. One thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from zarrfs.errors import CorruptError
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.central import record_starts
from zarrfs.storage.zip.directory import WINDOW_BYTES, Directory, read_directory
from zarrfs.storage.zip.format import CENTRAL
from zarrfs.storage.zip.index import NO_ENTRY, NOT_A_FOLDER
from zarrfs.storage.zip.spans import Bools


class Run(NamedTuple):
    """Consecutive records that are kept."""

    data: bytes
    records: int


class KeptRecords:
    """The records of an archive's directory, without those of some rows."""

    def __init__(self, archive: Archive, dropped_rows: set[int], wanted: set[int]) -> None:
        """`wanted` are numbers of entries whose records are put into `found`."""
        self._archive = archive
        self._wanted = np.array(sorted(wanted), np.int64)
        self.found: dict[int, bytes] = {}
        numbers = archive.index.columns["entry"]
        rows = np.fromiter(dropped_rows, np.int64, len(dropped_rows))
        gone = numbers[rows]
        self._gone = [gone[gone != NO_ENTRY].astype(np.int64)]
        if archive.index.superseded:
            self._gone.append(self._superseded())
        self._gone_numbers = np.sort(np.concatenate(self._gone))

    def _superseded(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        directory = read_directory(
            self._archive.file.fd, self._archive.end, self._archive.file.path
        )
        useless: Bools = directory.columns["shown"].copy()
        numbers = self._archive.index.columns["entry"]
        useless[numbers[numbers != NO_ENTRY]] = False
        if self._archive.problems.count:
            useless[self._hidden_by_folders(directory, useless)] = False
        return np.flatnonzero(useless)

    def _hidden_by_folders(self, directory: Directory, among: Bools) -> list[int]:
        """Return the files that are not shown because a folder has their name.

        Nothing replaced those: another program may still want them.
        """
        index, columns, text = self._archive.index, directory.columns, directory.text
        hidden = []
        for number in np.flatnonzero(among & columns["is_file"]).tolist():
            path = text[columns["path_start"][number] : columns["name_end"][number]].tobytes()
            row = index.resolve(path)
            if row >= 0 and index.views["folder"][row] != NOT_A_FOLDER:
                hidden.append(number)
        return hidden

    def runs(self) -> Iterator[Run]:
        """Yield what is kept, in the archive's order. Raises: CorruptError."""
        end = self._archive.end
        position, stop = end.directory_start, end.directory_start + end.directory_size
        number = 0
        while position < stop:
            size = min(stop - position, WINDOW_BYTES)
            window = os.pread(self._archive.file.fd, size, position)
            starts, used = record_starts(np.frombuffer(window, np.uint8))
            if not used:
                raise CorruptError(self._archive.path, "its directory is damaged")
            bounds = [*starts.tolist(), used]
            yield from self._runs_of_window(window, bounds, number)
            number += len(starts)
            position += used

    def _runs_of_window(self, window: bytes, bounds: list[int], first: int) -> Iterator[Run]:
        last = first + len(bounds) - 1
        for number in _between(self._wanted, first, last):
            self.found[number] = window[bounds[number - first] : bounds[number - first + 1]]
        begin = 0
        for number in [*_between(self._gone_numbers, first, last), last]:
            place = number - first
            if place > begin:
                yield Run(window[bounds[begin] : bounds[place]], place - begin)
            begin = place + 1

    def records(self) -> Iterator[bytes]:
        """Yield what is kept, record by record."""
        for run in self.runs():
            position = 0
            while position < len(run.data):
                end = position + record_size(run.data, position)
                yield run.data[position:end]
                position = end


def _between(
    numbers: np.ndarray[tuple[int], np.dtype[np.int64]], first: int, last: int
) -> list[int]:
    low, high = np.searchsorted(numbers, (first, last))
    found: list[int] = numbers[low:high].tolist()
    return found


def record_size(data: bytes, position: int = 0) -> int:
    """Return the length of a directory record."""
    fields = CENTRAL.unpack_from(data, position)
    return CENTRAL.size + int(fields[11]) + int(fields[12]) + int(fields[13])


def record_path(record: bytes) -> bytes:
    return record[CENTRAL.size : CENTRAL.size + int(CENTRAL.unpack_from(record)[11])]
