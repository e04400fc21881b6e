"""Makes the tree out of a directory: which entries are shown, under which rows.

The last of several entries of one name wins. A folder that has content hides
a file of the same name: readers of either would otherwise see half of the
hierarchy. One thread builds an index. Specification: APPNOTE.TXT says nothing
of duplicates; the last one wins in `zipfile`, Info-ZIP and zarr-python.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zarrfs.storage.zip.attributes import DEFAULT_FOLDER
from zarrfs.storage.zip.directory import Columns, Directory
from zarrfs.storage.zip.folders import NO_ROW, ROOT_FOLDER, FolderTable
from zarrfs.storage.zip.index import (
    FOLDER_COLUMNS,
    HASH_COLUMNS,
    NO_ENTRY,
    NODE_COLUMNS,
    ZipIndex,
)
from zarrfs.storage.zip.problems import Problem
from zarrfs.storage.zip.spans import Bools, Hashes, Ints, hash_spans, random_prime


class _Candidates:
    """Files, then folders: what could become a node. One element a candidate.

    Folders carry the attributes of their own entry, or plain ones.
    """

    def __init__(self, directory: Directory) -> None:
        columns, table = directory.columns, directory.folders
        self.text = directory.text
        self.entries = np.flatnonzero(columns.is_file & columns.shown)
        self.numbers = np.arange(1, len(table))
        self.file_count = len(self.entries)
        path_start = np.array(table.path_start)[1:]
        parent = np.array(table.parent)[1:]
        length = np.array(table.path_length)
        above = np.where(parent == ROOT_FOLDER, 0, length[parent] + 1)
        self.own_entry = np.array(table.own_row)[1:]
        self.first_entry = np.array(table.first_row)[1:]
        self.folder = _join(columns.folder[self.entries], parent)
        self.path_start = _join(columns.path_start[self.entries], path_start)
        self.name_start = _join(columns.name_start[self.entries], path_start + above)
        self.name_end = _join(columns.name_end[self.entries], path_start + length[1:])

    def hashes(self, prime: int) -> Hashes:
        lengths = self.name_end.astype(np.int64) - self.name_start
        return hash_spans(self.text, self.name_start.astype(np.int64), lengths, self.folder, prime)

    def path(self, candidate: int) -> bytes:
        return self.text[self.path_start[candidate] : self.name_end[candidate]].tobytes()


def _join(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.uint32]:
    return np.concatenate((first.astype(np.uint32), second.astype(np.uint32)))


def build_index(directory: Directory) -> ZipIndex:
    """Number the nodes of an archive and sort them."""
    prime = random_prime()
    candidates = _Candidates(directory)
    hashes = candidates.hashes(prime)
    order = np.argsort(hashes)
    kept = np.ones(len(hashes), np.bool_)
    superseded = _drop_duplicates(candidates, hashes, order, kept, directory)
    chosen = _number(candidates, kept)
    rows = np.zeros(len(kept), np.uint32)
    rows[chosen] = np.arange(1, len(chosen) + 1)
    columns = _node_columns(directory.columns, candidates, chosen)
    folder_rows = rows[candidates.file_count :]
    _fill_folders(directory.columns, candidates, folder_rows, columns)
    columns |= _folder_columns(candidates, directory.folders, folder_rows, kept)
    if superseded:
        order = order[kept[order]]
    columns["hashes"] = hashes[order]
    columns["hashed_row"] = rows[order]
    columns["buckets"] = _buckets(columns["hashes"])
    assert columns.keys() == NODE_COLUMNS.keys() | FOLDER_COLUMNS.keys() | HASH_COLUMNS.keys()
    return ZipIndex(directory.text, prime, columns, superseded)


def _buckets(hashes: Hashes) -> NDArray[np.uint32]:
    """Say where each run of hashes with the same upper bits begins, and the last ends.

    There are about as many buckets as hashes, so that one holds a few at most.
    """
    bits = max(1, len(hashes).bit_length() - 1)
    counts = np.bincount(hashes >> np.uint32(32 - bits), minlength=1 << bits)
    buckets = np.zeros((1 << bits) + 1, np.uint32)
    np.cumsum(counts, out=buckets[1:])
    return buckets


def _drop_duplicates(
    candidates: _Candidates, hashes: Hashes, order: Ints, kept: Bools, directory: Directory
) -> int:
    """Clear `kept` for what a later or a stronger candidate replaces.

    Equal hashes only hint at equal names: the names themselves decide.
    """
    ranked = hashes[order]
    twins = np.flatnonzero(ranked[1:] == ranked[:-1])
    superseded = 0
    if not len(twins):
        return 0
    run_begins = np.flatnonzero(np.diff(twins, prepend=-2) != 1)
    run_ends = np.append(run_begins[1:], len(twins))
    for begin, end in zip(run_begins.tolist(), run_ends.tolist(), strict=True):
        members = np.sort(order[twins[begin] : twins[end - 1] + 2]).tolist()
        last: dict[tuple[int, bytes], int] = {}
        for member in members:
            start, stop = candidates.name_start[member], candidates.name_end[member]
            key = (int(candidates.folder[member]), candidates.text[start:stop].tobytes())
            earlier = last.get(key)
            last[key] = member
            if earlier is not None:
                kept[earlier] = False
                superseded += 1
                if member >= candidates.file_count:
                    reason = "a folder has the same name"
                    directory.problems.add(Problem(candidates.path(earlier), reason, hidden=True))
    return superseded


def _number(candidates: _Candidates, kept: Bools) -> Ints:
    """Return the candidates by row (from row 1 on): folder by folder, and in each
    in the archive's order."""
    chosen = np.flatnonzero(kept)
    if len(candidates.numbers):
        position = np.concatenate((candidates.entries, candidates.first_entry))
        chosen = chosen[np.argsort(position[chosen], kind="stable")]
        chosen = chosen[np.argsort(candidates.folder[chosen], kind="stable")]
    return chosen


def _node_columns(
    columns: Columns, candidates: _Candidates, chosen: Ints
) -> dict[str, NDArray[Any]]:
    made: dict[str, NDArray[Any]] = {}
    for name in ("path_start", "name_start", "name_end"):
        made[name] = _below_root(getattr(candidates, name)[chosen], name)
    # For a folder this is any entry; what it says is replaced afterwards.
    source = np.append(candidates.entries, np.zeros(len(candidates.numbers), np.int64))[chosen]
    for name in ("mode", "mtime_ns", "offset", "csize", "usize", "crc", "method", "fault"):
        made[name] = _below_root(getattr(columns, name)[source], name)
    made["entry"] = _below_root(source, "entry")
    made["folder"] = np.zeros(len(chosen) + 1, NODE_COLUMNS["folder"])
    return made


def _below_root(values: NDArray[Any], name: str) -> NDArray[Any]:
    column = np.empty(len(values) + 1, NODE_COLUMNS[name])
    column[0] = 0
    column[1:] = values
    return column


def _fill_folders(
    columns: Columns,
    candidates: _Candidates,
    rows: NDArray[np.uint32],
    made: dict[str, NDArray[Any]],
) -> None:
    own = candidates.own_entry
    has_own = own != NO_ROW
    for name in ("offset", "csize", "usize", "crc", "method", "fault"):
        made[name][rows] = 0
    made["entry"][0] = NO_ENTRY
    made["mode"][0] = DEFAULT_FOLDER
    made["folder"][0] = ROOT_FOLDER + 1
    made["mode"][rows] = np.where(has_own, columns.mode[own], DEFAULT_FOLDER)
    source = np.where(has_own, own, candidates.first_entry)
    made["mtime_ns"][rows] = columns.mtime_ns[source]
    made["entry"][rows] = np.where(has_own, own, NO_ENTRY)
    made["folder"][rows] = candidates.numbers + 1


def _folder_columns(
    candidates: _Candidates, table: FolderTable, rows: NDArray[np.uint32], kept: Bools
) -> dict[str, NDArray[Any]]:
    count = len(table)
    child_count = np.bincount(candidates.folder[kept], minlength=count)
    first_child = np.cumsum(child_count) - child_count + 1
    folder_row = np.zeros(count, np.uint32)
    folder_row[1:] = rows
    nlink = 2 + np.bincount(table.parent[1:], minlength=count)
    return {
        "folder_row": folder_row,
        "first_child": first_child.astype(np.uint32),
        "child_count": child_count.astype(np.uint32),
        "nlink": nlink.astype(np.uint32),
    }
