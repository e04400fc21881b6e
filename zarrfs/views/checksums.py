"""Chunks without the crc32c at their end, which few readers of v2 know.

Owns checking it: a chunk's bytes are given out only when its checksum is right,
checked once for each state of the chunk. All methods may be called from several
threads at once.

Source: Zarr v3 codecs, `crc32c`: four bytes, little-endian, after the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zarrfs.errors import CorruptError
from zarrfs.storage.backend import Buffer, KeyStat
from zarrfs.views.chunks import Chunks
from zarrfs.zarr_format.dtypes import Json, named
from zarrfs.zarr_format.keys import ChunkIndex
from zarrfs.zarr_format.shards import crc32c

CHECKSUM_BYTES: Final = 4
_REMEMBERED: Final = 4096


class CheckedChunks:
    """Another's chunks, less their checksum."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._right: dict[ChunkIndex, KeyStat] = {}
        """Chunks that were checked. Single operations need no lock."""

    def get(self, index: ChunkIndex, start: int = 0, stop: int | None = None) -> Buffer:
        stat = self._chunks.stat(index)
        end = self._length(index, stat)
        stop = end if stop is None else min(stop, end)
        if self._right.get(index) == stat:
            return self._chunks.get(index, start, max(start, stop))
        data = memoryview(self._chunks.get(index))
        stored = int.from_bytes(data[-CHECKSUM_BYTES:], "little")
        if len(data) != stat.size_bytes or crc32c(data[:-CHECKSUM_BYTES]) != stored:
            raise CorruptError(f"chunk {index}", "its crc32c is wrong")
        if len(self._right) >= _REMEMBERED:
            self._right.clear()
        self._right[index] = stat
        return data[start : max(start, stop)]

    def stat(self, index: ChunkIndex) -> KeyStat:
        stat = self._chunks.stat(index)
        return KeyStat(self._length(index, stat), stat.mtime_ns)

    def indices(self, leading: ChunkIndex = ()) -> Iterator[ChunkIndex]:
        return self._chunks.indices(leading)

    def _length(self, index: ChunkIndex, stat: KeyStat) -> int:
        if stat.size_bytes < CHECKSUM_BYTES:
            raise CorruptError(f"chunk {index}", "shorter than its checksum")
        return stat.size_bytes - CHECKSUM_BYTES


def ends_with_checksum(codecs: Json) -> bool:
    """Whether the last of a list of v3 codecs is a crc32c."""
    return bool(codecs) and named(codecs[-1], "codecs")[0] in ("crc32c", "numcodecs.crc32c")
