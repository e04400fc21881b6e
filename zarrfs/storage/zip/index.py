"""The index of an archive: nodes in sorted columns, and how to find one.

A *node* is a file, a link or a folder; its nodeid is its row plus one, so the
root is row 0. The children of a folder are consecutive rows, in the order in
which the archive has them: a listing, and whoever reads files in its order,
goes through the archive from front to back. The numbering depends on nothing
but the archive's directory, so every process that opens it agrees.

Immutable; any thread.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zarrfs.storage.zip.spans import hash_name

NOT_A_FOLDER: Final = 0
NO_ENTRY: Final = 0xFFFFFFFF

NODE_COLUMNS: Final = {
    "path_start": "u4",
    "name_start": "u4",
    "name_end": "u4",
    "folder": "u4",
    "mode": "u2",
    "mtime_ns": "i8",
    "entry": "u4",
    "offset": "u8",
    "csize": "u8",
    "usize": "u8",
    "crc": "u4",
    "method": "u1",
    "fault": "u1",
}
"""One element a node. `folder` is the folder's number plus one, or
`NOT_A_FOLDER`; `entry` the position in the archive's directory, or `NO_ENTRY`."""

FOLDER_COLUMNS: Final = {
    "folder_row": "u4",
    "first_child": "u4",
    "child_count": "u4",
    "nlink": "u4",
}
"""One element a folder, by its number; 0 is the root."""

HASH_COLUMNS: Final = {"hashes": "u4", "hashed_row": "u4", "buckets": "u4"}
"""One element a node except the root, sorted by hash; and `buckets`, which says
where in them the hashes with the same upper bits begin."""

_LOOKUP_COLUMNS: Final = (
    "hashes", "hashed_row", "buckets", "first_child", "child_count", "name_start", "name_end",
)  # fmt: skip

COLUMNS: Final = NODE_COLUMNS | FOLDER_COLUMNS | HASH_COLUMNS


@dataclass(frozen=True, slots=True)
class ZipIndex:
    """The columns named in `COLUMNS`, the names' text, and the hash's prime.

    Invariant: `hashes` is sorted; each folder's children are the rows
    `[first_child, first_child + child_count)`.
    """

    text: NDArray[np.uint8]
    prime: int
    columns: dict[str, NDArray[Any]]
    superseded: int
    """Entries that a later one of the same name replaces."""
    views: dict[str, memoryview] = field(init=False)
    """The columns for single elements: many times faster than through numpy."""
    _hashes: memoryview = field(init=False)
    _hashed_row: memoryview = field(init=False)
    _buckets: memoryview = field(init=False)
    _bucket_shift: int = field(init=False)
    _first_child: memoryview = field(init=False)
    _child_count: memoryview = field(init=False)
    _name_start: memoryview = field(init=False)
    _name_end: memoryview = field(init=False)
    _text: memoryview = field(init=False)

    def __post_init__(self) -> None:
        views = {name: memoryview(column) for name, column in self.columns.items()}  # type: ignore[arg-type]  # numpy arrays are buffers; its stubs say so from Python 3.12 on
        put = object.__setattr__
        put(self, "views", views)
        for name in _LOOKUP_COLUMNS:
            put(self, f"_{name}", views[name])
        put(self, "_bucket_shift", 33 - (len(views["buckets"]) - 1).bit_length())
        put(self, "_text", memoryview(self.text))  # type: ignore[arg-type]  # as above

    @property
    def node_count(self) -> int:
        return len(self.columns["mode"])

    def find(self, folder: int, name: bytes) -> int:
        """Return the row of a name in the folder of that number, or -1."""
        wanted = hash_name(name, folder, self.prime)
        bucket = wanted >> self._bucket_shift
        hashes, stop = self._hashes, self._buckets[bucket + 1]
        place = bisect_left(hashes, wanted, self._buckets[bucket], stop)
        while place < stop and hashes[place] == wanted:
            row: int = self._hashed_row[place]
            if (
                self._text[self._name_start[row] : self._name_end[row]] == name
                and 0 <= row - self._first_child[folder] < self._child_count[folder]
            ):
                return row
            place += 1
        return -1

    def name(self, row: int) -> bytes:
        return bytes(self._text[self._name_start[row] : self._name_end[row]])

    def path(self, row: int) -> bytes:
        """Return the node's whole path; empty for the root."""
        return bytes(self._text[self.views["path_start"][row] : self._name_end[row]])

    def children(self, folder: int) -> range:
        """Return the rows in the folder of that number."""
        first = self.views["first_child"][folder]
        return range(first, first + self.views["child_count"][folder])

    def parent(self, row: int) -> int:
        """Return the row of the folder that holds a node other than the root.

        Folders' children follow each other in the order of the folders' numbers.
        """
        folder = bisect_right(self.views["first_child"], row) - 1
        return int(self.views["folder_row"][folder])

    def resolve(self, path: bytes) -> int:
        """Return the row at a path of slash-separated names, or -1."""
        row = 0
        if path:
            for name in path.split(b"/"):
                folder = self.views["folder"][row]
                if folder == NOT_A_FOLDER:
                    return -1
                row = self.find(folder - 1, name)
                if row < 0:
                    return -1
        return row

    def nbytes(self) -> int:
        return self.text.nbytes + sum(column.nbytes for column in self.columns.values())
