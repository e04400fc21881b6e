"""Stores that lie: an error for the chunk at fault, never a wrong value or much memory."""

from __future__ import annotations

import gzip
import json
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numcodecs
import numpy as np
import pytest

from tests.suites.dict_backend import DictBackend
from tests.unit.views.conftest import Store
from tests.unit.views.test_formats import document, hidden, shown
from zarrfs.errors import CorruptError, KeyNotFoundError, ZarrfsError
from zarrfs.storage.backend import Key

EMPTY = (1 << 64) - 1
VIEWS = ("v2", "v3", "unsharded", "plain", "decoded", "filled", "consolidated", "flat", "netcdf")


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Fail when more memory than this is allocated at any time inside."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size, f"{peak} bytes"


def copy_of(store: Store) -> DictBackend:
    backend = DictBackend()
    for key in store[0].list_keys(Key("")):
        backend.set(key, store[0].get(key))
    return backend


def shard_with(store: Store, change: Callable[[bytearray], bytes]) -> DictBackend:
    backend = copy_of(store)
    shard = bytearray(backend.get(Key("shards/unchecked/c/1/1")))
    backend.set(Key("shards/unchecked/c/1/1"), change(shard))
    return backend


def set_range(shard: bytearray, position: int, offset: int, size: int) -> bytes:
    index = len(shard) - 16 * 4
    struct.pack_into("<QQ", shard, index + 16 * position, offset, size)
    return bytes(shard)


@pytest.mark.parametrize(
    ("offset", "size"),
    [(1 << 40, 10), (0, 1 << 40), (EMPTY - 4, 8), (EMPTY, 8), (1 << 63, 1 << 63)],
)
def test_an_offset_outside_the_shard(v3_store: Store, offset: int, size: int) -> None:
    backend = shard_with(v3_store, lambda shard: set_range(shard, 1, offset, size))
    view = shown(backend, "unsharded")
    for read in (view.get, view.stat):
        with pytest.raises(CorruptError):
            read(Key("shards/unchecked/c/2/3"))
    assert len(view.get(Key("shards/unchecked/c/2/2"))) > 0, "its neighbour is well"
    with pytest.raises(CorruptError):
        shown(backend, "flat").get(Key("shards/unchecked.raw"))
    assert [listed.name for listed in view.list_dir(Key("shards"))], "listing still works"


def test_an_offset_to_another_place(v3_store: Store) -> None:
    """Bytes that are no chunk do not decode, or not to a chunk's size."""
    backend = shard_with(v3_store, lambda shard: set_range(shard, 1, 3, 20))
    with pytest.raises(CorruptError):
        shown(backend, "plain").get(Key("shards/unchecked/2.3"))


@pytest.mark.parametrize("kept", [0, 3, 40, 70])
def test_a_shard_cut_short(v3_store: Store, kept: int) -> None:
    backend = shard_with(v3_store, lambda shard: bytes(shard[:kept]))
    view = shown(backend, "plain")
    with pytest.raises(CorruptError):
        view.get(Key("shards/unchecked/2.2"))


def test_a_wrong_index_checksum(v3_store: Store) -> None:
    backend = copy_of(v3_store)
    shard = bytearray(backend.get(Key("shards/end/c/1/1")))
    shard[-10] ^= 1
    backend.set(Key("shards/end/c/1/1"), bytes(shard))
    with pytest.raises(CorruptError, match="crc32c"):
        shown(backend, "unsharded").get(Key("shards/end/c/2/2"))


def test_every_bit_of_a_checked_chunk_counts(v3_store: Store) -> None:
    backend = copy_of(v3_store)
    data = bytes(backend.get(Key("codecs/crc32c/c/0/0")))
    view = shown(backend, "plain")
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        backend.set(Key("codecs/crc32c/c/0/0"), bytes(damaged))
        with pytest.raises(CorruptError):
            view.get(Key("codecs/crc32c/0.0"))


def bomb(codec: str) -> tuple[dict[str, Any], bytes]:
    """A chunk that decodes to a gibibyte where 24 bytes are expected."""
    if codec == "gzip":
        return {"id": "gzip", "level": 1}, gzip.compress(bytes(64 << 20)) * 16
    if codec == "blosc":
        frame = bytearray(numcodecs.Blosc().encode(np.zeros(64, "u1")))
        struct.pack_into("<I", frame, 4, 1 << 30)
        return {"id": "blosc"}, bytes(frame)
    if codec == "lz4":
        return {"id": "lz4"}, struct.pack("<I", 1 << 30) + bytes(100)
    compressor = numcodecs.get_codec({"id": codec})
    data = bytes(compressor.encode(np.zeros(32 << 20, "u1")))
    return {"id": codec}, data * (16 if codec == "bz2" else 1)


@pytest.mark.parametrize("codec", ["gzip", "zlib", "bz2", "lzma", "zstd", "blosc", "lz4"])
def test_a_bomb(v2_store: Store, codec: str) -> None:
    compressor, data = bomb(codec)
    backend = DictBackend()
    changes = {"compressor": compressor, "filters": None, "shape": [6], "chunks": [6]}
    zarray = document(v2_store[0], "types/i4/.zarray") | changes
    backend.set(Key(".zarray"), json.dumps(zarray).encode())
    backend.set(Key("0"), data)
    view = shown(backend, "plain")
    view.stat(Key("0"))
    with at_most(8 << 20), pytest.raises(CorruptError):
        view.get(Key("0"))


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [1 << 62, 1 << 62], "chunks": [1, 1]},
        {"shape": [1 << 62], "chunks": [1 << 62]},
        {"shape": [10], "chunks": [0]},
        {"shape": [-1], "chunks": [1]},
        {"shape": ["x"], "chunks": [1]},
        {"shape": [2] * 70, "chunks": [1] * 70},
        {"dtype": "<f99999999999"},
        {"dtype": "|V99999999999"},
        {"dtype": [["a", "<i4", [1 << 60]]]},
        {"dtype": {"what": 1}},
        {"fill_value": {"a": 1}},
        {"fill_value": "0x" + "f" * 1000, "dtype": "<f8"},
        {"filters": [{"id": "delta", "dtype": "|O"}]},
        {"filters": ["delta"]},
        {"compressor": {"id": "pickle"}},
        {"compressor": {"id": "blosc", "clevel": "high"}},
        {"compressor": 7},
        {"order": "Z"},
        {"dimension_separator": "#"},
    ],
    ids=str,
)
def test_documents_that_lie(v2_store: Store, changes: dict[str, Any]) -> None:
    """Whatever a document says: no exception but ours, little memory, other arrays are well."""
    backend = DictBackend()
    backend.set(Key(".zgroup"), b'{"zarr_format": 2}')
    zarray = document(v2_store[0], "codecs/zlib/.zarray")
    backend.set(Key("good/.zarray"), json.dumps(zarray).encode())
    backend.set(Key("good/0.0"), v2_store[0].get(Key("codecs/zlib/0.0")))
    backend.set(Key("bad/.zarray"), json.dumps(zarray | changes).encode())
    backend.set(Key("bad/0"), b"1234")
    for name in VIEWS:
        view = shown(backend, name)
        with at_most(64 << 20):
            hidden(view)
            keys = list(_first_keys(view))
            for key in keys:
                try:
                    view.stat(key)
                    view.get(key, 0, 4096)
                except ZarrfsError:
                    assert "bad" in key or name == "netcdf"
        assert any(key.startswith("good") or key == "root.nc" for key in keys), name
        view.close()


def _first_keys(view: Any) -> Iterator[Key]:
    for number, key in enumerate(view.list_keys(Key(""))):
        if number == 200:
            return
        yield key


def test_a_document_that_is_no_json(v2_store: Store) -> None:
    backend = copy_of(v2_store)
    backend.set(Key("types/i4/.zarray"), b"{")
    for name in ("v3", "plain", "flat"):
        view = shown(backend, name)
        assert "types/i4" in hidden(view)
        with pytest.raises(KeyNotFoundError):
            view.get(Key("types/i4/0.0"))
        view.close()


def test_vlen_counts_are_checked(v3_store: Store) -> None:
    backend = DictBackend()
    codecs = [{"name": "vlen-utf8"}]
    doc = document(v3_store[0], "types/string/zarr.json") | {"codecs": codecs}
    backend.set(Key("zarr.json"), json.dumps({"zarr_format": 3, "node_type": "group"}).encode())
    backend.set(Key("s/zarr.json"), json.dumps(doc).encode())
    backend.set(Key("s/c/0"), struct.pack("<I", 0xFFFFFFFF))
    view = shown(backend, "netcdf")
    with at_most(8 << 20):
        assert "4294967295 items" in hidden(view)["s"]
