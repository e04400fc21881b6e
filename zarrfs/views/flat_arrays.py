"""`FlatArray`: an array of any size as one run of bytes in C order.

Owns the way from a byte range to the chunks it touches, and reading ahead of
whoever reads on. Decoded chunks live in the mount's `ChunkCache`; nothing else
is kept. All methods may be called from several threads at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import islice, product
from math import prod
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from zarrfs.errors import NotFoundError, UnsupportedError
from zarrfs.storage.backend import Buffer
from zarrfs.zarr_format.codecs import MAX_FILE_BYTES
from zarrfs.zarr_format.keys import ChunkIndex

Array = npt.NDArray[Any]
Range = tuple[int, int]

NEAR_BYTES: Final = 16 << 20
"""A read that begins this close to where others ended belongs to the same stream.
The kernel reads ahead with several requests, which arrive in any order."""

LEAST_AHEAD_BYTES: Final = 8 << 20
MOST_AHEAD: Final = 512
"""Chunks asked for at once, however small they are."""


class ArrayChunks(Protocol):
    """Decoded chunks by index; every one has the shape `shape`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def array(self, index: ChunkIndex) -> Array:
        """Raises: NotFoundError for a chunk that was never written."""

    def holds(self, index: ChunkIndex) -> bool:
        """Whether a chunk is decoded already."""

    def ahead(self, index: ChunkIndex) -> bool:
        """Have a chunk decoded in the background, if that is of use."""

    @property
    def limit_bytes(self) -> int:
        """How much may be decoded in advance."""


class _Piece(NamedTuple):
    """The part of a range along one axis that lies in one chunk."""

    chunk: int
    target: slice
    """Relative to the range."""
    source: slice
    """Relative to the chunk."""


def _pieces_of(extent: Range, length: int) -> Iterator[_Piece]:
    start, stop = extent
    for chunk in range(start // length, (stop - 1) // length + 1):
        origin = chunk * length
        begin, end = max(start, origin), min(stop, origin + length)
        yield _Piece(chunk, slice(begin - start, end - start), slice(begin - origin, end - origin))


class FlatArray:
    """An array's values as bytes.

    `dtype` is that of the values shown; a chunk's are converted on the way.
    `fill` stands where no chunk was written: one value, or one for each place
    along the last axis. Raises: UnsupportedError beyond `MAX_FILE_BYTES`.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: ArrayChunks, fill: Any
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.chunks = chunks
        self.fill = fill
        self.size_bytes = prod(shape) * dtype.itemsize
        if self.size_bytes > MAX_FILE_BYTES:
            raise UnsupportedError("array", f"{self.size_bytes} bytes are more than any file holds")
        self._inner = prod(shape[1:])
        self._rows_only = chunks.shape[1:] == shape[1:]
        """Whether a chunk is a run of the array's bytes."""
        self._whole_axes: dict[int, list[_Piece]] = {}
        """The pieces of whole axes, which most reads need. Single operations need no lock."""
        self._window = self._ahead_window()
        self._lock = threading.Lock()
        self._high = 0
        """Where the furthest reader of the stream is, in bytes. Guarded by: `_lock`."""
        self._streak = 0
        """How many reads in a row went on. Guarded by: `_lock`."""
        self._asked = 0
        """Up to where chunks were asked for in advance. Guarded by: `_lock`."""

    def read(self, start: int, stop: int) -> Buffer:
        """Return bytes `[start, stop)`, cut at the end."""
        stop = min(stop, self.size_bytes)
        if start >= stop:
            return b""
        self._read_ahead(start, stop)
        width = self.dtype.itemsize
        first, last = start // width, -(-stop // width)
        values = self._within_chunk(first, last)
        if values is None:
            values = self._gather(first, last)
        flat: Any = values.reshape(-1).view("u1")
        return memoryview(flat)[start - first * width : stop - first * width]

    def _within_chunk(self, first: int, last: int) -> Array | None:
        """Return items that lie in one chunk as they lie there, without a copy."""
        if not self._rows_only or not self.shape:
            return None
        rows = self.chunks.shape[0]
        number = first // (rows * self._inner)
        begin = number * rows * self._inner
        if last > begin + rows * self._inner:
            return None
        try:
            chunk = self.chunks.array((number, *(0 for _ in self.shape[1:])))
        except NotFoundError:
            return None
        if chunk.dtype != self.dtype:
            return None
        return chunk.reshape(-1)[first - begin : last - begin]

    def _gather(self, first: int, last: int) -> Array:
        out = np.empty(last - first, self.dtype)
        boxes = [[self._pieces(*axis) for axis in enumerate(b)] for b in self._boxes(first, last)]
        touched = (tuple(p.chunk for p in places) for box in boxes for places in product(*box))
        missing = (index for index in touched if not self.chunks.holds(index))
        for index in islice(missing, 1, MOST_AHEAD):
            self.chunks.ahead(index)  # the first is decoded right here
        position = 0
        for box in boxes:
            shape = tuple(sum(p.target.stop - p.target.start for p in pieces) for pieces in box)
            count = prod(shape)
            self._copy(box, out[position : position + count].reshape(shape))
            position += count
        return out

    def _boxes(self, first: int, last: int) -> Iterator[tuple[Range, ...]]:
        return boxes_of(self.shape, first, last)

    def _touched(self, box: Sequence[Range]) -> Iterator[ChunkIndex]:
        return product(
            *(
                range(start // n, (stop - 1) // n + 1)
                for (start, stop), n in zip(box, self.chunks.shape, strict=True)
            )
        )

    def _pieces(self, axis: int, extent: Range) -> list[_Piece]:
        """Return how a range along one axis falls on its chunks."""
        whole = extent == (0, self.shape[axis])
        pieces = self._whole_axes.get(axis) if whole else None
        if pieces is None:
            pieces = list(_pieces_of(extent, self.chunks.shape[axis]))
            if whole and len(pieces) <= MOST_AHEAD:
                self._whole_axes[axis] = pieces
        return pieces

    def _copy(self, box: Sequence[Sequence[_Piece]], out: Array) -> None:
        for places in product(*box):
            target = tuple(piece.target for piece in places)
            source = tuple(piece.source for piece in places)
            try:
                out[target] = self.chunks.array(tuple(piece.chunk for piece in places))[source]
            except NotFoundError:
                whole = np.ndim(self.fill) == 0
                out[target] = self.fill if whole else self.fill[source[-1]]

    def _ahead_window(self) -> int:
        """At least the next row of chunks: its first byte needs them all."""
        rows = self.chunks.shape[0] if self.shape else 1
        row_of_chunks = rows * self._inner * self.dtype.itemsize
        return min(max(row_of_chunks, LEAST_AHEAD_BYTES), max(1, self.chunks.limit_bytes // 3))

    def _read_ahead(self, start: int, stop: int) -> None:
        """Ask for the chunks after a read that goes on where others ended."""
        with self._lock:
            goes_on = -NEAR_BYTES <= start - self._high <= NEAR_BYTES // 16
            if not goes_on or not start:
                self._high = self._asked = stop
                self._streak = 0
                return
            self._streak += stop > self._high
            self._high = max(self._high, stop)
            begin = max(self._asked, self._high)
            end = min(self._high + self._window, self.size_bytes)
            # In pieces of a quarter window: not at every read.
            worthwhile = end - begin >= self._window // 4 or end == self.size_bytes
            if self._streak < 2 or begin >= end or not worthwhile:
                return
            self._asked = end
        width = self.dtype.itemsize
        boxes = self._boxes(begin // width, -(-end // width))
        for index in islice((i for box in boxes for i in self._touched(box)), MOST_AHEAD):
            self.chunks.ahead(index)


def boxes_of(shape: Sequence[int], first: int, last: int) -> Iterator[tuple[Range, ...]]:
    """Yield the boxes that items `[first, last)` in C order consist of, in order.

    Each box is a run of items: single along its first axes, a range along one,
    whole along the rest.
    """
    if not shape:
        yield ()
        return
    inner = prod(shape[1:])
    row, skipped = divmod(first, inner)
    end, extra = divmod(last, inner)
    if row == end:
        yield from _inside(shape, row, skipped, extra)
        return
    if skipped:
        yield from _inside(shape, row, skipped, inner)
        row += 1
    if row < end:
        yield ((row, end), *((0, n) for n in shape[1:]))
    if extra:
        yield from _inside(shape, end, 0, extra)


def _inside(shape: Sequence[int], row: int, first: int, last: int) -> Iterator[tuple[Range, ...]]:
    for box in boxes_of(shape[1:], first, last):
        yield ((row, row + 1), *box)
