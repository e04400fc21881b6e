"""Codec pipelines: from an array's document to chunks decoded and encoded.

    pipeline = pipeline_of(document)          # .zarray or an array's zarr.json
    chunk = decode_chunk(pipeline, data)      # numpy array of the chunk's shape
    data = encode_chunk(pipeline, chunk)

Owns which codec comes when. A decoded chunk has the chunk's shape and the
array's data type, in whatever memory and byte order it was stored; nothing is
allocated beyond what the document says a chunk may take. Pure; safe from any
thread, and slow codecs release the GIL.

Source: Zarr v2, "Chunks" and "Filters"; Zarr v3 core, "Codecs" (a pipeline is
array-to-array codecs, one array-to-bytes codec, bytes-to-bytes codecs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from zarrfs.errors import CorruptError, InvalidMetadataError, UnsupportedError, ZarrfsError
from zarrfs.zarr_format import dtypes
from zarrfs.zarr_format.codecs_arrays import (
    FILTER_IDS,
    MAX_CHUNK_BYTES,
    Array,
    ArrayArrayCodec,
    ArrayBytesCodec,
    Bytes,
    ChunkSpec,
    Filter,
    NumcodecsArrayBytes,
    Sharding,
    VariableLength,
    as_items,
    make_filter,
    parse_transpose,
)
from zarrfs.zarr_format.codecs_bytes import (
    BYTES_CODEC_IDS,
    Buffer,
    BytesCodec,
    bytes_codec,
    make_numcodec,
    v3_config,
)
from zarrfs.zarr_format.dtypes import DataType, Json, named
from zarrfs.zarr_format.fill_values import parse_fill_value
from zarrfs.zarr_format.shards import inner_chunk_shape, parse_shard_layout

MAX_RANK: Final = 64
"""numpy's own limit (32 before numpy 2)."""

MAX_FILE_BYTES: Final = 1 << 62
"""No file can be as large as what a document may claim."""


class Pipeline(Protocol):
    """The codecs of an array, in either format."""

    @property
    def spec(self) -> ChunkSpec:
        """The decoded chunk."""

    @property
    def encoded_limit(self) -> int:
        """The most bytes an encoded chunk may have."""

    def decode(self, data: Buffer) -> Array: ...
    def encode(self, chunk: Array) -> Buffer: ...


def decode_chunk(pipeline: Pipeline, data: Buffer) -> Array:
    """Return the chunk that `data` holds.

    Shape: the pipeline's chunk shape. Raises: CorruptError when the bytes do not
    decode or have the wrong size, UnsupportedError for chunks beyond any bound.
    """
    try:
        return pipeline.decode(data)
    except (ZarrfsError, MemoryError):
        raise
    except Exception as error:  # numcodecs and its libraries raise all sorts
        raise CorruptError("chunk", f"does not decode: {error}") from error


def encode_chunk(pipeline: Pipeline, chunk: Array) -> bytes:
    """Return the bytes that a chunk is stored as.

    Raises: UnsupportedError when the codecs cannot encode it.
    """
    if chunk.shape != pipeline.spec.shape:
        raise ValueError(f"chunk of shape {chunk.shape}, not {pipeline.spec.shape}")
    try:
        return bytes(memoryview(pipeline.encode(chunk)).cast("B"))
    except (ZarrfsError, MemoryError):
        raise
    except Exception as error:  # as above
        raise UnsupportedError("chunk", f"does not encode: {error}") from error


def pipeline_of(document: Any) -> Pipeline:
    """Return the pipeline of an array's document, a mapping or a zarr-metadata model.

    Raises: InvalidMetadataError, UnsupportedError.
    """
    if not isinstance(document, Mapping):
        document = document.to_json()
    if document.get("zarr_format") == 2:
        return v2_pipeline(document)
    return v3_array_pipeline(document)


def parse_shape(value: Json, subject: str) -> tuple[int, ...]:
    """Read the shape of a chunk. Raises: InvalidMetadataError."""
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or len(value) > MAX_RANK
        or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value)
    ):
        raise InvalidMetadataError(subject, [f"not a shape: {value!r}"])
    return tuple(value)


def _chunk_spec(shape: tuple[int, ...], data_type: DataType, fill_value: Json) -> ChunkSpec:
    spec = ChunkSpec(shape, data_type, parse_fill_value(fill_value, data_type))
    if spec.size_bytes > MAX_FILE_BYTES or spec.item_count > MAX_FILE_BYTES:
        raise UnsupportedError("chunk", f"{spec.item_count} items are more than any file holds")
    return spec


@dataclass(frozen=True, slots=True)
class V2Pipeline:
    """Filters, then a compressor, each of which sees the buffer the last one left."""

    spec: ChunkSpec
    fortran_order: bool
    object_codec: VariableLength | None
    filters: tuple[Filter | BytesCodec, ...]
    compressor: BytesCodec | None

    @property
    def encoded_limit(self) -> int:
        return self._limits()[-1]

    def _limits(self) -> list[int]:
        limits = [min(self.spec.size_bytes, MAX_CHUNK_BYTES)]
        for codec in (*self.filters, *filter(None, (self.compressor,))):
            limits.append(codec.encoded_limit(limits[-1]))
        return limits

    def decode(self, data: Buffer) -> Array:
        limits = self._limits()
        if self.compressor is not None:
            limits.pop()
            data = self.compressor.decode(data, limits[-1])
        for codec in reversed(self.filters):
            limits.pop()
            step = codec.decode_buffer if isinstance(codec, Filter) else codec.decode
            data = step(data, limits[-1])
        if self.object_codec is not None:
            items = self.object_codec.decode_flat(data, self.spec.item_count)
        else:
            items = as_items(data, self.spec)
        return items.reshape(self.spec.shape, order="F" if self.fortran_order else "C")

    def encode(self, chunk: Array) -> Buffer:
        items = chunk.astype(self.spec.data_type.numpy, copy=False)
        data: Buffer = items.ravel(order="F" if self.fortran_order else "C")
        if self.object_codec is not None:
            data = self.object_codec.numcodec.encode(data)
        for codec in self.filters:
            data = codec.numcodec.encode(data)
        if self.compressor is not None:
            return self.compressor.numcodec.encode(data)
        return np.ascontiguousarray(data).view("u1") if isinstance(data, np.ndarray) else data


def v2_pipeline(document: Mapping[str, Json]) -> V2Pipeline:
    """Return the pipeline of a `.zarray`."""
    configs = document.get("filters") or []
    compressor = document.get("compressor")
    if not isinstance(configs, Sequence) or not all(isinstance(c, Mapping) for c in configs):
        raise InvalidMetadataError("filters", [f"not a list of codecs: {configs!r}"])
    if compressor is not None and not isinstance(compressor, Mapping):
        raise InvalidMetadataError("compressor", [f"not a codec: {compressor!r}"])
    data_type = dtypes.parse_v2(document.get("dtype"), configs)
    chunks = parse_shape(document.get("chunks"), "chunks")
    objects = None
    if data_type.variable:
        objects = VariableLength(str(configs[0]["id"]), make_numcodec(configs[0]))
        configs = configs[1:]
    return V2Pipeline(
        _chunk_spec(chunks, data_type, document.get("fill_value")),
        _parse_order(document.get("order", "C")) and len(chunks) > 1,
        objects,
        tuple(_v2_codec(config, data_type) for config in configs),
        None if compressor is None else bytes_codec(compressor),
    )


def _parse_order(order: Json) -> bool:
    if order not in ("C", "F"):
        raise InvalidMetadataError("order", [f"{order!r} is neither C nor F"])
    return bool(order == "F")


def _v2_codec(config: Mapping[str, Json], data_type: DataType) -> Filter | BytesCodec:
    if config.get("id") in FILTER_IDS:
        return make_filter(config, data_type)
    return bytes_codec(config)


@dataclass(frozen=True, slots=True)
class V3Pipeline:
    """Array-to-array codecs, each with the chunk it takes; then down to bytes."""

    spec: ChunkSpec
    array_codecs: tuple[tuple[ArrayArrayCodec, ChunkSpec], ...]
    array_bytes: ArrayBytesCodec
    array_bytes_spec: ChunkSpec
    bytes_codecs: tuple[BytesCodec, ...]

    @property
    def encoded_limit(self) -> int:
        return self._limits()[-1]

    def _limits(self) -> list[int]:
        limits = [min(self.array_bytes.encoded_limit(self.array_bytes_spec), MAX_CHUNK_BYTES)]
        for codec in self.bytes_codecs:
            limits.append(codec.encoded_limit(limits[-1]))
        return limits

    def decode(self, data: Buffer) -> Array:
        chunk = self.array_bytes.decode(self.decode_bytes(data), self.array_bytes_spec)
        for codec, spec in reversed(self.array_codecs):
            chunk = codec.decode(chunk, spec)
        return chunk

    def decode_bytes(self, data: Buffer) -> Buffer:
        """Undo the bytes-to-bytes codecs only: what is left of a shard is the shard."""
        if self.bytes_codecs:
            limits = self._limits()
            for codec in reversed(self.bytes_codecs):
                limits.pop()
                data = codec.decode(data, limits[-1])
        return data

    def encode(self, chunk: Array) -> Buffer:
        for codec, _spec in self.array_codecs:
            chunk = codec.encode(chunk)
        data = self.array_bytes.encode(chunk, self.array_bytes_spec)
        for bytes_to_bytes in self.bytes_codecs:
            data = bytes_to_bytes.encode(data)
        return data


def v3_array_pipeline(document: Mapping[str, Json]) -> V3Pipeline:
    """Return the pipeline of an array's `zarr.json`."""
    data_type = dtypes.parse_v3(document.get("data_type"))
    grid, configuration = named(document.get("chunk_grid"), "chunk_grid")
    if grid != "regular":
        raise UnsupportedError(f"chunk grid {grid}", "not known here")
    if document.get("storage_transformers"):
        raise UnsupportedError("storage_transformers", "not known here")
    chunks = parse_shape(configuration.get("chunk_shape"), "chunk_shape")
    spec = _chunk_spec(chunks, data_type, document.get("fill_value"))
    return v3_pipeline(document.get("codecs"), spec)


def v3_pipeline(codecs: Json, spec: ChunkSpec) -> V3Pipeline:
    """Return the pipeline of a list of v3 codecs for one kind of chunk."""
    if not isinstance(codecs, Sequence) or isinstance(codecs, str) or not codecs:
        raise InvalidMetadataError("codecs", [f"not a list of codecs: {codecs!r}"])
    array_codecs: list[tuple[ArrayArrayCodec, ChunkSpec]] = []
    array_bytes: ArrayBytesCodec | None = None
    bytes_codecs: list[BytesCodec] = []
    inside = spec
    for name, configuration in (named(codec, "codecs") for codec in codecs):
        if array_bytes is not None:
            bytes_codecs.append(_bytes_codec(name, configuration, inside))
        elif (array_array := _array_array(name, configuration, inside)) is not None:
            array_codecs.append((array_array, inside))
            inside = array_array.encoded_spec(inside)
        else:
            array_bytes = _array_bytes(name, configuration, inside)
    if array_bytes is None:
        raise InvalidMetadataError("codecs", ["none of them turns the array into bytes"])
    return V3Pipeline(spec, tuple(array_codecs), array_bytes, inside, tuple(bytes_codecs))


def _bytes_codec(name: str, configuration: Mapping[str, Json], spec: ChunkSpec) -> BytesCodec:
    config = v3_config(name, configuration)
    if config["id"] not in BYTES_CODEC_IDS:
        raise UnsupportedError(f"codec {name}", "not known here as bytes-to-bytes codec")
    if config["id"] == "shuffle" and config.get("elementsize") is None:
        config["elementsize"] = spec.data_type.item_bytes or 1
    typesize = configuration.get("typesize", spec.data_type.item_bytes or 1)
    return bytes_codec(config, item_bytes=typesize if isinstance(typesize, int) else 1)


def _array_array(
    name: str, configuration: Mapping[str, Json], spec: ChunkSpec
) -> ArrayArrayCodec | None:
    if name == "transpose":
        return parse_transpose(configuration, len(spec.shape))
    codec_id = name.removeprefix("numcodecs.")
    if codec_id in FILTER_IDS and codec_id != name:
        return make_filter({**configuration, "id": codec_id}, spec.data_type)
    return None


def _array_bytes(name: str, configuration: Mapping[str, Json], spec: ChunkSpec) -> ArrayBytesCodec:
    if name in ("bytes", "endian"):
        if spec.data_type.variable:
            raise InvalidMetadataError("codecs", [f"{name} cannot hold items of any length"])
        return Bytes(">" if configuration.get("endian") == "big" else "<")
    if name in ("vlen-utf8", "vlen-bytes"):
        if not spec.data_type.variable:
            raise InvalidMetadataError("codecs", [f"{name} on items of a fixed size"])
        return VariableLength(name, make_numcodec({"id": name}))
    if name in ("numcodecs.pcodec", "numcodecs.zfpy"):
        return NumcodecsArrayBytes(make_numcodec({**configuration, "id": name[10:]}))
    if name == "sharding_indexed":
        layout = parse_shard_layout(configuration, spec.shape)
        inner_spec = ChunkSpec(
            inner_chunk_shape(configuration, spec.shape), spec.data_type, spec.fill_value
        )
        return Sharding(layout, v3_pipeline(configuration.get("codecs"), inner_spec))
    raise UnsupportedError(f"codec {name}", "not known here")
