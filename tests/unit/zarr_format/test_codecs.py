"""Codec pipelines: chunks that zarr-python wrote, bounds, refusals."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
import zarr.codecs.numcodecs as extra
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)
from zarr.storage import MemoryStore

from zarrfs.errors import CorruptError, InvalidMetadataError, UnsupportedError
from zarrfs.zarr_format.codecs import decode_chunk, encode_chunk, pipeline_of
from zarrfs.zarr_format.codecs_bytes import zstd_blocks_bound, zstd_content_size

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    V3: dict[str, dict[str, Any]] = {
        "none": {"compressors": None},
        "blosc": {"compressors": BloscCodec(shuffle="bitshuffle")},
        "gzip": {"compressors": GzipCodec()},
        "zstd": {"compressors": ZstdCodec(checksum=True)},
        "crc32c": {"compressors": [GzipCodec(), Crc32cCodec()]},
        "big": {"serializer": BytesCodec(endian="big")},
        "transpose": {"filters": [TransposeCodec(order=(2, 0, 1))]},
        "shards": {"shards": (4, 4, 4)},
        "shards at start": {
            "serializer": ShardingCodec(chunk_shape=(1, 2, 2), index_location="start"),
            "compressors": None,
        },
        "delta": {"filters": [extra.Delta(dtype="<i4", astype="<i8")]},
        "shuffle": {"compressors": [extra.Shuffle(elementsize=4), extra.Zlib()]},
        "bz2": {"compressors": extra.BZ2()},
        "lzma": {"compressors": extra.LZMA()},
        "lz4": {"compressors": extra.LZ4()},
        "checksums": {
            "compressors": [extra.CRC32(), extra.Adler32(), extra.Fletcher32(), extra.CRC32C()]
        },
    }
V2: dict[str, dict[str, Any]] = {
    "none": {"compressors": None},
    "F": {"order": "F"},
    "delta, astype": {"filters": [numcodecs.Delta("<i4"), numcodecs.AsType("<i8", "<i4")]},
    "shuffle, delta": {"filters": [numcodecs.Shuffle(4), numcodecs.Delta("<i4")]},
    "crc32": {"filters": [numcodecs.CRC32()], "compressors": numcodecs.GZip()},
    "base64": {"filters": [numcodecs.Base64()]},
    "blosc": {"compressors": numcodecs.Blosc(shuffle=-1)},
}


def chunk_of(zarr_format: int, data: Any, **how: Any) -> tuple[dict[str, Any], bytes]:
    """Return the document and the only chunk of an array by zarr-python."""
    store = MemoryStore()
    how = {"chunks": data.shape} | how
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.create_array(
            store, shape=data.shape, dtype=data.dtype, zarr_format=zarr_format, **how
        )
        array[...] = data
    keys = dict(store._store_dict)
    document = json.loads(keys.pop("zarr.json" if zarr_format == 3 else ".zarray").to_bytes())
    keys.pop(".zattrs", None)
    (chunk,) = keys.values()
    return document, chunk.to_bytes()


INTS = np.arange(64, dtype="<i4").reshape(4, 4, 4)


@pytest.mark.parametrize("name", V3)
def test_v3_chunks(name: str) -> None:
    how = V3[name]
    if name.startswith("shards"):
        how = {"chunks": (2, 2, 2)} | how if name == "shards" else how
    document, data = chunk_of(3, INTS, **how)
    pipeline = pipeline_of(document)
    assert len(data) <= pipeline.encoded_limit
    assert (decode_chunk(pipeline, data) == INTS).all()
    assert (decode_chunk(pipeline, encode_chunk(pipeline, INTS)) == INTS).all()


@pytest.mark.parametrize("name", V2)
def test_v2_chunks(name: str) -> None:
    document, data = chunk_of(2, INTS, **V2[name])
    pipeline = pipeline_of(document)
    assert len(data) <= pipeline.encoded_limit
    assert (decode_chunk(pipeline, data) == INTS).all()
    assert (decode_chunk(pipeline, encode_chunk(pipeline, INTS)) == INTS).all()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_strings(zarr_format: int) -> None:
    texts = np.array(["", "grün", "a" * 100], object)
    document, data = chunk_of(zarr_format, texts.astype(np.dtypes.StringDType()))
    pipeline = pipeline_of(document)
    assert decode_chunk(pipeline, data).tolist() == texts.tolist()
    assert decode_chunk(pipeline, encode_chunk(pipeline, texts)).tolist() == texts.tolist()


@pytest.mark.parametrize("name", ["blosc", "gzip", "zstd", "bz2", "lzma", "lz4", "shards"])
def test_chunks_cut_short(name: str) -> None:
    how = {"chunks": (2, 2, 2)} | V3[name] if name == "shards" else V3[name]
    document, data = chunk_of(3, INTS, **how)
    pipeline = pipeline_of(document)
    for size in range(0, len(data), 3):
        with pytest.raises(CorruptError):
            decode_chunk(pipeline, data[:size])


@pytest.mark.parametrize("size", [0, 255, 257, 512])
def test_a_plain_chunk_of_another_size(size: int) -> None:
    document, _ = chunk_of(3, INTS, compressors=None)
    with pytest.raises(CorruptError, match="256 are expected"):
        decode_chunk(pipeline_of(document), bytes(size))


def test_gzip_members_one_after_another() -> None:
    document, _ = chunk_of(3, INTS, compressors=GzipCodec())
    plain = INTS.tobytes()
    codec = numcodecs.GZip()
    data = bytes(codec.encode(plain[:100])) + bytes(codec.encode(plain[100:]))
    assert (decode_chunk(pipeline_of(document), data) == INTS).all()


ZSTD_WITHOUT_SIZE = (
    b"\x28\xb5\x2f\xfd"  # magic
    b"\x00"  # descriptor: no content size, no checksum, no dictionary
    b"\x58"  # window
    b"\x19\x00\x00"  # the last block, raw, 3 bytes
    b"abc"
)


def test_zstd_frames_that_tell_no_size() -> None:
    assert zstd_content_size(ZSTD_WITHOUT_SIZE) is None
    assert zstd_blocks_bound(ZSTD_WITHOUT_SIZE) == 3
    document, _ = chunk_of(3, np.ones(3, "u1"), compressors=ZstdCodec())
    assert decode_chunk(pipeline_of(document), ZSTD_WITHOUT_SIZE).tobytes() == b"abc"
    for size in range(len(ZSTD_WITHOUT_SIZE)):
        with pytest.raises(CorruptError):
            decode_chunk(pipeline_of(document), ZSTD_WITHOUT_SIZE[:size])


def test_zstd_frames_that_tell_their_size() -> None:
    frame = bytes(numcodecs.Zstd().encode(b"x" * 1000))
    assert zstd_content_size(frame) == 1000
    assert zstd_blocks_bound(frame) >= 1000
    with pytest.raises(CorruptError):
        zstd_content_size(b"not zstd")


@pytest.mark.parametrize(
    "codecs",
    [
        [{"name": "bytes"}, {"name": "unheard-of"}],
        [{"name": "numcodecs.pickle"}],
        ["zstd"],
    ],
)
def test_unknown_codecs(codecs: Any) -> None:
    document, _ = chunk_of(3, INTS)
    with pytest.raises(UnsupportedError):
        pipeline_of(document | {"codecs": codecs})


@pytest.mark.parametrize(
    "changes",
    [
        {"codecs": []},
        {"codecs": "bytes"},
        {"codecs": [{"name": "transpose", "configuration": {"order": [0, 0, 1]}}]},
        {"codecs": [{"name": "vlen-utf8"}]},
        {"data_type": 7},
        {"fill_value": "x"},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1.5]}}},
    ],
)
def test_documents_without_sense(changes: dict[str, Any]) -> None:
    document, _ = chunk_of(3, INTS)
    with pytest.raises(InvalidMetadataError):
        pipeline_of(document | changes)


def test_shards_divide() -> None:
    document, _ = chunk_of(3, INTS)
    codec = {"name": "sharding_indexed", "configuration": {"chunk_shape": [3, 4, 4]}}
    with pytest.raises(InvalidMetadataError, match="does not divide"):
        pipeline_of(document | {"codecs": [codec]})
