"""Views against naive models: boxes, shards, round trips of documents, damaged chunks."""

from __future__ import annotations

import json
from itertools import product
from math import prod
from typing import Any

import numpy as np
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tests.suites.dict_backend import DictBackend
from zarrfs.errors import CorruptError, UnsupportedError
from zarrfs.storage.backend import Key
from zarrfs.views.flat_arrays import boxes_of
from zarrfs.views.registry import apply_views
from zarrfs.zarr_format.codecs import decode_chunk, encode_chunk, pipeline_of
from zarrfs.zarr_format.translate import array_to_v2, array_to_v3
from zarrfs.zarr_format.translate_shards import unshard

shapes = st.lists(st.integers(1, 5), max_size=4).map(tuple)


@settings(max_examples=150)
@given(shapes, st.data())
def test_boxes_are_the_items_in_order(shape: tuple[int, ...], data: st.DataObject) -> None:
    items = np.arange(prod(shape)).reshape(shape)
    first = data.draw(st.integers(0, items.size - 1))
    last = data.draw(st.integers(first + 1, items.size))
    found = [
        items[tuple(slice(*extent) for extent in box)].reshape(-1)
        for box in boxes_of(shape, first, last)
    ]
    assert np.concatenate(found).tolist() == list(range(first, last))


COMPRESSORS = st.sampled_from(
    [
        None,
        {"id": "zlib", "level": 1},
        {"id": "gzip", "level": 1},
        {"id": "zstd", "level": 1},
        {"id": "bz2", "level": 1},
        {"id": "lz4", "acceleration": 1},
        {"id": "blosc", "cname": "lz4", "clevel": 1, "shuffle": 1, "blocksize": 0},
    ]
)


@st.composite
def zarrays(draw: st.DrawFn) -> dict[str, Any]:
    """A `.zarray` that v3 can say, but for the order of bytes within filters."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    dtype = draw(st.sampled_from(["<i4", ">i2", "|u1", "<f8", ">f4", "<M8[s]", "|S3", "<U2"]))
    filters: list[dict[str, Any]] = []
    if dtype in ("<i4", ">i2") and draw(st.booleans()):
        filters.append({"id": "delta", "dtype": dtype, "astype": dtype})
    if draw(st.booleans()):
        filters.append({"id": "shuffle", "elementsize": 2})
    if draw(st.booleans()):
        filters.append({"id": "crc32"})
    fills: dict[str, Any] = {"<M8[s]": [0, -5], "|S3": ["YQ==", ""], "<U2": ["ü", ""]}
    return {
        "zarr_format": 2,
        "shape": shape,
        "chunks": [draw(st.integers(1, n)) for n in shape],
        "dtype": dtype,
        "fill_value": draw(st.sampled_from([None, *fills.get(dtype, [0, 7])])),
        "compressor": draw(COMPRESSORS),
        "filters": filters or None,
        "order": draw(st.sampled_from("CF")) if len(shape) > 1 else "C",
        "dimension_separator": draw(st.sampled_from("./")),
    }


def values(zarray: dict[str, Any], seed: int) -> Any:
    rng = np.random.default_rng(seed)
    dtype = np.dtype(zarray["dtype"])
    shape = zarray["chunks"]
    if dtype.kind in "SU":
        return np.array(["", "a", "bc"]).astype(dtype)[rng.integers(0, 3, shape)]
    return np.frombuffer(rng.bytes(prod(shape) * dtype.itemsize), dtype).reshape(shape)


def encoded(zarray: dict[str, Any], chunk: Any) -> bytes:
    """Encode a chunk, where its filters can: a shuffle of 2 bytes wants an even number."""
    try:
        return bytes(encode_chunk(pipeline_of(zarray), chunk))
    except UnsupportedError:
        reject()


@settings(max_examples=100)
@given(zarrays(), st.integers(0, 2**32))
def test_documents_come_back_and_mean_the_same_bytes(zarray: dict[str, Any], seed: int) -> None:
    there = array_to_v3(zarray, {})
    assert array_to_v2(json.loads(json.dumps(there))).zarray == zarray
    chunk = values(zarray, seed)
    data = encoded(zarray, chunk)
    decoded = decode_chunk(pipeline_of(there), data)
    assert decoded.astype(chunk.dtype).tobytes() == chunk.tobytes()
    assert decode_chunk(pipeline_of(zarray), data).tobytes() == chunk.tobytes()


@settings(max_examples=100)
@given(zarrays(), st.integers(0, 2**32), st.data())
def test_damaged_chunks_are_told_of_or_of_the_right_size(
    zarray: dict[str, Any], seed: int, data: st.DataObject
) -> None:
    pipeline = pipeline_of(zarray)
    stored = bytearray(encoded(zarray, values(zarray, seed)))
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()) and stored:
            del stored[data.draw(st.integers(0, len(stored) - 1)) :]
        elif stored:
            stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        chunk = decode_chunk(pipeline, bytes(stored))
    except (CorruptError, UnsupportedError):
        return
    assert chunk.shape == tuple(zarray["chunks"])


LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}


@st.composite
def sharded_arrays(draw: st.DrawFn) -> dict[str, Any]:
    """A v3 array of shards, one or two levels deep, with transposes anywhere."""
    rank = draw(st.integers(1, 3))
    inner = [draw(st.integers(1, 2)) for _ in range(rank)]
    codecs: list[Any] = [LITTLE]
    for _ in range(draw(st.integers(1, 2))):
        order = draw(st.permutations(range(rank)))
        if draw(st.booleans()):
            # Of the inner chunk: its shape is given as it is before the transpose.
            codecs = [{"name": "transpose", "configuration": {"order": list(order)}}, *codecs]
            inner = [inner[list(order).index(axis)] for axis in range(rank)]
        location = draw(st.sampled_from(["start", "end"]))
        configuration = {
            "chunk_shape": inner, "codecs": codecs, "index_codecs": [LITTLE, {"name": "crc32c"}],
            "index_location": location,
        }  # fmt: skip
        codecs = [{"name": "sharding_indexed", "configuration": configuration}]
        inner = [n * draw(st.integers(1, 3)) for n in inner]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [n * draw(st.integers(1, 2)) for n in inner],
        "data_type": "int16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": inner}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": codecs,
        "attributes": {},
    }


@settings(max_examples=60)
@given(sharded_arrays())
def test_inner_chunks_hold_their_part_of_the_array(document: dict[str, Any]) -> None:
    pipeline = pipeline_of(document)
    chunk = pipeline.spec.shape
    shape = document["shape"]
    array = np.arange(prod(shape), dtype="<i2").reshape(shape)
    backend = DictBackend()
    backend.set(Key("zarr.json"), json.dumps(document).encode())
    for index in product(*(range(n // c) for n, c in zip(shape, chunk, strict=True))):
        part = array[tuple(slice(i * c, i * c + c) for i, c in zip(index, chunk, strict=True))]
        backend.set(Key(".".join(map(str, ("c", *index)))), encode_chunk(pipeline, part))
    flat = apply_views(backend, ["flat"])
    assert bytes(flat.get(Key("array.raw"))) == array.tobytes()
    inner = unshard(document)
    small = pipeline_of(inner.document)
    view = apply_views(backend, ["unsharded"])
    for index in product(*(range(n // c) for n, c in zip(shape, small.spec.shape, strict=True))):
        place = tuple(slice(i * c, i * c + c) for i, c in zip(index, small.spec.shape, strict=True))
        data = view.get(Key(".".join(map(str, ("c", *index)))))
        assert (decode_chunk(small, data) == array[place]).all()
    flat.close()
    view.close()
