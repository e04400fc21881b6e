"""The chunks of one array by their index, and what a view may make of them.

    SourceChunks    as the source stores them (zero-copy)
    InnerChunks     those inside the shards of another, as ranges of its bytes
    DecodedChunks   the plain values of another's: C order, one byte order
    PlainChunks     those of another that needs no decoding (zero-copy)
    FilledChunks    those of another, and the fill value where there is none

Owns finding and decoding chunks; keys and documents are the faces' business.
All methods may be called from several threads at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from itertools import product
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from zarrfs.errors import ChunkNotFoundError, CorruptError, NotFoundError, UnsupportedError
from zarrfs.storage.backend import Backend, Buffer, Key, KeyStat
from zarrfs.storage.chunks import iter_chunks
from zarrfs.views.chunk_cache import ChunkCache
from zarrfs.zarr_format.codecs import Pipeline, decode_chunk, encode_chunk
from zarrfs.zarr_format.codecs_arrays import MAX_CHUNK_BYTES, ChunkSpec
from zarrfs.zarr_format.keys import ChunkIndex
from zarrfs.zarr_format.layout import ArrayLayout
from zarrfs.zarr_format.shards import ShardIndex
from zarrfs.zarr_format.translate_shards import ShardLevel

Array = npt.NDArray[Any]

SHARD_INDEXES_BYTES: Final = 32 << 20
"""How much of an array's shard indexes is kept."""

MOST_ABSENT: Final = 100_000
"""How many absent chunks of an array are remembered."""

MAX_FILL_BYTES: Final = 1 << 28
"""The largest chunk of the fill value that is encoded."""


class Chunks(Protocol):
    """The chunks of an array. A chunk that was never written raises NotFoundError."""

    def get(self, index: ChunkIndex, start: int = 0, stop: int | None = None) -> Buffer: ...

    def stat(self, index: ChunkIndex) -> KeyStat: ...

    def indices(self, leading: ChunkIndex = ()) -> Iterator[ChunkIndex]:
        """Yield every chunk that is there and whose index begins so, in any order."""


class SourceChunks:
    """An array's chunks as its store holds them."""

    def __init__(self, source: Backend, path: str, layout: ArrayLayout) -> None:
        self.source = source
        self.path = path
        self.layout = layout
        self._prefix = f"{path}/" if path else ""
        self._encode = layout.key_encoding.encode

    def get(self, index: ChunkIndex, start: int = 0, stop: int | None = None) -> Buffer:
        return self.source.get(Key(self._prefix + self._encode(index)), start, stop)

    def stat(self, index: ChunkIndex) -> KeyStat:
        return self.source.stat(Key(self._prefix + self._encode(index)))

    def indices(self, leading: ChunkIndex = ()) -> Iterator[ChunkIndex]:
        if leading and self.layout.key_encoding.separator == "/":
            return self._indices_below(leading)
        found = iter_chunks(self.source, self.path, self.layout)
        return (index for index in found if index[: len(leading)] == leading)

    def _indices_below(self, leading: ChunkIndex) -> Iterator[ChunkIndex]:
        """Look only into the folder that the beginning of the index names."""
        folder = Key(self._prefix + self._encode(leading))
        for key in self.source.list_keys(folder):
            index = self.layout.chunk_index(key[len(self._prefix) :])
            if index is not None:
                yield index


class _CachedIndex(NamedTuple):
    shard: KeyStat
    table: ShardIndex


class InnerChunks:
    """The inner chunks of one level of shards; stack them for nested shards.

    The index of a shard is kept, newest first, in `SHARD_INDEXES_BYTES`.
    """

    def __init__(
        self, shards: Chunks, level: ShardLevel, grid: ChunkIndex, *, static: bool
    ) -> None:
        self._shards = shards
        self._level = level
        self._grid = grid
        """The grid of inner chunks; a shard at the edge may hold some outside it."""
        self._static = static
        self._limit = max(1, SHARD_INDEXES_BYTES // max(1, level.layout.index_bytes))
        self._lock = threading.Lock()
        self._indexes: OrderedDict[ChunkIndex, _CachedIndex] = OrderedDict()
        """Guarded by: `_lock`."""

    def get(self, index: ChunkIndex, start: int = 0, stop: int | None = None) -> Buffer:
        outer, (_shard, begin, end) = self._range(index)
        first = min(begin + start, end)
        last = end if stop is None else max(first, min(begin + stop, end))
        data = self._shards.get(outer, first, last)
        if len(data) != last - first:
            raise CorruptError(f"inner chunk {index}", "the shard is cut off")
        return data

    def stat(self, index: ChunkIndex) -> KeyStat:
        _outer, (shard, begin, end) = self._range(index)
        return KeyStat(end - begin, shard.mtime_ns)

    def indices(self, leading: ChunkIndex = ()) -> Iterator[ChunkIndex]:
        # zip stops at the shorter: only as many dimensions as `leading` has.
        above = tuple(i // n for i, n in zip(leading, self._level.per_shard, strict=False))
        for outer in self._shards.indices(above):
            try:
                present = self.index_of(outer).table.present()
            except (NotFoundError, CorruptError):
                continue  # the shard is told of when one of its chunks is read
            for place in present:
                inner = self._level.join(outer, place)
                inside = all(i < n for i, n in zip(inner, self._grid, strict=True))
                if inside and inner[: len(leading)] == leading:
                    yield inner

    def _range(self, index: ChunkIndex) -> tuple[ChunkIndex, tuple[KeyStat, int, int]]:
        outer, place = self._level.split(index)
        cached = self.index_of(outer)
        byte_range = cached.table.range_of(place)
        if byte_range is None:
            raise ChunkNotFoundError("", index)
        return outer, (cached.shard, *byte_range)

    def index_of(self, outer: ChunkIndex) -> _CachedIndex:
        """Return a shard's index. Raises: NotFoundError, CorruptError."""
        with self._lock:
            cached = self._indexes.get(outer)
            if cached is not None:
                self._indexes.move_to_end(outer)
        if cached is not None and (self._static or self._shards.stat(outer) == cached.shard):
            return cached
        shard = self._shards.stat(outer)
        layout = self._level.layout
        data = self._shards.get(outer, *layout.index_range(shard.size_bytes))
        # A copy: the cached index must not keep a source's memory mapped.
        cached = _CachedIndex(shard, layout.decode_index(bytes(data), shard.size_bytes))
        with self._lock:
            self._indexes[outer] = cached
            while len(self._indexes) > self._limit:
                self._indexes.popitem(last=False)
        return cached


class DecodedChunks:
    """The plain values of another's chunks, in C order and one byte order.

    `array` gives them to what needs numpy, `get` their bytes. A chunk's size is
    known without decoding it. `static` as for a backend.
    """

    def __init__(
        self,
        chunks: Chunks,
        pipeline: Pipeline,
        dtype: np.dtype[Any],
        cache: ChunkCache,
        *,
        static: bool,
    ) -> None:
        self.chunks = chunks
        self.pipeline = pipeline
        self.dtype = dtype
        self.shape = pipeline.spec.shape
        self.size_bytes = pipeline.spec.item_count * dtype.itemsize
        self.cache = cache
        self._static = static
        self._token = cache.new_token()
        self._absent: set[ChunkIndex] = set()
        """Chunks that a static source does not have. Single operations need no lock."""

    @property
    def limit_bytes(self) -> int:
        return self.cache.limit_bytes

    def get(self, index: ChunkIndex, start: int = 0, stop: int | None = None) -> Buffer:
        plain = self.array(index)
        flat: Any = plain.reshape(-1).view("u1")
        return memoryview(flat)[start:stop]

    def stat(self, index: ChunkIndex) -> KeyStat:
        return KeyStat(self.size_bytes, self.chunks.stat(index).mtime_ns)

    def indices(self, leading: ChunkIndex = ()) -> Iterator[ChunkIndex]:
        return self.chunks.indices(leading)

    def array(self, index: ChunkIndex) -> Array:
        """Return a decoded chunk, read-only and C-contiguous.

        Raises: NotFoundError, CorruptError, UnsupportedError.
        """
        if index in self._absent:
            raise ChunkNotFoundError("", index)
        key = self._key(index)
        try:
            return self.cache.get(key, self.size_bytes, lambda: self.decode(index))
        except NotFoundError:
            if self._static and len(self._absent) < MOST_ABSENT:
                self._absent.add(index)
            raise

    def holds(self, index: ChunkIndex) -> bool:
        """Whether a chunk is decoded already, or known not to be there."""
        try:
            return index in self._absent or self.cache.holds(self._key(index))
        except (NotFoundError, CorruptError):
            return True

    def ahead(self, index: ChunkIndex) -> bool:
        """Have a chunk decoded in the background, if that is of use."""
        if index in self._absent:
            return False
        try:
            key = self._key(index)
        except (NotFoundError, CorruptError):
            return False
        return self.cache.ahead(key, self.size_bytes, lambda: self.decode(index))

    def _key(self, index: ChunkIndex) -> tuple[int, ChunkIndex, KeyStat | None]:
        return self._token, index, None if self._static else self.chunks.stat(index)

    def decode(self, index: ChunkIndex) -> Array:
        """Decode a chunk, past the cache."""
        if self.size_bytes > MAX_CHUNK_BYTES:
            raise CorruptError(f"chunk {index}", f"decodes to {self.size_bytes} bytes")
        try:
            data = self.chunks.get(index)
            if len(data) > self.pipeline.encoded_limit:
                raise CorruptError(f"chunk {index}", f"{len(data)} bytes are more than it can take")
            chunk = decode_chunk(self.pipeline, data)
        except CorruptError as error:
            raise CorruptError(f"chunk {index}", str(error)) from error
        plain = np.ascontiguousarray(chunk, self.dtype).reshape(self.shape)  # 0-d stays so
        if len(data) and np.may_share_memory(plain, np.frombuffer(data, "u1")):
            plain = plain.copy()  # what is cached must not keep a source's memory mapped
        plain.flags.writeable = False
        return plain


class PlainChunks:
    """Another's chunks that are plain values already: only their size is checked."""

    def __init__(self, chunks: Chunks, size_bytes: int) -> None:
        self.chunks = chunks
        self.size_bytes = size_bytes

    def get(self, index: ChunkIndex, start: int = 0, stop: int | None = None) -> Buffer:
        size = self.chunks.stat(index).size_bytes
        if size != self.size_bytes:
            raise CorruptError(f"chunk {index}", f"{size} bytes, not {self.size_bytes}")
        return self.chunks.get(index, start, stop)

    def stat(self, index: ChunkIndex) -> KeyStat:
        return KeyStat(self.size_bytes, self.chunks.stat(index).mtime_ns)

    def indices(self, leading: ChunkIndex = ()) -> Iterator[ChunkIndex]:
        return self.chunks.indices(leading)


class FilledChunks:
    """Another's chunks, and a chunk of the fill value wherever it has none.

    `fill` is that chunk as it is stored; `mtime_ns` is shown for it.
    """

    def __init__(self, chunks: Chunks, fill: FillChunk, grid: ChunkIndex, mtime_ns: int) -> None:
        self.chunks = chunks
        self.fill = fill
        self.grid = grid
        self.mtime_ns = mtime_ns

    def get(self, index: ChunkIndex, start: int = 0, stop: int | None = None) -> Buffer:
        try:
            return self.chunks.get(index, start, stop)
        except NotFoundError:
            return self.fill.get(start, stop)

    def stat(self, index: ChunkIndex) -> KeyStat:
        try:
            return self.chunks.stat(index)
        except NotFoundError:
            return KeyStat(self.fill.size_bytes, self.mtime_ns)

    def indices(self, leading: ChunkIndex = ()) -> Iterator[ChunkIndex]:
        rest = product(*map(range, self.grid[len(leading) :]))
        return ((*leading, *index) for index in rest)


class FillChunk:
    """The bytes of a chunk that was never written: encoded once, or one item repeated."""

    def __init__(self, pipeline: Pipeline, *, plain: bool) -> None:
        self._pipeline = pipeline
        self._plain = plain
        self._lock = threading.Lock()
        self._encoded: bytes | None = None
        """Guarded by: `_lock`."""

    @property
    def size_bytes(self) -> int:
        return self._pipeline.spec.size_bytes if self._plain else len(self._bytes())

    def get(self, start: int, stop: int | None) -> Buffer:
        if not self._plain:
            return self._bytes()[start:stop]
        first, last, _step = slice(start, stop).indices(self.size_bytes)
        one = ChunkSpec((1,), self._pipeline.spec.data_type, self._pipeline.spec.fill_value)
        item = one.filled().tobytes()
        skipped = first // len(item) if item else 0
        count = -(-last // len(item)) - skipped if item else 0
        begin = first - skipped * len(item)
        return memoryview(item * count)[begin : begin + max(0, last - first)]

    def _bytes(self) -> bytes:
        with self._lock:
            if self._encoded is None:
                spec = self._pipeline.spec
                if spec.item_count * max(1, spec.data_type.item_bytes) > MAX_FILL_BYTES:
                    raise UnsupportedError("chunk", "too large to be made of the fill value")
                self._encoded = encode_chunk(self._pipeline, spec.filled())
            return self._encoded
