"""The folders of an archive, those that no entry names included.

Entries of one folder mostly follow each other. So a window of entries is first
cut, all at once, into runs whose parent is the same text as the entry before;
only the first of each run is looked up. Used by one thread, while an archive
is read.
"""

from __future__ import annotations

from array import array
from typing import Final

import numpy as np

from zarrfs.errors import CorruptError
from zarrfs.storage.zip.names import Names
from zarrfs.storage.zip.spans import Bools, Ints, equal_to_previous

ROOT_FOLDER: Final = 0
NO_ROW: Final = -1
_FOLDERS_PER_ENTRY: Final = 16
_FOLDERS_FREE: Final = 10_000
_REMEMBERED: Final = 10_000


class FolderTable:
    """Numbers folders in the order in which entries first imply them.

    A folder's number is its position in these lists; 0 is the root.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._by_name: dict[bytes, int] = {}
        """By the parent's number (four bytes) and the name."""
        self._by_path: dict[bytes, int] = {}
        """Some that were resolved lately."""
        self.parent = array("I", [ROOT_FOLDER])
        self.path_start = array("I", [0])
        """Where the folder's path begins in the text of all names."""
        self.path_length = array("I", [0])
        self.first_row = array("q", [NO_ROW])
        """The entry that implied the folder first."""
        self.own_row = array("q", [NO_ROW])
        """The last entry for the folder itself, or NO_ROW."""
        self.replaced = 0
        """Entries for folders that a later one replaces."""

    def __len__(self) -> int:
        return len(self.parent)

    def resolve(self, path: bytes, path_start: int, row: int) -> int:
        """Return the number of a folder, adding it and those above it."""
        known = self._by_path.get(path) if path else ROOT_FOLDER
        if known is not None:
            return known
        folder = ROOT_FOLDER
        length = 0
        for name in path.split(b"/"):
            length += len(name)
            key = folder.to_bytes(4, "little") + name
            child = self._by_name.get(key)
            if child is None:
                child = self._by_name[key] = self._add(folder, path_start, length, row)
            folder = child
            length += 1
        if len(self._by_path) > _REMEMBERED:
            self._by_path.clear()
        self._by_path[path] = folder
        return folder

    def finish(self) -> None:
        """Nothing is resolved any more: give back what only that needed."""
        self._by_name.clear()
        self._by_path.clear()

    def _add(self, parent: int, path_start: int, length: int, row: int) -> int:
        number = len(self.parent)
        if number > _FOLDERS_FREE + _FOLDERS_PER_ENTRY * (row + 1):
            raise CorruptError(self._subject, "more folders than a real archive could have")
        self.parent.append(parent)
        self.path_start.append(path_start)
        self.path_length.append(length)
        self.first_row.append(row)
        self.own_row.append(NO_ROW)
        return number


def place(
    names: Names, table: FolderTable, first_row: int, text_start: int
) -> tuple[Ints, Ints, Bools]:
    """Find each shown name's folder and its last component.

    `first_row` and `text_start` are the position of the window's first row
    among all rows, and of its text in the text of all names.

    Returns, one a row: the number of the folder that holds the entry; where its
    last component begins in the window's text; whether it is a file. An entry
    for a folder (its name ends with a slash) is noted in `table`.
    """
    ends = names.starts + names.lengths
    is_file = names.text[ends - 1] != ord("/")
    name_ends = ends - ~is_file
    parents = _last_slashes(names, name_ends)
    parent_lengths = np.maximum(parents - names.starts, 0)
    folders = _resolve_runs(names, parent_lengths, table, first_row, text_start)
    for row in np.flatnonzero(~is_file & names.shown).tolist():
        start, end = int(names.starts[row]), int(name_ends[row])
        path = names.text[start:end].tobytes()
        number = table.resolve(path, text_start + start, first_row + row)
        table.replaced += table.own_row[number] != NO_ROW
        table.own_row[number] = first_row + row
    components = np.where(parents >= names.starts, parents + 1, names.starts)
    return folders, components, is_file


def _last_slashes(names: Names, ends: Ints) -> Ints:
    """Return where the last slash before each end is, in this name or an earlier
    one; -1 where there is none."""
    if not len(names.slashes):
        return np.full(len(ends), -1)
    before = np.searchsorted(names.slashes, ends) - 1
    return np.where(before >= 0, names.slashes[before], -1)


def _resolve_runs(
    names: Names, parent_lengths: Ints, table: FolderTable, first_row: int, text_start: int
) -> Ints:
    rows = np.flatnonzero(names.shown)
    starts, lengths = names.starts[rows], parent_lengths[rows]
    heads = np.flatnonzero(~equal_to_previous(names.text, starts, lengths))
    numbers = np.empty(len(heads), np.int64)
    content = names.text.tobytes()
    for index, (row, start, length) in enumerate(
        zip(
            rows[heads].tolist(),
            starts[heads].tolist(),
            lengths[heads].tolist(),
            strict=True,
        )
    ):
        path = content[start : start + length]
        numbers[index] = table.resolve(path, text_start + start, first_row + row)
    folders = np.zeros(len(parent_lengths), np.int64)
    folders[rows] = np.repeat(numbers, np.diff(heads, append=len(rows)))
    return folders
