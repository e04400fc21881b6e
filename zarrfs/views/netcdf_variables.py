"""Arrays as netCDF variables: their types, dimensions, attributes and values.

Owns what `netcdf` shows of one array; how a file is laid out is
`netcdf_format`'s business. All methods may be called from several threads at
once.

Source: NetCDF Users' Guide, "Data Types" (classic and CDF-5); CF conventions,
sections 2.2 (text as char with one more dimension) and 2.5.1 (`_FillValue`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from zarrfs.errors import NotFoundError, UnsupportedError
from zarrfs.storage.backend import Backend
from zarrfs.views.arrays import ChunkedArray, decodable_array, plain_dtype
from zarrfs.views.chunk_cache import ChunkCache
from zarrfs.views.chunks import DecodedChunks
from zarrfs.views.flat import plain_fill
from zarrfs.views.flat_arrays import FlatArray
from zarrfs.views.netcdf_attributes import FILL_VALUE, attributes_of, fill_value_of
from zarrfs.views.netcdf_format import DTYPES, TYPES, Attribute, NcType, text_attribute
from zarrfs.views.node_files import FixedFile, NodeFile
from zarrfs.views.nodes import SourceNode
from zarrfs.views.numbers import Numbers, as_numbers
from zarrfs.zarr_format.codecs import Pipeline, decode_chunk
from zarrfs.zarr_format.dtypes import Json
from zarrfs.zarr_format.keys import ChunkIndex
from zarrfs.zarr_format.translate import ARRAY_DIMENSIONS

Array = npt.NDArray[Any]

MAX_STRINGS: Final = 100_000
"""Strings of any length are shown when an array has no more than these."""

_NAT: Final = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Shown:
    """One array as a variable. `dimension_names` has None where the source has no name."""

    nc_type: NcType
    shape: tuple[int, ...]
    dimension_names: tuple[str | None, ...]
    attributes: tuple[Attribute, ...]
    values: NodeFile


def show_array(source: Backend, node: SourceNode, cache: ChunkCache) -> Shown:
    """Return an array as a variable.

    Raises: UnsupportedError with the reason when netCDF has no such thing.
    """
    array, pipeline = decodable_array(source, node)
    if 0 in array.layout.shape:
        raise UnsupportedError("array", "it has no elements")
    names = dimension_names(node, array)
    if pipeline.spec.data_type.variable:
        return _strings(node, array, pipeline, names)
    dtype = plain_dtype(pipeline)
    decoded = DecodedChunks(array.chunks, pipeline, dtype, cache, static=source.static)
    if dtype.kind == "U":
        return _text(node, array, decoded, plain_fill(pipeline), names)
    return _numbers(node, array, decoded, pipeline, names)


def dimension_names(node: SourceNode, array: ChunkedArray) -> tuple[str | None, ...]:
    rank = array.layout.rank
    names = array.layout.dimension_names or node.attributes.get(ARRAY_DIMENSIONS)
    if not isinstance(names, list | tuple) or len(names) != rank:
        return (None,) * rank
    return tuple(name if isinstance(name, str) and name else None for name in names)


class NumberChunks:
    """Decoded chunks as numbers, with one more dimension where they need it."""

    def __init__(self, decoded: DecodedChunks, numbers: Numbers) -> None:
        self._decoded = decoded
        self._numbers = numbers
        trailing = (numbers.trailing,) if numbers.trailing else ()
        self.shape = (*decoded.shape, *trailing)
        self.limit_bytes = decoded.limit_bytes
        self._rank = len(decoded.shape)

    def array(self, index: ChunkIndex) -> Array:
        if self._numbers.converts:
            return self._decoded.array(index)
        chunk = self._decoded.array(index[: self._rank])
        return chunk.reshape(-1).view(self._numbers.dtype).reshape(self.shape)

    def holds(self, index: ChunkIndex) -> bool:
        return self._decoded.holds(index[: self._rank])

    def ahead(self, index: ChunkIndex) -> bool:
        return self._decoded.ahead(index[: self._rank])


def _numbers(
    node: SourceNode,
    array: ChunkedArray,
    decoded: DecodedChunks,
    pipeline: Pipeline,
    names: tuple[str | None, ...],
) -> Shown:
    dtype = decoded.dtype
    numbers = as_numbers(dtype)
    nc_type = NcType.CHAR if dtype.kind == "S" else TYPES[numbers.dtype.newbyteorder(">")]
    if dtype.kind == "b":  # as xarray writes booleans, and reads them back
        nc_type = NcType.BYTE
        numbers = replace(numbers, dtype=np.dtype("i1"), attributes={"dtype": "bool"})
    shape = array.layout.shape
    if numbers.trailing:
        last = f"string{numbers.trailing}" if dtype.kind == "S" else numbers.trailing_name
        shape, names = (*shape, numbers.trailing), (*names, last)
    fill = _fill_parts(plain_fill(pipeline), numbers)
    values = FlatArray(shape, DTYPES[nc_type], NumberChunks(decoded, numbers), fill)
    attributes = _attributes(node, numbers, nc_type, pipeline)
    return Shown(nc_type, shape, names, attributes, values)


def _fill_parts(fill: Any, numbers: Numbers) -> Any:
    if numbers.converts:
        return fill.astype(numbers.dtype)
    return fill.reshape(1).view(numbers.dtype) if numbers.trailing else fill.view(numbers.dtype)


def _attributes(
    node: SourceNode, numbers: Numbers, nc_type: NcType, pipeline: Pipeline
) -> tuple[Attribute, ...]:
    own: Mapping[str, Json] = {**numbers.attributes, **node.attributes}
    attributes = list(attributes_of(own, DTYPES[nc_type]))
    fill = missing_value(node, numbers, pipeline)
    if fill is not None:
        typed = np.asarray(fill).astype(DTYPES[nc_type]).reshape(1)
        attributes.insert(0, Attribute(FILL_VALUE, nc_type, typed))
    return tuple(attributes)


def missing_value(node: SourceNode, numbers: Numbers, pipeline: Pipeline) -> Any:
    """Return what a variable's `_FillValue` says is missing, or None.

    As xarray has it: the attribute; without one the fill value of a v2 array.
    But a fill value of 0 is what writers leave unsaid, and is not missing; one
    that is no number (NaN, NaT) is missing in either format.
    """
    dtype = pipeline.spec.data_type.numpy
    if numbers.trailing or dtype.kind == "b":
        return None
    if dtype.kind in "mM":
        return np.int64(_NAT)
    own = node.attributes.get(FILL_VALUE)
    if own is not None:
        return fill_value_of(own, numbers.dtype)
    fill = pipeline.spec.fill_value
    if fill is None or fill == 0:
        return None
    return fill if node.zarr_format == 2 or fill != fill else None


class TextChunks:
    """Chunks of fixed-length text as UTF-8, padded with NUL along one more dimension."""

    def __init__(self, decoded: DecodedChunks, width: int) -> None:
        self._decoded = decoded
        self._width = width
        self.shape = (*decoded.shape, width)
        self.limit_bytes = decoded.limit_bytes

    def array(self, index: ChunkIndex) -> Array:
        return utf8(self._decoded.array(index[:-1]), self._width)

    def holds(self, index: ChunkIndex) -> bool:
        return self._decoded.holds(index[:-1])

    def ahead(self, index: ChunkIndex) -> bool:
        return self._decoded.ahead(index[:-1])


def utf8(text: Array, width: int) -> Array:
    """Return text as bytes of shape `(*shape, width)`, dtype uint8."""
    encoded = np.char.encode(text, "utf-8", "surrogatepass").astype(f"S{width}")
    return encoded.reshape(-1).view("u1").reshape(*text.shape, width)


def _text(
    node: SourceNode,
    array: ChunkedArray,
    decoded: DecodedChunks,
    fill: Array,
    names: tuple[str | None, ...],
) -> Shown:
    width = max(1, decoded.dtype.itemsize)  # a code point takes at most four bytes in UTF-8 too
    chunks = TextChunks(decoded, width)
    shape = (*array.layout.shape, width)
    shown_fill = utf8(fill.reshape(1), width)
    values = FlatArray(shape, np.dtype("u1"), chunks, shown_fill.reshape(width))
    return Shown(NcType.CHAR, shape, (*names, f"string{width}"), _text_attributes(node), values)


def _text_attributes(node: SourceNode) -> tuple[Attribute, ...]:
    return (text_attribute("_Encoding", "utf-8"), *attributes_of(node.attributes))


def _strings(
    node: SourceNode, array: ChunkedArray, pipeline: Pipeline, names: tuple[str | None, ...]
) -> Shown:
    """Read all strings at once: the longest decides the width of the variable."""
    count = int(np.prod(array.layout.shape, dtype=np.int64))
    if pipeline.spec.data_type.variable != "string":
        raise UnsupportedError("dtype", "bytes of any length have no netCDF type")
    if count > MAX_STRINGS:
        raise UnsupportedError("dtype", f"{count} strings of any length are too many to measure")
    items = [str(item).encode("utf-8", "replace") for item in _read_all(array, pipeline).flat]
    width = max(1, *(len(item) for item in items))
    data = b"".join(item.ljust(width, b"\0") for item in items)
    shape = (*array.layout.shape, width)
    return Shown(
        NcType.CHAR, shape, (*names, f"string{width}"), _text_attributes(node), FixedFile(data)
    )


def _read_all(array: ChunkedArray, pipeline: Pipeline) -> Array:
    layout = array.layout
    fill = pipeline.spec.fill_value
    values = np.full(layout.shape, "" if fill is None else fill, object)
    for index in array.chunks.indices():
        try:
            chunk = decode_chunk(pipeline, array.chunks.get(index))
        except NotFoundError:
            continue
        place = tuple(
            slice(i * n, i * n + n) for i, n in zip(index, layout.chunk_shape, strict=True)
        )
        room = values[place].shape
        values[place] = chunk[tuple(slice(0, n) for n in room)]
    return values
