"""Central directory records, many at once.

Turns a window of the directory's bytes into one structured array, finding
where each record begins without visiting them one by one, and applies the
extra fields to it. Knows nothing of names' meaning. Pure; any thread.
Specification: APPNOTE.TXT 4.3.12, 4.5; the extended timestamp and Unicode path
fields as in Info-ZIP's "proginfo/extrafld.txt".
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zarrfs.storage.zip.format import CENTRAL, CENTRAL_SIGNATURE, MAX_32, Extra
from zarrfs.storage.zip.spans import Bools, Bytes, Ints, loads

RECORD: Final = np.dtype(
    [
        ("signature", "<u4"),
        ("made_version", "u1"),
        ("host", "u1"),
        ("needed", "<u2"),
        ("flags", "<u2"),
        ("method", "<u2"),
        ("time", "<u2"),
        ("date", "<u2"),
        ("crc", "<u4"),
        ("csize", "<u4"),
        ("usize", "<u4"),
        ("name_length", "<u2"),
        ("extra_length", "<u2"),
        ("comment_length", "<u2"),
        ("disk", "<u2"),
        ("internal", "<u2"),
        ("external", "<u4"),
        ("offset", "<u4"),
    ]
)
"""The fixed part of a record: `CENTRAL`, 46 bytes."""

assert RECORD.itemsize == CENTRAL.size

_SIGNATURE: Final = int.from_bytes(CENTRAL_SIGNATURE, "little")
_LENGTH_FIELDS: Final = (28, 30, 32)
"""Where a record says how long its name, extra fields and comment are."""
_MAX_FIELDS: Final = 64
"""Extra fields looked at in one entry; writers use a handful."""
_NO_TIME: Final = np.iinfo(np.int64).min
_FILETIME_1970: Final = 116_444_736_000_000_000
"""100 ns intervals from 1601, where NTFS times begin, to 1970."""


class Records(NamedTuple):
    """The records of one window. All arrays have one element a record."""

    starts: Ints
    """Where each record is in the window."""
    fields: NDArray[Any]
    """dtype `RECORD`."""
    csize: Ints
    usize: Ints
    offset: Ints
    """Of the local header, as written; -1 where ZIP64 was needed and is missing."""
    exact_mtime_ns: Ints
    """From an extra field, in UTC; `NO_TIME` without one."""
    unicode_rows: Ints
    """Rows that carry a Unicode path field..."""
    unicode_starts: Ints
    """...and where its data begins in the window (its size is just before)."""


NO_TIME: Final = _NO_TIME


def record_starts(window: Bytes) -> tuple[Ints, int]:
    """Find where each whole record begins, and where the first partial one does.

    Signatures are found all at once. Where the lengths lead from each to the
    next, those are the records; a signature inside a name or a comment is no
    record, and the chain of lengths steps over it.

    Returns the starts, and the position after the last record. If what is there
    does not begin with a signature, the directory is damaged.
    """
    candidates = _signatures(window)
    if not len(candidates) or candidates[0] != 0:
        return np.empty(0, np.int64), 0
    lengths = loads(window, 2)
    following = candidates + CENTRAL.size
    for field in _LENGTH_FIELDS:
        following += lengths[candidates + field]
    jumps = np.flatnonzero(following[:-1] != candidates[1:])
    chain = _chain(candidates, following, jumps)
    whole = following[chain] <= len(window)
    starts = chain[whole]
    return candidates[starts], int(following[starts[-1]]) if len(starts) else 0


def _signatures(window: Bytes) -> Ints:
    inside = window[: max(len(window) - CENTRAL.size + 1, 0)]
    found = np.flatnonzero(inside == CENTRAL_SIGNATURE[0])
    matching: Ints = found[loads(window, 4)[found] == _SIGNATURE]
    return matching


def _chain(candidates: Ints, following: Ints, jumps: Ints) -> Ints:
    """Follow the lengths from candidate 0; return the indices of those reached."""
    if not len(jumps):
        return np.arange(len(candidates))
    runs: list[Ints] = []
    current = 0
    while True:
        after = int(np.searchsorted(jumps, current))
        last = int(jumps[after]) if after < len(jumps) else len(candidates) - 1
        runs.append(np.arange(current, last + 1))
        target = int(following[last])
        current = int(np.searchsorted(candidates, target))
        if current >= len(candidates) or candidates[current] != target:
            return np.concatenate(runs)


def read_records(window: Bytes, starts: Ints) -> Records:
    """Load the fixed fields of the records and what their extra fields change."""
    view: NDArray[Any] = np.ndarray(
        (len(window) - CENTRAL.size + 1, CENTRAL.size), np.uint8, window, 0, (1, 1)
    )
    fields = view[starts].view(RECORD)[:, 0]
    records = Records(
        starts=starts,
        fields=fields,
        csize=fields["csize"].astype(np.int64),
        usize=fields["usize"].astype(np.int64),
        offset=fields["offset"].astype(np.int64),
        exact_mtime_ns=np.full(len(starts), _NO_TIME),
        unicode_rows=np.empty(0, np.int64),
        unicode_starts=np.empty(0, np.int64),
    )
    rows = np.flatnonzero(fields["extra_length"] >= 4)
    return _apply_extras(window, records, rows) if len(rows) else records


def _apply_extras(window: Bytes, records: Records, rows: Ints) -> Records:
    """Walk all entries' extra fields in step: the first of each, the second, ..."""
    u16 = loads(window, 2)
    position = records.starts[rows] + CENTRAL.size + records.fields["name_length"][rows]
    limit = position + records.fields["extra_length"][rows]
    needs_zip64 = _needs_zip64(records)
    unicode_rows: list[Ints] = []
    unicode_starts: list[Ints] = []
    for _ in range(_MAX_FIELDS):
        kind = u16[position]
        size = u16[position + 2].astype(np.int64)
        data = position + 4
        inside = data + size <= limit
        for wanted in np.flatnonzero(np.bincount(kind[inside])).tolist():
            here = inside & (kind == wanted)
            if wanted == Extra.ZIP64:
                _apply_zip64(window, records, rows[here], data[here], size[here], needs_zip64)
            elif wanted == Extra.TIMESTAMP:
                _apply_timestamp(window, records, rows[here], data[here], size[here])
            elif wanted == Extra.NTFS:
                _apply_ntfs(window, records, rows[here], data[here], size[here])
            elif wanted == Extra.UNICODE_PATH:
                unicode_rows.append(rows[here])
                unicode_starts.append(data[here])
        position = data + size
        more = inside & (position + 4 <= limit)
        if not more.any():
            break
        rows, position, limit = rows[more], position[more], limit[more]
    records.offset[needs_zip64] = -1
    if not unicode_rows:
        return records
    return records._replace(
        unicode_rows=np.concatenate(unicode_rows), unicode_starts=np.concatenate(unicode_starts)
    )


def _needs_zip64(records: Records) -> Bools:
    needed: Bools = records.usize == MAX_32
    needed |= records.csize == MAX_32
    needed |= records.offset == MAX_32
    return needed


def _apply_zip64(
    window: Bytes, records: Records, rows: Ints, data: Ints, size: Ints, missing: Bools
) -> None:
    """4.5.3: the values whose own field is full, in this order, and no others."""
    u64 = loads(window, 8)
    cursor, limit = data.copy(), data + size
    complete = np.ones(len(rows), np.bool_)
    for column in (records.usize, records.csize, records.offset):
        wide = column[rows] == MAX_32
        fits = wide & (cursor + 8 <= limit)
        value = u64[cursor[fits]]
        # Nothing lies beyond 2^60; keep what cannot be true where it will be refused.
        column[rows[fits]] = np.minimum(value, 1 << 60).astype(np.int64)
        complete &= fits == wide
        cursor[wide] += 8
    missing[rows[complete]] = False


def _apply_timestamp(window: Bytes, records: Records, rows: Ints, data: Ints, size: Ints) -> None:
    """Extended timestamp: flags, then (bit 0) the mtime as int32 seconds, UTC."""
    long_enough = size >= 5
    rows, data = rows[long_enough], data[long_enough]
    given = (window[data] & 1).astype(np.bool_)
    seconds = loads(window, 4)[data[given] + 1].astype(np.int32).astype(np.int64)
    records.exact_mtime_ns[rows[given]] = seconds * 1_000_000_000


def _apply_ntfs(window: Bytes, records: Records, rows: Ints, data: Ints, size: Ints) -> None:
    """4.5.5: four reserved bytes, then attribute 1 of 24 bytes, mtime first."""
    u16 = loads(window, 2)
    long_enough = size >= 32
    rows, data = rows[long_enough], data[long_enough]
    given = (u16[data + 4] == 1) & (u16[data + 6] == 24)
    filetime = loads(window, 8)[data[given] + 8]
    sane = (filetime >= _FILETIME_1970) & (filetime < _FILETIME_1970 + (1 << 56))
    ticks = filetime[sane].astype(np.int64) - _FILETIME_1970
    # The extended timestamp is coarser: what NTFS wrote wins.
    records.exact_mtime_ns[rows[given][sane]] = ticks * 100
