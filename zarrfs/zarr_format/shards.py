"""The index of a shard: where each inner chunk lies.

Owns reading, checking and writing the index of the `sharding_indexed` codec;
what an inner chunk's bytes mean is the codecs' business. Pure; safe from any
thread.

Source: Zarr v3 codecs, `sharding_indexed`, version 1.0, "Binary shard format".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from zarrfs.errors import CorruptError, InvalidMetadataError, UnsupportedError
from zarrfs.zarr_format.dtypes import Json, named

EMPTY: Final = (1 << 64) - 1
"""Both numbers of an inner chunk that is not there."""

MAX_INNER_CHUNKS: Final = 1 << 26
"""An index of 1 GiB; a document that asks for more is refused."""

Index = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class ShardLayout:
    """How a shard of one array is laid out."""

    chunks_per_shard: tuple[int, ...]
    location: Literal["start", "end"]
    byte_order: Literal["<", ">"]
    checksum: bool

    @property
    def count(self) -> int:
        return prod(self.chunks_per_shard)

    @property
    def index_bytes(self) -> int:
        return 16 * self.count + (4 if self.checksum else 0)

    def index_range(self, shard_bytes: int) -> tuple[int, int]:
        """Return where the index lies in a shard of that size.

        Raises: CorruptError when the shard is shorter than its index.
        """
        if shard_bytes < self.index_bytes:
            raise CorruptError(
                "shard", f"{shard_bytes} bytes are less than its index, {self.index_bytes}"
            )
        if self.location == "start":
            return 0, self.index_bytes
        return shard_bytes - self.index_bytes, shard_bytes

    def decode_index(self, data: Any, shard_bytes: int) -> ShardIndex:
        """Read an index from its bytes.

        Raises: CorruptError for a wrong length or checksum.
        """
        view = memoryview(data).cast("B")
        if len(view) != self.index_bytes:
            raise CorruptError("shard index", f"{len(view)} bytes, not {self.index_bytes}")
        if self.checksum:
            view, stored = view[:-4], int.from_bytes(view[-4:], "little")
            if crc32c(view) != stored:
                raise CorruptError("shard index", "its crc32c is wrong")
        table: Index = np.frombuffer(view, f"{self.byte_order}u8").reshape(-1, 2)
        return ShardIndex(table, self.chunks_per_shard, shard_bytes)

    def encode_index(self, ranges: Sequence[tuple[int, int] | None]) -> bytes:
        """Write an index: `(offset, nbytes)` or None, in C order."""
        rows = [(EMPTY, EMPTY) if r is None else r for r in ranges]
        data = np.array(rows, f"{self.byte_order}u8").reshape(-1, 2).tobytes()
        return data + crc32c(data).to_bytes(4, "little") if self.checksum else data


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """A shard's index. `table` has shape `(inner chunks, 2)`: offset, nbytes."""

    table: Index
    chunks_per_shard: tuple[int, ...]
    shard_bytes: int

    def range_of(self, inner: Sequence[int]) -> tuple[int, int] | None:
        """Return `[start, stop)` of an inner chunk in the shard, or None if it is empty.

        Raises: CorruptError when it lies outside the shard.
        """
        position = 0
        for i, n in zip(inner, self.chunks_per_shard, strict=True):
            position = position * n + i
        return self.range_at(position)

    def range_at(self, position: int) -> tuple[int, int] | None:
        """As `range_of`, by position in C order."""
        offset, size = self.table[position].tolist()
        if offset == EMPTY and size == EMPTY:
            return None
        if offset + size > self.shard_bytes:
            raise CorruptError(
                f"inner chunk {position}",
                f"bytes {offset}+{size} lie outside the shard of {self.shard_bytes}",
            )
        return offset, offset + size

    def present(self) -> Iterator[tuple[int, ...]]:
        """Yield the inner chunks that the shard holds, in C order."""
        there = (self.table != EMPTY).any(axis=1)
        yield from map(tuple, np.argwhere(there.reshape(self.chunks_per_shard)).tolist())


def crc32c(data: Any) -> int:
    import google_crc32c

    return int(google_crc32c.value(bytes(data)))


def parse_shard_layout(
    configuration: Mapping[str, Json], shard_shape: tuple[int, ...]
) -> ShardLayout:
    """Read the configuration of a `sharding_indexed` codec, its codecs excepted.

    Raises: InvalidMetadataError, UnsupportedError for an index whose size varies.
    """
    inner = inner_chunk_shape(configuration, shard_shape)
    location = configuration.get("index_location", "end")
    if location not in ("start", "end"):
        raise InvalidMetadataError("sharding_indexed", [f"index_location is {location!r}"])
    per_shard = tuple(s // i for s, i in zip(shard_shape, inner, strict=True))
    if prod(per_shard) > MAX_INNER_CHUNKS:
        raise UnsupportedError("sharding_indexed", f"{prod(per_shard)} inner chunks in a shard")
    order, checksum = _parse_index_codecs(configuration.get("index_codecs"))
    return ShardLayout(per_shard, location, order, checksum)


def inner_chunk_shape(
    configuration: Mapping[str, Json], shard_shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the shape of the inner chunks, which divides the shard's."""
    inner = configuration.get("chunk_shape")
    fits = (
        isinstance(inner, Sequence)
        and len(inner) == len(shard_shape)
        and all(isinstance(n, int) and n > 0 for n in inner)
        and not any(s % n for s, n in zip(shard_shape, inner, strict=True))
    )
    if not fits:
        problem = f"chunk_shape {inner!r} does not divide {list(shard_shape)}"
        raise InvalidMetadataError("sharding_indexed", [problem])
    return tuple(inner)  # type: ignore[arg-type]  # checked just above


def _parse_index_codecs(codecs: Json) -> tuple[Literal["<", ">"], bool]:
    parsed = [named(codec, "index_codecs") for codec in codecs or ()]
    if not parsed or parsed[0][0] != "bytes":
        raise UnsupportedError("sharding_indexed", f"index_codecs {codecs!r}")
    names = [name for name, _ in parsed[1:]]
    if names not in ([], ["crc32c"]):
        raise UnsupportedError("sharding_indexed", f"index_codecs {codecs!r}")
    order: Literal["<", ">"] = ">" if parsed[0][1].get("endian") == "big" else "<"
    return order, bool(names)
