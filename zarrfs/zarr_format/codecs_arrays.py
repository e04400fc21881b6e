"""Codecs that see a chunk as an array: filters, `transpose`, `bytes`, vlen, shards.

Owns array-to-array and array-to-bytes codecs of v3 and the array filters of
v2; a pipeline is put together in `codecs`. Pure; safe from any thread.

Source: Zarr v3 codecs `transpose`, `bytes`, `sharding_indexed`; zarr-extensions
`vlen-utf8`, `vlen-bytes`; numcodecs for the filters, and zarr-python 3 for how
v3 arrays use them (`numcodecs.<id>`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from zarrfs.errors import CorruptError, InvalidMetadataError, UnsupportedError
from zarrfs.zarr_format.codecs_bytes import Buffer, make_numcodec, too_large
from zarrfs.zarr_format.dtypes import DataType, Json
from zarrfs.zarr_format.fill_values import FillValue, zero
from zarrfs.zarr_format.shards import ShardLayout

Array = npt.NDArray[Any]

MAX_CHUNK_BYTES: Final = 1 << 31
"""What a chunk may decode to when it is compressed: as much as blosc allows."""

MAX_VARIABLE_BYTES: Final = 1 << 28
"""What the text or bytes of one chunk may decode to."""


@dataclass(frozen=True, slots=True)
class ChunkSpec:
    """What a chunk is at one place of the pipeline."""

    shape: tuple[int, ...]
    data_type: DataType
    fill_value: FillValue = None

    @property
    def item_count(self) -> int:
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """The exact size of the items, or the most that variable ones may take."""
        if self.data_type.variable:
            return MAX_VARIABLE_BYTES
        return self.item_count * self.data_type.item_bytes

    def filled(self) -> Array:
        """Return a chunk that holds nothing but the fill value."""
        value = zero(self.data_type) if self.fill_value is None else self.fill_value
        chunk = np.empty(self.shape, self.data_type.numpy)
        chunk[...] = value
        return chunk


class ArrayArrayCodec(Protocol):
    def encoded_spec(self, spec: ChunkSpec) -> ChunkSpec:
        """What the chunk becomes when it is encoded."""

    def decode(self, chunk: Array, spec: ChunkSpec) -> Array:
        """`spec` is that of the decoded chunk."""

    def encode(self, chunk: Array) -> Array: ...


class ArrayBytesCodec(Protocol):
    def encoded_limit(self, spec: ChunkSpec) -> int: ...
    def decode(self, data: Buffer, spec: ChunkSpec) -> Array: ...
    def encode(self, chunk: Array, spec: ChunkSpec) -> Buffer: ...


@dataclass(frozen=True, slots=True)
class Transpose:
    """`order[i]` is the axis of the decoded chunk that becomes axis `i`."""

    order: tuple[int, ...]

    def encoded_spec(self, spec: ChunkSpec) -> ChunkSpec:
        shape = tuple(spec.shape[axis] for axis in self.order)
        return ChunkSpec(shape, spec.data_type, spec.fill_value)

    def decode(self, chunk: Array, spec: ChunkSpec) -> Array:
        return chunk.transpose(np.argsort(self.order))

    def encode(self, chunk: Array) -> Array:
        return chunk.transpose(self.order)


def parse_transpose(configuration: Mapping[str, Json], rank: int) -> Transpose:
    """`"C"` and `"F"` are the spelling of early drafts."""
    order = configuration.get("order")
    if order == "C":
        order = list(range(rank))
    elif order == "F":
        order = list(range(rank))[::-1]
    if not isinstance(order, Sequence) or sorted(order) != list(range(rank)):
        raise InvalidMetadataError("transpose", [f"{order!r} is no order of {rank} axes"])
    return Transpose(tuple(order))


@dataclass(frozen=True, slots=True)
class Filter:
    """A numcodecs filter; it sees the chunk flat, in C order."""

    codec_id: str
    numcodec: Any

    def encoded_type(self, data_type: DataType) -> DataType:
        if self.codec_id == "packbits":
            return DataType(np.dtype("u1"))
        if self.codec_id == "astype":
            return DataType(self.numcodec.encode_dtype)
        if self.codec_id == "bitround":
            return data_type
        return DataType(self.numcodec.astype)

    def encoded_spec(self, spec: ChunkSpec) -> ChunkSpec:
        shape = spec.shape
        if self.codec_id == "packbits":
            shape = (1 + ceil(spec.item_count / 8),)
        return ChunkSpec(shape, self.encoded_type(spec.data_type), spec.fill_value)

    def decode(self, chunk: Array, spec: ChunkSpec) -> Array:
        flat = np.asarray(self.numcodec.decode(np.ascontiguousarray(chunk).reshape(-1)))
        if flat.nbytes != spec.size_bytes:
            raise wrong_size(flat.nbytes, spec)
        if flat.dtype.newbyteorder("<") != spec.data_type.numpy.newbyteorder("<"):
            flat = flat.view(spec.data_type.numpy)  # such as the integers behind a datetime
        return flat.reshape(spec.shape)

    def encode(self, chunk: Array) -> Array:
        encoded: Array = self.numcodec.encode(np.ascontiguousarray(chunk).reshape(-1))
        return encoded if self.codec_id == "packbits" else encoded.reshape(chunk.shape)

    # As a step of a v2 pipeline, between buffers.

    def decode_buffer(self, data: Buffer, limit: int) -> Buffer:
        growth = 8 if self.codec_id == "packbits" else 1
        if memoryview(data).nbytes > limit * 8 // growth + 4096:
            raise too_large(self.codec_id, memoryview(data).nbytes, limit)
        return self.numcodec.decode(data)

    def encoded_limit(self, decoded_limit: int) -> int:
        return decoded_limit * 8 + 4096


FILTER_IDS: Final = frozenset(
    ("delta", "fixedscaleoffset", "quantize", "bitround", "packbits", "astype")
)


def make_filter(config: Mapping[str, Any], data_type: DataType) -> Filter:
    """Return a filter, its data type completed from the array's where it is left out."""
    codec_id = str(config.get("id"))
    missing = {"fixedscaleoffset": "dtype", "quantize": "dtype", "delta": "dtype"}.get(codec_id)
    if codec_id == "astype":
        missing = "decode_dtype"
    if missing and config.get(missing) is None:
        config = {**config, missing: data_type.numpy.str}
    return Filter(codec_id, make_numcodec(config))


def wrong_size(size: int, spec: ChunkSpec) -> CorruptError:
    return CorruptError("chunk", f"decodes to {size} bytes, where {spec.size_bytes} are expected")


def as_items(data: Any, spec: ChunkSpec) -> Array:
    """Return a buffer as the flat items of a chunk.

    Raises: CorruptError when the size is not the chunk's.
    """
    contiguous: Any = np.ascontiguousarray(data) if isinstance(data, np.ndarray) else data
    view = memoryview(contiguous)
    if view.nbytes != spec.size_bytes:
        raise wrong_size(view.nbytes, spec)
    if not view.nbytes:
        return np.empty(spec.item_count, spec.data_type.numpy)
    return np.frombuffer(view.cast("B"), spec.data_type.numpy)


@dataclass(frozen=True, slots=True)
class Bytes:
    """The items one after another, in one byte order."""

    byte_order: Literal["<", ">"]

    def encoded_limit(self, spec: ChunkSpec) -> int:
        return spec.size_bytes

    def decode(self, data: Buffer, spec: ChunkSpec) -> Array:
        stored = ChunkSpec(spec.shape, spec.data_type.with_byte_order(self.byte_order))
        return as_items(data, stored).reshape(spec.shape)

    def encode(self, chunk: Array, spec: ChunkSpec) -> Buffer:
        dtype = spec.data_type.with_byte_order(self.byte_order).numpy
        return np.ascontiguousarray(chunk, dtype).reshape(-1).view("u1")


@dataclass(frozen=True, slots=True)
class VariableLength:
    """`vlen-utf8` and `vlen-bytes`: a count, then each item with its length."""

    codec_id: str
    numcodec: Any

    def encoded_limit(self, spec: ChunkSpec) -> int:
        return MAX_VARIABLE_BYTES

    def decode(self, data: Buffer, spec: ChunkSpec) -> Array:
        return self.decode_flat(data, spec.item_count).reshape(spec.shape)

    def decode_flat(self, data: Buffer, item_count: int) -> Array:
        view = memoryview(data).cast("B")
        count = int.from_bytes(view[:4], "little")
        # numcodecs makes room for the count before it looks at the items.
        if len(view) < 4 or count != item_count:
            raise CorruptError(self.codec_id, f"{count} items, where {item_count} are expected")
        items: Array = self.numcodec.decode(view)
        return items

    def encode(self, chunk: Array, spec: ChunkSpec) -> Buffer:
        return self.numcodec.encode(np.ascontiguousarray(chunk, object).reshape(-1))


@dataclass(frozen=True, slots=True)
class NumcodecsArrayBytes:
    """`pcodec` and `zfpy`, where their libraries are installed."""

    numcodec: Any

    def encoded_limit(self, spec: ChunkSpec) -> int:
        return spec.size_bytes * 2 + 65536

    def decode(self, data: Buffer, spec: ChunkSpec) -> Array:
        decoded = self.numcodec.decode(bytes(memoryview(data).cast("B")))
        return as_items(decoded, spec).reshape(spec.shape)

    def encode(self, chunk: Array, spec: ChunkSpec) -> Buffer:
        return self.numcodec.encode(np.ascontiguousarray(chunk))


class ChunkCodec(Protocol):
    """What a pipeline offers to the sharding codec around it."""

    @property
    def spec(self) -> ChunkSpec: ...
    @property
    def encoded_limit(self) -> int: ...
    def decode(self, data: Buffer) -> Array: ...
    def encode(self, chunk: Array) -> Buffer: ...


@dataclass(frozen=True, slots=True)
class Sharding:
    """A shard as one chunk: all its inner chunks, put together."""

    layout: ShardLayout
    inner: ChunkCodec

    def encoded_limit(self, spec: ChunkSpec) -> int:
        return self.layout.count * self.inner.encoded_limit + self.layout.index_bytes

    def decode(self, data: Buffer, spec: ChunkSpec) -> Array:
        if spec.size_bytes > MAX_CHUNK_BYTES:
            raise UnsupportedError("shard", f"{spec.size_bytes} bytes at once")
        view = memoryview(data).cast("B")
        index = self.layout.decode_index(
            view[slice(*self.layout.index_range(len(view)))], len(view)
        )
        shard = spec.filled()
        for inner in index.present():
            byte_range = index.range_of(inner)
            if byte_range is not None:
                shard[self._place(inner)] = self.inner.decode(view[slice(*byte_range)])
        return shard

    def _place(self, inner: Sequence[int]) -> tuple[slice, ...]:
        return tuple(
            slice(i * n, (i + 1) * n) for i, n in zip(inner, self.inner.spec.shape, strict=True)
        )

    def encode(self, chunk: Array, spec: ChunkSpec) -> Buffer:
        parts: list[bytes] = []
        ranges: list[tuple[int, int] | None] = []
        offset = self.layout.index_bytes if self.layout.location == "start" else 0
        for inner in product(*map(range, self.layout.chunks_per_shard)):
            part = bytes(self.inner.encode(chunk[self._place(inner)]))
            parts.append(part)
            ranges.append((offset, len(part)))
            offset += len(part)
        index = self.layout.encode_index(ranges)
        ordered = [index, *parts] if self.layout.location == "start" else [*parts, index]
        return b"".join(ordered)
