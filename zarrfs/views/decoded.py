"""The view `decoded`: v2 that netCDF-C 4.9 reads, and any program that lacks codecs.

As `plain`, and every array as numbers (see `numbers`). What has no such form
is hidden, and so are arrays without elements: netCDF-C 4.9 ends with a
segmentation fault at a data type that it does not know, and refuses the whole
store for a dimension of length 0. All methods may be called from several
threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator

from zarrfs.errors import UnsupportedError
from zarrfs.storage.backend import Buffer, KeyStat
from zarrfs.views.arrays import decodable_array, plain_chunks, plain_dtype
from zarrfs.views.chunks import Chunks, DecodedChunks
from zarrfs.views.faces import Face, IndexedKeys
from zarrfs.views.formats import V2View, plain_v2_array, v2_documents
from zarrfs.views.nodes import SourceNode
from zarrfs.views.numbers import Numbers, as_numbers
from zarrfs.zarr_format.codecs_arrays import ChunkSpec
from zarrfs.zarr_format.dtypes import DataType
from zarrfs.zarr_format.fill_values import fill_value_to_v2
from zarrfs.zarr_format.keys import ChunkIndex, ChunkKeyEncoding
from zarrfs.zarr_format.translate import ARRAY_DIMENSIONS, V2Array


class DecodedView(V2View):
    """Numbers without codecs."""

    name = "decoded"

    def array_face(self, node: SourceNode) -> Face:
        array, pipeline = decodable_array(self.source, node)
        grid = array.layout.grid_shape
        if 0 in grid:
            raise UnsupportedError("array", "it has no elements")
        numbers = as_numbers(plain_dtype(pipeline))
        documents = v2_documents(
            _as_numbers(plain_v2_array(node, array, pipeline), numbers, pipeline.spec)
        )
        chunks: Chunks
        if numbers.converts:
            chunks = DecodedChunks(
                array.chunks, pipeline, numbers.dtype, self.cache, static=self.static
            )
        else:
            chunks = plain_chunks(array, pipeline, self.cache, static=self.static)
        if numbers.trailing or not grid:
            chunks, grid = TrailingAxis(chunks), (*grid, 1)
        return IndexedKeys(documents, node.mtime_ns, chunks, grid, ChunkKeyEncoding("v2", "."))


def _as_numbers(documents: V2Array, numbers: Numbers, spec: ChunkSpec) -> V2Array:
    zarray, zattrs = documents
    fill = numbers.fill_value(spec.fill_value)
    length, name = numbers.trailing, numbers.trailing_name
    if not length and not zarray["shape"]:
        length, name = 1, "scalar"  # netCDF-C 4.9 cannot read an array of no dimensions
    trailing = [length] if length else []
    names = zattrs.get(ARRAY_DIMENSIONS)
    if trailing and isinstance(names, list):
        zattrs = {**zattrs, ARRAY_DIMENSIONS: [*names, name]}
    shown = {
        **zarray,
        "dtype": numbers.dtype.str,
        "shape": [*zarray["shape"], *trailing],
        "chunks": [*zarray["chunks"], *trailing],
        "fill_value": fill_value_to_v2(fill, DataType(numbers.dtype)),
    }
    return V2Array(shown, {**numbers.attributes, **zattrs})


class TrailingAxis:
    """Another's chunks, each with one more dimension of a single chunk."""

    def __init__(self, chunks: Chunks) -> None:
        self.chunks = chunks

    def get(self, index: ChunkIndex, start: int = 0, stop: int | None = None) -> Buffer:
        return self.chunks.get(index[:-1], start, stop)

    def stat(self, index: ChunkIndex) -> KeyStat:
        return self.chunks.stat(index[:-1])

    def indices(self, leading: ChunkIndex = ()) -> Iterator[ChunkIndex]:
        return ((*index, 0) for index in self.chunks.indices(leading))
