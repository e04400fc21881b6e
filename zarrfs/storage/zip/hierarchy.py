"""Makes the tree out of a directory: which entries are shown, under which rows.

The last of several entries of one name wins. A folder that has content hides
a file of the same name: readers of either would otherwise see half of the
hierarchy. One thread builds an index. Specification: APPNOTE.TXT says nothing
of duplicates; the last one wins in `zipfile`, Info-ZIP and zarr-python.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zarrfs.storage.zip.attributes import DEFAULT_FOLDER
from zarrfs.storage.zip.directory import Directory
from zarrfs.storage.zip.folders import NO_ROW, ROOT_FOLDER, FolderTable
from zarrfs.storage.zip.index import (
    FOLDER_COLUMNS,
    HASH_COLUMNS,
    NO_ENTRY,
    NODE_COLUMNS,
    ZipIndex,
)
from zarrfs.storage.zip.problems import Problem
from zarrfs.storage.zip.spans import Bools, Hashes, equal, hash_spans, random_prime

Rows: TypeAlias = NDArray[np.uint32]


class _Candidates:
    """Files, then folders: what could become a node. One element a candidate."""

    def __init__(self, directory: Directory) -> None:
        columns, table = directory.columns, directory.folders
        self.text = directory.text
        files = columns["is_file"]
        files &= columns["shown"]
        self.entries = np.flatnonzero(files).astype(np.uint32)
        self.file_count = len(self.entries)
        self.numbers = np.arange(1, len(table))
        path_start = np.array(table.path_start)[1:]
        parent = np.array(table.parent)[1:]
        length = np.array(table.path_length)
        above = np.where(parent == ROOT_FOLDER, 0, length[parent] + 1)
        self.own_entry = np.array(table.own_row)[1:]
        self.first_entry = np.array(table.first_row)[1:]
        self.folder = self._with_folders(columns["folder"], parent)
        self.path_start = self._with_folders(columns["path_start"], path_start)
        self.name_start = self._with_folders(columns["name_start"], path_start + above)
        self.name_end = self._with_folders(columns["name_end"], path_start + length[1:])

    def _with_folders(self, column: NDArray[Any], of_folders: NDArray[Any]) -> NDArray[np.uint32]:
        """The files' elements of a column of entries, then those of the folders."""
        if not len(of_folders) and self.file_count == len(column):
            return column.astype(np.uint32, copy=False)
        joined = np.empty(self.file_count + len(of_folders), np.uint32)
        np.take(column, self.entries, out=joined[: self.file_count])
        joined[self.file_count :] = of_folders
        return joined

    def hashes(self, prime: int) -> Hashes:
        return hash_spans(self.text, self.name_start, self.name_end, self.folder, prime)

    def same_name(self, first: Rows, second: Rows) -> Bools:
        """Whether pairs of candidates have one name in one folder."""
        starts, others = self.name_start[first], self.name_start[second]
        lengths = self.name_end[first] - starts
        same: Bools = lengths == self.name_end[second] - others
        same &= self.folder[first] == self.folder[second]
        pairs = np.flatnonzero(same)
        same[pairs] = equal(
            self.text,
            starts[pairs].astype(np.int64),
            others[pairs].astype(np.int64),
            lengths[pairs].astype(np.int64),
        )
        return same

    def path(self, candidate: int) -> bytes:
        return self.text[self.path_start[candidate] : self.name_end[candidate]].tobytes()


def build_index(directory: Directory) -> ZipIndex:
    """Number the nodes of an archive and sort them.

    The directory's columns are used up: they go as the index's come.
    """
    prime = random_prime()
    candidates = _Candidates(directory)
    hashes = candidates.hashes(prime)
    order = np.argsort(hashes).astype(np.uint32)
    hashes = hashes[order]
    kept = np.ones(len(hashes), np.bool_)
    superseded = _drop_duplicates(candidates, hashes, order, kept, directory)
    superseded += directory.folders.replaced
    if not kept.all():
        still = kept[order]
        hashes, order = hashes[still], order[still]
    chosen = _number(candidates, kept)
    rows = np.zeros(len(kept), np.uint32)
    rows[chosen] = np.arange(1, len(chosen) + 1, dtype=np.uint32)
    columns = {"hashes": hashes, "hashed_row": rows[order], "buckets": _buckets(hashes)}
    del order
    folder_rows = rows[candidates.file_count :]
    columns |= _folder_columns(candidates, directory.folders, folder_rows, kept)
    columns |= _node_columns(directory.columns, candidates, chosen, folder_rows)
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
    candidates: _Candidates, hashes: Hashes, order: Rows, kept: Bools, directory: Directory
) -> int:
    """Clear `kept` for what a later or a stronger candidate replaces.

    `hashes` are sorted, and `order` says whose they are. Equal ones only hint at
    equal names: the names themselves decide.
    """
    repeats = np.zeros(len(hashes), np.bool_)
    repeats[1:] = hashes[1:] == hashes[:-1]
    if not repeats.any():
        return 0
    in_run = repeats.copy()
    in_run[:-1] |= repeats[1:]
    members, begins_run = order[in_run], ~repeats[in_run]
    begins = np.flatnonzero(begins_run)
    alike = begins_run.copy()
    alike[1:] |= candidates.same_name(members[:-1], members[1:])
    winners = np.maximum.reduceat(members, begins)
    # Runs of one name are settled at once, unless a folder is among them.
    simple = np.logical_and.reduceat(alike, begins) & (winners < candidates.file_count)
    settled = simple[np.cumsum(begins_run) - 1]
    kept[members[settled]] = False
    kept[winners[simple]] = True
    superseded = int(settled.sum() - simple.sum())
    ends = np.append(begins[1:], len(members))
    for run in np.flatnonzero(~simple).tolist():
        rest = np.sort(members[begins[run] : ends[run]]).tolist()
        superseded += _drop_in_run(candidates, rest, kept, directory)
    return superseded


def _drop_in_run(
    candidates: _Candidates, members: list[int], kept: Bools, directory: Directory
) -> int:
    """Compare the candidates of one hash, which come in order, by their names."""
    superseded = 0
    last: dict[tuple[int, bytes], int] = {}
    for member in members:
        start, stop = candidates.name_start[member], candidates.name_end[member]
        key = (int(candidates.folder[member]), candidates.text[start:stop].tobytes())
        earlier = last.get(key)
        last[key] = member
        if earlier is None:
            continue
        kept[earlier] = False
        if member < candidates.file_count:
            superseded += 1
        else:
            reason = "a folder has the same name"
            directory.problems.add(Problem(candidates.path(earlier), reason, hidden=True))
    return superseded


def _number(candidates: _Candidates, kept: Bools) -> Rows:
    """Return the candidates by row (from row 1 on): folder by folder, and in each
    in the archive's order."""
    chosen = np.flatnonzero(kept).astype(np.uint32)
    if len(candidates.numbers):
        position = np.append(candidates.entries, candidates.first_entry.astype(np.uint32))
        chosen = chosen[np.argsort(position[chosen], kind="stable")]
        chosen = chosen[np.argsort(candidates.folder[chosen], kind="stable")]
    return chosen


def _node_columns(
    columns: dict[str, NDArray[Any]], candidates: _Candidates, chosen: Rows, folder_rows: Rows
) -> dict[str, NDArray[Any]]:
    made = {
        name: _below_root(getattr(candidates, name)[chosen], name)
        for name in ("path_start", "name_start", "name_end")
    }
    own, has_own = candidates.own_entry, candidates.own_entry != NO_ROW
    described_by = np.where(has_own, own, candidates.first_entry)
    # For a folder any entry: what it says is replaced.
    source = np.append(candidates.entries, np.zeros(len(own), np.uint32))[chosen]
    for name in ("mode", "mtime_ns", "offset", "csize", "usize", "crc", "method", "fault"):
        column = columns.pop(name)
        made[name] = _below_root(column[source], name)
        made[name][folder_rows] = 0
        if name == "mode":
            made[name][0] = DEFAULT_FOLDER
            made[name][folder_rows] = np.where(has_own, column[own], DEFAULT_FOLDER)
        elif name == "mtime_ns":
            made[name][folder_rows] = column[described_by]
    made["entry"] = _below_root(source, "entry")
    made["entry"][0] = NO_ENTRY
    made["entry"][folder_rows] = np.where(has_own, own, NO_ENTRY)
    made["folder"] = np.zeros(len(chosen) + 1, NODE_COLUMNS["folder"])
    made["folder"][0] = ROOT_FOLDER + 1
    made["folder"][folder_rows] = candidates.numbers + 1
    return made


def _below_root(values: NDArray[Any], name: str) -> NDArray[Any]:
    column = np.empty(len(values) + 1, NODE_COLUMNS[name])
    column[0] = 0
    column[1:] = values
    return column


def _folder_columns(
    candidates: _Candidates, table: FolderTable, rows: Rows, kept: Bools
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
