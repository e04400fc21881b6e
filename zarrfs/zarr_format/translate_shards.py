"""A sharded array as one whose chunks are its inner chunks.

Owns the rewriting of the document, and the arithmetic from such a chunk to its
place in the shards, nested ones included. Reading shards is the views'
business. Pure; safe from any thread.

Source: Zarr v3 codecs, `sharding_indexed`, `transpose`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from zarrfs.errors import UnsupportedError
from zarrfs.zarr_format.codecs import parse_shape
from zarrfs.zarr_format.codecs_arrays import parse_transpose
from zarrfs.zarr_format.dtypes import Json, named
from zarrfs.zarr_format.keys import ChunkIndex
from zarrfs.zarr_format.shards import ShardLayout, inner_chunk_shape, parse_shard_layout

MAX_NESTING: Final = 8


@dataclass(frozen=True, slots=True)
class ShardLevel:
    """One level of shards, seen along the array's own axes.

    `axes[i]` is the array axis that axis `i` of the index stands for.
    """

    layout: ShardLayout
    axes: tuple[int, ...]
    per_shard: tuple[int, ...]

    def split(self, index: ChunkIndex) -> tuple[ChunkIndex, ChunkIndex]:
        """Return the shard that holds an inner chunk, and its place in the shard's index."""
        outer = tuple(i // n for i, n in zip(index, self.per_shard, strict=True))
        within = [i % n for i, n in zip(index, self.per_shard, strict=True)]
        return outer, tuple(within[axis] for axis in self.axes)

    def join(self, outer: ChunkIndex, place: ChunkIndex) -> ChunkIndex:
        """Return the inner chunk at a place of a shard's index; undoes `split`."""
        within = dict(zip(self.axes, place, strict=True))
        return tuple(
            o * n + within[axis]
            for axis, (o, n) in enumerate(zip(outer, self.per_shard, strict=True))
        )


@dataclass(frozen=True, slots=True)
class Unsharded:
    """`document` describes the inner chunks; `levels` lead to them, outermost first."""

    document: dict[str, Json]
    levels: tuple[ShardLevel, ...]


def is_sharded(document: Mapping[str, Json]) -> bool:
    """Whether a v3 array's codecs have shards anywhere."""
    codecs = document.get("codecs") or ()
    return any(named(codec, "codecs")[0] == "sharding_indexed" for codec in codecs)


def unshard(document: Mapping[str, Json]) -> Unsharded:
    """Return the array of inner chunks of a sharded v3 array.

    Raises: UnsupportedError when something but `transpose` stands around the
    shards: then an inner chunk is no range of the shard's bytes.
    """
    _grid, configuration = named(document.get("chunk_grid"), "chunk_grid")
    chunk_shape = parse_shape(configuration.get("chunk_shape"), "chunk_shape")
    rank = len(chunk_shape)
    axes = tuple(range(rank))
    stored_shape = chunk_shape
    codecs = list(document.get("codecs") or ())
    levels: list[ShardLevel] = []
    while len(levels) <= MAX_NESTING:
        kept, axes, stored_shape = _strip_transposes(codecs, axes, stored_shape)
        name, sharding = named(kept[0], "codecs") if kept else ("", {})
        if name != "sharding_indexed":
            return Unsharded(_document_of(document, axes, stored_shape, kept), tuple(levels))
        if len(kept) > 1:
            raise UnsupportedError("codecs", "whole shards are compressed once more")
        layout = parse_shard_layout(sharding, stored_shape)
        levels.append(ShardLevel(layout, axes, _along(axes, layout.chunks_per_shard)))
        stored_shape = inner_chunk_shape(sharding, stored_shape)
        codecs = list(sharding.get("codecs") or ())
    raise UnsupportedError("codecs", f"shards nested more than {MAX_NESTING} deep")


def _strip_transposes(
    codecs: list[Json], axes: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[list[Json], tuple[int, ...], tuple[int, ...]]:
    """Take leading transposes off a list of codecs, and note them in `axes` and `shape`."""
    sharded = any(named(codec, "codecs")[0] == "sharding_indexed" for codec in codecs)
    while codecs and named(codecs[0], "codecs")[0] == "transpose":
        order = parse_transpose(named(codecs[0], "codecs")[1], len(shape)).order
        axes = tuple(axes[i] for i in order)
        shape = tuple(shape[i] for i in order)
        codecs = codecs[1:]
    if sharded and named(codecs[0], "codecs")[0] != "sharding_indexed":
        raise UnsupportedError("codecs", "a filter stands before the shards")
    return codecs, axes, shape


def _along(axes: tuple[int, ...], stored: tuple[int, ...]) -> tuple[int, ...]:
    """Return numbers given for the stored axes, for the array's axes."""
    by_axis = dict(zip(axes, stored, strict=True))
    return tuple(by_axis[axis] for axis in range(len(axes)))


def _document_of(
    document: Mapping[str, Json],
    axes: tuple[int, ...],
    stored_shape: tuple[int, ...],
    codecs: list[Json],
) -> dict[str, Json]:
    if axes != tuple(range(len(axes))):
        codecs = [{"name": "transpose", "configuration": {"order": list(axes)}}, *codecs]
    configuration = {"chunk_shape": list(_along(axes, stored_shape))}
    grid = {"name": "regular", "configuration": configuration}
    return {**document, "chunk_grid": grid, "codecs": codecs}
