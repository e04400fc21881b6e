"""A file's content as a sorted list of extents; what is between them reads as zeros.

Owns the arithmetic only: an `Extent` says which bytes of the file come from
where, and the functions edit a list in place. Where a source lies is the
business of `space` (journal) and of the base tree (`IN_BASE`). Pure; the
caller holds the lock of the tree whose list it is.

Invariant of every list: sorted by `start`, not overlapping, no empty extent,
no two neighbours that could be one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from struct import Struct, iter_unpack
from typing import NamedTuple

IN_BASE = 1 << 62
"""Set in `Extent.source`: the bytes are the base node's, at that offset."""
IN_ARCHIVE = 1 << 61
"""Set in `Extent.source`: the bytes are in the base's own file, at that offset."""

_TRIPLE = Struct("<QQQ")


class Extent(NamedTuple):
    """Bytes `[start, stop)` of a file are found at `source` and after it."""

    start: int
    stop: int
    source: int


class Piece(NamedTuple):
    """A run of bytes to read: from `source`, or zeros where it is None."""

    source: int | None
    size: int


def first_ending_after(extents: list[Extent], offset: int) -> int:
    """Return the index of the first extent with a byte at or after `offset`."""
    index = bisect_left(extents, (offset + 1,))
    if index and extents[index - 1].stop > offset:
        return index - 1
    return index


def cut(extents: list[Extent], start: int, stop: int) -> list[Extent]:
    """Make `[start, stop)` a hole; return what was there."""
    first = first_ending_after(extents, start)
    after = bisect_left(extents, (stop,), first)
    if first >= after:
        return []
    removed = extents[first:after]
    kept = []
    head, tail = removed[0], removed[-1]
    if head.start < start:
        kept.append(Extent(head.start, start, head.source))
        removed[0] = Extent(start, head.stop, head.source + start - head.start)
    if tail.stop > stop:
        kept.append(Extent(stop, tail.stop, tail.source + stop - tail.start))
        removed[-1] = removed[-1]._replace(stop=stop)
    extents[first:after] = kept
    return removed


def put(extents: list[Extent], extent: Extent) -> list[Extent]:
    """Lay an extent over the list, joined to its neighbours where they continue.

    Returns what it covered.
    """
    start, stop, source = extent
    if not extents or extents[-1].stop <= start:
        removed: list[Extent] = []
        index = len(extents)
    else:
        removed = cut(extents, start, stop)
        index = bisect_left(extents, (start,))
    if index < len(extents) and _continues(extent, extents[index]):
        stop = extents.pop(index).stop
    if index and _continues(extents[index - 1], extent):
        index -= 1
        start, _, source = extents.pop(index)
    extents.insert(index, Extent(start, stop, source))
    return removed


def _continues(left: Extent, right: Extent) -> bool:
    return left.stop == right.start and left.source + left.stop - left.start == right.source


def pieces(extents: list[Extent], offset: int, size: int) -> Iterator[Piece]:
    """Yield what to read for `[offset, offset + size)`, holes included."""
    stop = offset + size
    index = first_ending_after(extents, offset)
    while offset < stop:
        if index == len(extents) or extents[index].start >= stop:
            yield Piece(None, stop - offset)
            return
        extent = extents[index]
        if extent.start > offset:
            yield Piece(None, extent.start - offset)
            offset = extent.start
        end = min(stop, extent.stop)
        yield Piece(extent.source + offset - extent.start, end - offset)
        offset = end
        index += 1


def next_data(extents: list[Extent], offset: int) -> int | None:
    """Return the first offset at or after `offset` that holds data (SEEK_DATA)."""
    index = first_ending_after(extents, offset)
    return max(offset, extents[index].start) if index < len(extents) else None


def next_hole(extents: list[Extent], offset: int) -> int:
    """Return the first offset at or after `offset` that is in a hole (SEEK_HOLE)."""
    for extent in extents[first_ending_after(extents, offset) :]:
        if extent.start > offset:
            break
        offset = extent.stop
    return offset


def data_bytes(extents: Iterable[Extent]) -> int:
    return sum(extent.stop - extent.start for extent in extents)


def journal_ranges(extents: Iterable[Extent]) -> Iterator[tuple[int, int]]:
    """Yield `(begin, end)` in the journal of every extent that lies there."""
    for start, stop, source in extents:
        if source < IN_ARCHIVE:
            yield source, source + stop - start


def pack(extents: list[Extent]) -> bytes:
    return b"".join(_TRIPLE.pack(*extent) for extent in extents)


def unpack(packed: bytes) -> list[Extent]:
    return [Extent(*triple) for triple in iter_unpack(_TRIPLE.format, packed)]


def subtract(
    ranges: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Yield the parts of `ranges` that no range of `others` covers."""
    cover = sorted(others)
    index = 0
    for begin, end in sorted(ranges):
        while index < len(cover) and cover[index][1] <= begin:
            index += 1
        ahead = index
        while begin < end and ahead < len(cover) and cover[ahead][0] < end:
            low, high = cover[ahead]
            if low > begin:
                yield begin, low
            begin = max(begin, high)
            ahead += 1
        if begin < end:
            yield begin, end
