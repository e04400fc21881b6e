"""The codecs of one format in the words of the other, where both mean the same bytes.

Owns the lists: filters and compressor of a `.zarray`, `codecs` of a v3 array.
What has no equal raises UnsupportedError; its chunks are then transcoded, or
the array is refused. Pure; safe from any thread.

Source: Zarr v2, "Filters"; Zarr v3 core, "Codecs"; numcodecs for parameters;
zarr-python 3, `zarr.codecs.numcodecs`, for the names `numcodecs.<id>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from zarrfs.errors import UnsupportedError
from zarrfs.zarr_format.codecs_arrays import FILTER_IDS, make_filter, parse_transpose
from zarrfs.zarr_format.codecs_bytes import v3_config
from zarrfs.zarr_format.dtypes import DataType, Json, named

BYTES_CODECS_OF_V3: Final = frozenset(
    ("zlib", "lz4", "bz2", "lzma", "shuffle", "crc32", "adler32", "fletcher32", "jenkins_lookup3")
)
"""numcodecs ids that zarr-python 3 knows as bytes-to-bytes codecs `numcodecs.<id>`."""

_COMPRESSORS: Final = frozenset(("blosc", "zstd", "gzip", "zlib", "lz4", "bz2", "lzma"))
_SHUFFLE_NAMES: Final = {0: "noshuffle", 1: "shuffle", 2: "bitshuffle"}


def _no_equal(codec: str, why: str = "the other format has no such codec") -> UnsupportedError:
    return UnsupportedError(f"codec {codec}", why)


# v2 to v3


def codecs_to_v3(
    filters: Sequence[Mapping[str, Json]],
    compressor: Mapping[str, Json] | None,
    data_type: DataType,
    *,
    fortran_order: bool,
    rank: int,
) -> list[Json]:
    """Return the `codecs` of the v3 array that has the same chunks, byte for byte."""
    codecs: list[Json] = []
    if fortran_order and rank > 1:
        codecs.append(_codec("transpose", {"order": list(range(rank))[::-1]}))
    rest = list(filters)
    stored = data_type
    if data_type.variable:
        codecs.append({"name": str(rest.pop(0)["id"])})
    else:
        while rest and rest[0].get("id") in FILTER_IDS:
            codec, stored = _filter_to_v3(rest.pop(0), stored)
            codecs.append(codec)
        codecs.append(_bytes_to_v3(stored))
    if compressor is not None:
        rest.append(compressor)
    return codecs + [_bytes_codec_to_v3(config, stored) for config in rest]


def _codec(name: str, configuration: Mapping[str, Json]) -> dict[str, Json]:
    return {"name": name, "configuration": dict(configuration)}


def _filter_to_v3(config: Mapping[str, Json], data_type: DataType) -> tuple[Json, DataType]:
    """v2 filters reinterpret bytes, v3 codecs convert values: equal only for equal types."""
    codec_id = str(config["id"])
    array_filter = make_filter(config, data_type)
    if _decoded_dtype(codec_id, array_filter.numcodec, data_type) != data_type.numpy:
        raise _no_equal(codec_id, f"it does not yield {data_type.numpy}")
    parameters = {k: v for k, v in array_filter.numcodec.get_config().items() if k != "id"}
    return _codec(f"numcodecs.{codec_id}", parameters), array_filter.encoded_type(data_type)


def _decoded_dtype(codec_id: str, numcodec: Any, data_type: DataType) -> Any:
    if codec_id == "packbits":
        return np.dtype(bool)
    if codec_id == "bitround":
        return data_type.numpy
    return numcodec.decode_dtype if codec_id == "astype" else numcodec.dtype


def _bytes_to_v3(data_type: DataType) -> Json:
    if not data_type.has_byte_order:
        return {"name": "bytes"}
    little = data_type.with_byte_order("<")
    if data_type.numpy == little.numpy:
        return _codec("bytes", {"endian": "little"})
    if data_type.numpy.names is not None:
        # zarr-python 3 takes the fields of a structure as little-endian, whatever is said.
        raise _no_equal("bytes", "a structure with big-endian fields")
    return _codec("bytes", {"endian": "big"})


def _bytes_codec_to_v3(config: Mapping[str, Json], stored: DataType) -> Json:
    codec_id = str(config.get("id"))
    parameters = {k: v for k, v in config.items() if k != "id"}
    if codec_id == "blosc":
        return _blosc_to_v3(parameters, stored)
    if codec_id == "zstd":
        level, checksum = parameters.get("level", 0), parameters.get("checksum", False)
        return _codec("zstd", {"level": level, "checksum": bool(checksum)})
    if codec_id == "gzip":
        return _codec("gzip", {"level": parameters.get("level", 1)})
    if codec_id == "crc32c" and parameters.get("location", "end") == "end":
        return {"name": "crc32c"}
    if codec_id in BYTES_CODECS_OF_V3:
        if codec_id == "lzma":
            parameters.pop("delta", None)  # GDAL's own; the xz container says it again
        return _codec(f"numcodecs.{codec_id}", parameters)
    raise _no_equal(codec_id)


def _blosc_to_v3(parameters: Mapping[str, Json], stored: DataType) -> Json:
    typesize = max(1, stored.item_bytes)
    shuffle = parameters.get("shuffle", 1)
    if shuffle == -1:  # numcodecs.Blosc.AUTOSHUFFLE
        shuffle = 2 if typesize == 1 else 1
    configuration = {
        "cname": parameters.get("cname", "lz4"),
        "clevel": parameters.get("clevel", 5),
        "shuffle": _SHUFFLE_NAMES.get(shuffle, "noshuffle"),
        "typesize": min(typesize, 255),
        "blocksize": parameters.get("blocksize", 0),
    }
    return _codec("blosc", configuration)


# v3 to v2


@dataclass(frozen=True, slots=True)
class V2Codecs:
    """The members of a `.zarray` that say how its chunks are stored."""

    data_type: DataType
    """With the byte order of the chunks."""
    fortran_order: bool
    filters: list[dict[str, Json]]
    compressor: dict[str, Json] | None


def codecs_to_v2(codecs: Sequence[Json], data_type: DataType, rank: int) -> V2Codecs:
    """Return what a `.zarray` says of the same chunks, byte for byte."""
    todo = [named(codec, "codecs") for codec in codecs]
    axes = tuple(range(rank))
    while todo and todo[0][0] == "transpose":
        order = parse_transpose(todo.pop(0)[1], rank).order
        axes = tuple(axes[i] for i in order)
    reverse = tuple(range(rank))[::-1]
    if axes not in (tuple(range(rank)), reverse):
        raise _no_equal("transpose", f"v2 knows only C and F order, not {list(axes)}")
    filters: list[dict[str, Json]] = []
    data_type = stored = data_type.with_byte_order(_byte_order(todo))
    while todo and (codec_id := todo[0][0].removeprefix("numcodecs.")) in FILTER_IDS:
        config, stored = _filter_to_v2(codec_id, todo.pop(0)[1], stored)
        filters.append(config)
    filters += _array_bytes_to_v2(todo, data_type, stored, filtered=bool(filters))
    for name, configuration in todo:
        filters.append(_bytes_codec_to_v2(name, configuration, stored))
    compressor = filters.pop() if filters and filters[-1]["id"] in _COMPRESSORS else None
    return V2Codecs(data_type, rank > 1 and axes == reverse, filters, compressor)


def _filter_to_v2(
    codec_id: str, configuration: Mapping[str, Json], data_type: DataType
) -> tuple[dict[str, Json], DataType]:
    array_filter = make_filter({**configuration, "id": codec_id}, data_type)
    if _decoded_dtype(codec_id, array_filter.numcodec, data_type) != data_type.numpy:
        raise _no_equal(codec_id, f"it does not yield {data_type.numpy}")
    return dict(array_filter.numcodec.get_config()), array_filter.encoded_type(data_type)


def _byte_order(codecs: Sequence[tuple[str, Mapping[str, Json]]]) -> Literal["<", ">"]:
    for name, configuration in codecs:
        if name in ("bytes", "endian"):
            return ">" if configuration.get("endian") == "big" else "<"
    return "<"


def _array_bytes_to_v2(
    todo: list[tuple[str, Mapping[str, Json]]],
    data_type: DataType,
    stored: DataType,
    *,
    filtered: bool,
) -> list[dict[str, Json]]:
    """Take the array-to-bytes codec off the list; return it as v2 filters."""
    name = todo.pop(0)[0] if todo else "none"
    if name in ("vlen-utf8", "vlen-bytes") and data_type.variable and not filtered:
        return [{"id": name}]
    if name not in ("bytes", "endian"):
        raise _no_equal(name, "it is no plain encoding of items")
    if stored.has_byte_order and data_type.has_byte_order:
        order: Literal["<", ">"] = ">" if _is_big(data_type) else "<"
        if stored.numpy != stored.with_byte_order(order).numpy:
            raise _no_equal(name, "its byte order is not that of the filters")
    return []


def _is_big(data_type: DataType) -> bool:
    return data_type.numpy != data_type.with_byte_order("<").numpy


def _bytes_codec_to_v2(
    name: str, configuration: Mapping[str, Json], stored: DataType
) -> dict[str, Json]:
    config = v3_config(name, configuration)
    codec_id = config["id"]
    if codec_id == "blosc":
        config.pop("typesize", None)
    elif codec_id == "shuffle":
        config["elementsize"] = config.get("elementsize") or max(1, stored.item_bytes)
    elif codec_id == "zstd" and not config.get("checksum"):
        config.pop("checksum", None)  # tensorstore refuses a v2 array that has it
    elif codec_id not in BYTES_CODECS_OF_V3 | {"gzip", "crc32c", "zstd"}:
        raise _no_equal(name)
    return {"id": codec_id, **{k: v for k, v in config.items() if k != "id"}}
