"""`flat`: arrays as files of plain values."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.suites.dict_backend import DictBackend
from tests.unit.views.conftest import Store
from tests.unit.views.stores import assert_same
from tests.unit.views.test_formats import document, eventually, hidden, shown
from zarrfs.errors import KeyNotFoundError
from zarrfs.storage.backend import Key
from zarrfs.views.chunk_cache import ChunkCache
from zarrfs.views.registry import apply_views


def test_npy_and_raw_hold_the_values(store: Store) -> None:
    backend, arrays = store
    view = shown(backend, "flat")
    assert set(hidden(view)) == {"types/string"}
    for name, data in arrays.items():
        if name == "types/string":
            continue
        read = np.load(io.BytesIO(bytes(view.get(Key(f"{name}.npy")))), allow_pickle=False)
        assert_same(read, data, name)
        little = data.astype(data.dtype.newbyteorder("<"))
        assert bytes(view.get(Key(f"{name}.raw"))) == little.tobytes(), name


def test_any_range(v3_store: Store) -> None:
    view = shown(v3_store[0], "flat")
    rng = np.random.default_rng(3)
    for name in ("shapes/cube", "shapes/holes", "shapes/scalar", "shards/nested", "types/V5"):
        for suffix in (".raw", ".npy"):
            key = Key(name + suffix)
            whole = bytes(view.get(key))
            for _ in range(60):
                start, stop = sorted(rng.integers(0, len(whole) + 4, 2).tolist())
                assert bytes(view.get(key, start, stop)) == whole[start:stop]


def test_headers_name_the_raw_file(v3_store: Store) -> None:
    view = shown(v3_store[0], "flat")
    nrrd = bytes(view.get(Key("shapes/cube.nhdr"))).decode().splitlines()
    assert nrrd[0] == "NRRD0004"
    assert {"sizes: 5 4 3", "type: uint16", "endian: little", "data file: cube.raw"} <= set(nrrd)
    envi = bytes(view.get(Key("shapes/cube.hdr"))).decode().splitlines()
    assert {"samples = 5", "lines = 4", "bands = 3", "data type = 12"} <= set(envi)
    with pytest.raises(KeyNotFoundError):
        view.get(Key("types/c16.nhdr"))
    described = document(view, "shapes/never.json")
    assert (described["shape"], described["attributes"]["units"]) == ([3], "m")


def test_folders_show_files_for_arrays(v3_store: Store) -> None:
    view = shown(v3_store[0], "flat")
    suffixes = ("raw", "npy", "nhdr", "json", "hdr")
    files = {f"{name}.{suffix}" for name in ("f", "mixed") for suffix in suffixes}
    assert {listed.name for listed in view.list_dir(Key("order"))} == files
    assert all(listed.is_prefix for listed in view.list_dir(Key("")))


def test_memory_map_of_a_copy(v3_store: Store, tmp_path: Path) -> None:
    backend, arrays = v3_store
    path = tmp_path / "a.npy"
    path.write_bytes(bytes(shown(backend, "flat").get(Key("shards/end.npy"))))
    mapped = np.load(path, mmap_mode="r")
    assert_same(np.array(mapped), arrays["shards/end"], "shards/end")


def test_an_array_far_larger_than_memory_costs_what_is_read(v2_store: Store) -> None:
    backend = DictBackend()
    zarray = document(v2_store[0], "codecs/zlib/.zarray")
    huge = {"shape": [1 << 30, 1 << 20], "chunks": [64, 64], "fill_value": 3, "dtype": "<f8"}
    backend.set(Key(".zarray"), json.dumps(zarray | huge).encode())
    view = shown(backend, "flat")
    assert view.stat(Key("array.raw")).size_bytes == 1 << 53
    data = bytes(view.get(Key("array.raw"), 1 << 50, (1 << 50) + 4096))
    assert data == np.full(512, 3.0).tobytes()


def test_a_changed_chunk_changes_time_and_values() -> None:
    backend = DictBackend()
    backend.set(
        Key(".zarray"),
        b'{"zarr_format": 2, "shape": [2], "chunks": [1], "dtype": "|u1", "fill_value": 0,'
        b' "compressor": null, "filters": null, "order": "C"}',
    )
    backend.set(Key("0"), b"a")
    view = shown(backend, "flat")
    assert bytes(view.get(Key("array.raw"))) == b"a\0"
    before = view.stat(Key("array.raw")).mtime_ns
    backend.set(Key("1"), b"b")
    assert bytes(view.get(Key("array.raw"))) == b"ab"
    eventually(lambda: view.stat(Key("array.raw")).mtime_ns > before)
    between = view.stat(Key("array.raw")).mtime_ns
    backend.delete(Key("1"))
    eventually(lambda: view.stat(Key("array.raw")).mtime_ns > between)


def test_sequential_reads_decode_each_chunk_once(v3_store: Store) -> None:
    backend, arrays = v3_store
    cache = ChunkCache(1 << 20, threads=2)
    view = apply_views(backend, ["flat"], cache=cache)
    size = view.stat(Key("shards/nested.raw")).size_bytes
    parts = [bytes(view.get(Key("shards/nested.raw"), at, at + 13)) for at in range(0, size, 13)]
    assert b"".join(parts) == arrays["shards/nested"].tobytes()
    stats = cache.stats()
    assert stats.misses <= 5 * 7  # the grid of inner chunks
    cache.check_invariants()
    view.close()
    cache.close()


def test_many_threads_read_the_same_values(v3_store: Store) -> None:
    backend, arrays = v3_store
    view = shown(backend, "flat")
    expected = arrays["shards/nested"].tobytes()
    wrong: list[int] = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(100):
            start, stop = sorted(rng.integers(0, len(expected), 2).tolist())
            if bytes(view.get(Key("shards/nested.raw"), start, stop)) != expected[start:stop]:
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    view.close()
