"""From a node of the source to the chunks that views build on.

Owns the choice of the way: inner chunks of shards where they are ranges of
bytes, whole shards where they are not; bytes as they are where they are plain
already, decoded ones otherwise. Functions only; safe from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from zarrfs.errors import UnsupportedError
from zarrfs.storage.backend import Backend
from zarrfs.views.chunk_cache import ChunkCache
from zarrfs.views.chunks import Chunks, DecodedChunks, InnerChunks, PlainChunks, SourceChunks
from zarrfs.views.nodes import SourceNode
from zarrfs.zarr_format.codecs import Pipeline, V2Pipeline, V3Pipeline, pipeline_of
from zarrfs.zarr_format.codecs_arrays import Bytes
from zarrfs.zarr_format.documents import Json
from zarrfs.zarr_format.layout import ArrayLayout, array_layout
from zarrfs.zarr_format.translate_shards import is_sharded, unshard

MAX_RANK_DECODED: Final = 32
"""What every numpy can hold."""


@dataclass(frozen=True, slots=True)
class ChunkedArray:
    """An array, its chunks, and the document that describes just these chunks."""

    document: Mapping[str, Json]
    layout: ArrayLayout
    chunks: Chunks


def stored_array(source: Backend, node: SourceNode) -> ChunkedArray:
    """Return an array with its chunks as they are stored (whole shards)."""
    layout = node.array_layout
    if layout.chunk_runs is not None:
        raise UnsupportedError("chunk grid rectilinear", "its chunks differ in size")
    return ChunkedArray(node.document, layout, SourceChunks(source, node.path, layout))


def unsharded_array(source: Backend, node: SourceNode) -> ChunkedArray:
    """Return an array with the inner chunks of its shards, if it has any.

    Raises: UnsupportedError when they are no ranges of the shards' bytes.
    """
    stored = stored_array(source, node)
    if node.zarr_format == 2 or not is_sharded(node.document):
        return stored
    inner = unshard(node.document)
    chunks = stored.chunks
    grid = stored.layout.grid_shape
    for number, level in enumerate(inner.levels, 1):
        grid = _grid_below(stored.layout, inner.levels[:number])
        chunks = InnerChunks(chunks, level, grid, static=source.static)
    layout = array_layout(inner.document, node.path)
    return ChunkedArray(inner.document, layout, chunks)


def _grid_below(layout: ArrayLayout, levels: tuple[Any, ...]) -> tuple[int, ...]:
    """Return the grid of the chunks inside so many levels of shards."""
    chunk = list(layout.chunk_shape)
    for level in levels:
        chunk = [c // n for c, n in zip(chunk, level.per_shard, strict=True)]
    return tuple(-(-s // c) if s else 0 for s, c in zip(layout.shape, chunk, strict=True))


def decodable_array(source: Backend, node: SourceNode) -> tuple[ChunkedArray, Pipeline]:
    """Return an array by chunks as small as can be, and what decodes them.

    Raises: UnsupportedError, InvalidMetadataError.
    """
    try:
        array = unsharded_array(source, node)
    except UnsupportedError:
        array = stored_array(source, node)
    if array.layout.rank > MAX_RANK_DECODED:
        raise UnsupportedError("array", f"{array.layout.rank} dimensions")
    return array, pipeline_of(array.document)


def plain_dtype(pipeline: Pipeline) -> np.dtype[Any]:
    """Return the little-endian numpy type of an array's items.

    Raises: UnsupportedError for items of variable length.
    """
    if pipeline.spec.data_type.variable:
        raise UnsupportedError("dtype", "items of variable length have no plain form")
    return pipeline.spec.data_type.with_byte_order("<").numpy


def plain_chunks(
    array: ChunkedArray, pipeline: Pipeline, cache: ChunkCache, *, static: bool
) -> Chunks:
    """Return an array's chunks as plain values: little-endian, C order."""
    dtype = plain_dtype(pipeline)
    if is_plain(pipeline):
        return PlainChunks(array.chunks, pipeline.spec.size_bytes)
    return DecodedChunks(array.chunks, pipeline, dtype, cache, static=static)


def is_plain(pipeline: Pipeline) -> bool:
    """Whether chunks are stored as plain little-endian values in C order."""
    data_type = pipeline.spec.data_type
    if isinstance(pipeline, V2Pipeline):
        coded = pipeline.filters or pipeline.compressor or pipeline.object_codec
        little = data_type.with_byte_order("<").numpy == data_type.numpy
        return not coded and not pipeline.fortran_order and little
    if isinstance(pipeline, V3Pipeline) and isinstance(pipeline.array_bytes, Bytes):
        little = pipeline.array_bytes.byte_order == "<" or not data_type.has_byte_order
        return not pipeline.array_codecs and not pipeline.bytes_codecs and little
    return False
