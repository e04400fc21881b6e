"""Folders' names and open files of an archive: the small objects a tree hands out.

A listing makes its items when they are asked for, so that a folder of a
million names costs no memory. Any thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NoReturn, overload

import numpy as np

from zarrfs.errors import ReadOnlyError
from zarrfs.storage.read_only import ReadsOnly
from zarrfs.storage.tree import Buffer, DirEntry, FolderColumns
from zarrfs.storage.zip.index import ZipIndex

_S_IFMT: Final = 0o170000
_BLOCK_ROWS: Final = 512
_BLOCK_BYTES: Final = 1 << 18


def listed_columns(
    index: ZipIndex, rows: range, folder_size: int, owner: tuple[int, int]
) -> FolderColumns:
    """Return the nodes of some rows as a listing's columns."""
    columns = index.columns
    part = slice(rows.start, rows.stop)
    starts = columns["name_start"][part]
    folder = columns["folder"][part]
    nlinks = np.ones(len(rows), np.uint32)
    folders = np.flatnonzero(folder)
    nlinks[folders] = columns["nlink"][folder[folders] - 1]
    return FolderColumns(
        text=index.text,
        starts=starts,
        lengths=columns["name_end"][part] - starts,
        nodeids=np.arange(rows.start + 1, rows.stop + 1, dtype=np.uint64),
        modes=columns["mode"][part],
        nlinks=nlinks,
        sizes=columns["usize"][part],
        mtimes_ns=columns["mtime_ns"][part],
        uid=owner[0],
        gid=owner[1],
        folder_size=folder_size,
    )


def names_in(index: ZipIndex, rows: range) -> Iterator[tuple[int, bytes]]:
    """Yield rows and their names, a block at a time."""
    starts, ends = index.columns["name_start"], index.columns["name_end"]
    for begin in range(rows.start, rows.stop, _BLOCK_ROWS):
        part = slice(begin, min(begin + _BLOCK_ROWS, rows.stop))
        first, last = int(starts[part].min()), int(ends[part].max())
        if last - first > _BLOCK_BYTES:
            # Far apart: names of folders that were rewritten, or out of order.
            yield from ((row, index.name(row)) for row in range(part.start, part.stop))
            continue
        text = index.text[first:last].tobytes()
        spans = zip((starts[part] - first).tolist(), (ends[part] - first).tolist(), strict=True)
        for row, (start, end) in enumerate(spans, begin):
            yield row, text[start:end]


class FolderListing(Sequence[DirEntry]):
    """The names in some consecutive rows."""

    __slots__ = ("_index", "_rows")

    def __init__(self, index: ZipIndex, rows: range) -> None:
        self._index = index
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> DirEntry: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[DirEntry]: ...
    def __getitem__(self, place: int | slice) -> DirEntry | Sequence[DirEntry]:
        rows = self._rows[place]
        if isinstance(rows, int):
            return self._item(rows, self._index.name(rows))
        if rows.step != 1:
            return [self._item(row, self._index.name(row)) for row in rows]
        return FolderListing(self._index, rows)

    def __iter__(self) -> Iterator[DirEntry]:
        mode = self._index.views["mode"]
        for row, name in names_in(self._index, self._rows):
            yield DirEntry(name, row + 1, mode[row] & _S_IFMT)

    def _item(self, row: int, name: bytes) -> DirEntry:
        return DirEntry(name, row + 1, self._index.views["mode"][row] & _S_IFMT)


class ArchivedFile(ReadsOnly):
    """An `OpenFile` of an archive: its entry, for reading."""

    __slots__ = ("_name", "_read", "_size")

    def __init__(self, name: str, size: int, read: Callable[[int, int], Buffer]) -> None:
        self._name = name
        self._size = size
        self._read = read

    def read(self, offset: int, size: int) -> Buffer:
        return self._read(offset, size)

    def seek(self, offset: int, whence: int) -> int:
        """All of it is data; the only hole is at its end."""
        if not 0 <= offset < self._size:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        return offset if whence == os.SEEK_DATA else self._size

    def _refuse(self) -> NoReturn:
        raise ReadOnlyError(self._name)
