"""Documents of one format as documents of the other.

    array_to_v3(zarray, zattrs)      -> zarr.json
    array_to_v2(zarr_json)           -> V2Array(.zarray, .zattrs)
    decoded_array(document, ...)     -> a .zarray whose chunks are plain values

Owns whole documents; codecs are `translate_codecs`' business. Chunks keep
their bytes, and all but a leading `c` of their keys. What the other format
cannot say raises UnsupportedError, and is never guessed. Pure; safe from any
thread.

Source: Zarr v2, "Metadata"; Zarr v3 core, "Array metadata" and "Group
metadata"; xarray's convention `_ARRAY_DIMENSIONS`, which `dimension_names`
replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from zarrfs.errors import UnsupportedError, ZarrfsError
from zarrfs.zarr_format import dtypes
from zarrfs.zarr_format.codecs_arrays import ChunkSpec
from zarrfs.zarr_format.dtypes import DataType, Json, named
from zarrfs.zarr_format.fill_values import (
    fill_value_to_v2,
    fill_value_to_v3,
    parse_fill_value,
)
from zarrfs.zarr_format.translate_codecs import V2Codecs, codecs_to_v2, codecs_to_v3

ARRAY_DIMENSIONS: Final = "_ARRAY_DIMENSIONS"

MEMO: Final = "zarrfs"
"""An extra member of a translated v3 document, which readers may skip. It
remembers what v3 cannot say, so that the way back to v2 finds it again: a fill
value of null, and a compressor that v3 spells out (blosc's shuffle of -1)."""


class V2Array(NamedTuple):
    zarray: dict[str, Json]
    zattrs: dict[str, Json]


def array_to_v3(zarray: Mapping[str, Json], zattrs: Mapping[str, Json]) -> dict[str, Json]:
    """Return the `zarr.json` of an array that keeps its chunks and their keys.

    Raises: InvalidMetadataError, UnsupportedError.
    """
    filters = zarray.get("filters") or []
    data_type = dtypes.parse_v2(zarray.get("dtype"), filters)
    fill = parse_fill_value(zarray.get("fill_value"), data_type)
    rank = len(zarray["shape"])
    codecs = codecs_to_v3(
        filters,
        zarray.get("compressor"),
        data_type,
        fortran_order=zarray.get("order") == "F",
        rank=rank,
    )
    document = _v3_document(zarray, zattrs, data_type, fill, codecs)
    compressor = codecs_to_v2(codecs, dtypes.parse_v3(document["data_type"]), rank).compressor
    if compressor != zarray.get("compressor"):
        memo = document.get(MEMO, {"must_understand": False})
        document[MEMO] = {**memo, "compressor": zarray.get("compressor")}
    return document


def plain_array_to_v3(
    zarray: Mapping[str, Json], zattrs: Mapping[str, Json], spec: ChunkSpec
) -> dict[str, Json]:
    """As `array_to_v3`, for chunks that are decoded on the way: little-endian, C order.

    Raises: UnsupportedError for items of variable length.
    """
    if spec.data_type.variable:
        raise UnsupportedError("dtype", "items of variable length have no plain form")
    plain = spec.data_type.with_byte_order("<")
    codecs = codecs_to_v3([], None, plain, fortran_order=False, rank=len(spec.shape))
    return _v3_document(zarray, zattrs, plain, _plain_fill(spec, plain), codecs)


def _plain_fill(spec: ChunkSpec, plain: DataType) -> Any:
    return None if spec.fill_value is None else spec.fill_value.astype(plain.numpy)


def _v3_document(
    zarray: Mapping[str, Json],
    zattrs: Mapping[str, Json],
    data_type: DataType,
    fill: Any,
    codecs: list[Json],
) -> dict[str, Json]:
    shape = list(zarray["shape"])
    separator = zarray.get("dimension_separator") or "."
    attributes, names = split_dimensions(zattrs, len(shape))
    document: dict[str, Json] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": dtypes.to_v3(data_type),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": zarray["chunks"]}},
        "chunk_key_encoding": {"name": "v2", "configuration": {"separator": separator}},
        "fill_value": fill_value_to_v3(fill, data_type),
        "codecs": codecs,
        "attributes": attributes,
    }
    if names is not None:
        document["dimension_names"] = names
    if fill is None:
        document[MEMO] = {"must_understand": False, "fill_value": None}
    return document


def split_dimensions(
    zattrs: Mapping[str, Json], rank: int
) -> tuple[dict[str, Json], list[str] | None]:
    """Take the dimension names out of a v2 array's attributes, if they are there."""
    names = zattrs.get(ARRAY_DIMENSIONS)
    attributes = dict(zattrs)
    if isinstance(names, list) and len(names) == rank and all(isinstance(n, str) for n in names):
        del attributes[ARRAY_DIMENSIONS]
        return attributes, names
    return attributes, None


def array_to_v2(document: Mapping[str, Json]) -> V2Array:
    """Return the `.zarray` and `.zattrs` of an array that keeps its chunks.

    Its keys lose the leading `c` that the default encoding has.

    Raises: InvalidMetadataError, UnsupportedError (shards, among others).
    """
    data_type = dtypes.parse_v3(document.get("data_type"))
    rank = len(document["shape"])
    codecs = codecs_to_v2(document.get("codecs") or (), data_type, rank)
    return v2_document(document, _remembered(document, codecs, rank))


def _remembered(document: Mapping[str, Json], codecs: V2Codecs, rank: int) -> V2Codecs:
    """Return the codecs with the compressor's old spelling, if it still means the same."""
    memo = document.get(MEMO)
    compressor = memo.get("compressor") if isinstance(memo, Mapping) else None
    if not isinstance(compressor, Mapping):
        return codecs
    try:
        again = codecs_to_v3(
            codecs.filters,
            compressor,
            codecs.data_type,
            fortran_order=codecs.fortran_order,
            rank=rank,
        )
    except ZarrfsError:
        return codecs
    same = again == list(document["codecs"])
    return replace(codecs, compressor=dict(compressor)) if same else codecs


def plain_array_to_v2(document: Mapping[str, Json], data_type: DataType) -> V2Array:
    """As `array_to_v2`, for chunks that are decoded on the way: little-endian, C order.

    Raises: UnsupportedError for items of variable length.
    """
    if data_type.variable:
        raise UnsupportedError("dtype", "items of variable length have no plain form")
    codecs = V2Codecs(data_type.with_byte_order("<"), False, [], None)
    return v2_document(document, codecs)


def plain_zarray(zarray: Mapping[str, Json], spec: ChunkSpec) -> dict[str, Json]:
    """Return the `.zarray` of the same v2 array without codecs: little-endian, C order."""
    if spec.data_type.variable:
        raise UnsupportedError("dtype", "items of variable length have no plain form")
    plain = spec.data_type.with_byte_order("<")
    return {
        **zarray,
        "dtype": dtypes.to_v2(plain),
        "fill_value": fill_value_to_v2(_plain_fill(spec, plain), plain),
        "compressor": None,
        "filters": None,
        "order": "C",
    }


def v2_document(document: Mapping[str, Json], codecs: V2Codecs) -> V2Array:
    """Return the documents of a v2 array, but for its codecs like a v3 one."""
    fill = None
    if not _fill_was_null(document):
        fill = parse_fill_value(document.get("fill_value"), codecs.data_type)
    zarray: dict[str, Json] = {
        "zarr_format": 2,
        "shape": list(document["shape"]),
        "chunks": _chunk_shape(document),
        "dtype": dtypes.to_v2(codecs.data_type),
        "compressor": codecs.compressor,
        "fill_value": fill_value_to_v2(fill, codecs.data_type),
        "order": "F" if codecs.fortran_order else "C",
        "filters": codecs.filters or None,
        "dimension_separator": _separator(document),
    }
    return V2Array(zarray, attributes_to_v2(document))


def attributes_to_v2(document: Mapping[str, Json]) -> dict[str, Json]:
    """Return a node's attributes as `.zattrs` holds them, dimension names included."""
    attributes = dict(document.get("attributes") or {})
    names = document.get("dimension_names")
    if isinstance(names, Sequence) and names and all(isinstance(name, str) for name in names):
        attributes.setdefault(ARRAY_DIMENSIONS, list(names))
    return attributes


def _fill_was_null(document: Mapping[str, Json]) -> bool:
    memo = document.get(MEMO)
    return isinstance(memo, Mapping) and memo.get("fill_value", 0) is None


def _chunk_shape(document: Mapping[str, Json]) -> list[int]:
    grid, configuration = named(document.get("chunk_grid"), "chunk_grid")
    if grid != "regular":
        raise UnsupportedError(f"chunk grid {grid}", "v2 has regular grids only")
    return list(configuration["chunk_shape"])


def _separator(document: Mapping[str, Json]) -> str:
    name, configuration = named(document.get("chunk_key_encoding"), "chunk_key_encoding")
    return str(configuration.get("separator", "." if name == "v2" else "/"))


def group_to_v3(zattrs: Mapping[str, Json]) -> dict[str, Json]:
    """Return a group's `zarr.json`."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(zattrs)}


def group_to_v2(document: Mapping[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    """Return a group's `.zgroup` and `.zattrs`."""
    return {"zarr_format": 2}, dict(document.get("attributes") or {})
