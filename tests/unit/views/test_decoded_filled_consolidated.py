"""`decoded`, `filled` and `consolidated`."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
import zarr

from tests.suites.dict_backend import DictBackend
from tests.unit.views.conftest import Store
from tests.unit.views.stores import assert_all_same, copied, read_all
from tests.unit.views.test_formats import document, eventually, hidden, shown
from zarrfs.errors import KeyNotFoundError
from zarrfs.storage.backend import Key

NO_NUMBERS = {"shapes/empty", "types/U4", "types/U3_big", "types/record", "types/string"}


def as_decoded(data: Any) -> Any:
    """What `decoded` makes of values: the same bytes, but for float16."""
    little = data.astype(data.dtype.newbyteorder("<"))
    if little.dtype == np.dtype("<f2"):
        return little.astype("<f4").tobytes()
    return little.tobytes()


def test_decoded_shows_all_numbers(store: Store) -> None:
    backend, arrays = store
    view = shown(backend, "decoded")
    assert set(hidden(view)) == NO_NUMBERS & set(arrays)
    read = dict(read_all(view))
    assert set(read) == set(arrays) - NO_NUMBERS
    for name, data in read.items():
        assert data.astype(data.dtype.newbyteorder("<")).tobytes() == as_decoded(arrays[name]), name
        assert data.dtype.kind in "iuf", name


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [
        ("types/b1", "|u1", [5, 7]),
        ("types/f2", "<f4", [5, 7]),
        ("types/c8", "<f4", [5, 7, 2]),
        ("types/S3", "|u1", [5, 7, 3]),
        ("types/m8_ns", "<i8", [5, 7]),
        ("shapes/scalar", "<f8", [1]),
    ],
)
def test_decoded_types(v3_store: Store, name: str, dtype: str, shape: list[int]) -> None:
    zarray = document(shown(v3_store[0], "decoded"), f"{name}/.zarray")
    assert (zarray["dtype"], zarray["shape"]) == (dtype, shape)
    assert zarray["compressor"] is zarray["filters"] is None
    assert zarray["order"] == "C"


def test_decoded_says_what_times_count(v3_store: Store) -> None:
    view = shown(v3_store[0], "decoded")
    assert document(view, "types/m8_ns/.zattrs") == {"units": "nanoseconds"}
    assert document(view, "types/M8_10s/.zattrs") == {"zarr_dtype": "<M8[10s]"}


def test_filled_has_every_chunk(store: Store) -> None:
    backend, arrays = store
    view = shown(backend, "filled")
    assert_all_same(view, arrays)
    for listing, count in (("shapes/holes", 9), ("shapes/never", 2), ("shapes/cube", 12)):
        keys = [key for key in view.list_keys(Key(listing)) if key[-1].isdigit()]
        assert len(keys) == count, keys


def test_filled_chunks_of_plain_arrays_are_not_kept(v2_store: Store) -> None:
    backend = DictBackend()
    zarray = document(v2_store[0], "codecs/none/.zarray")
    large = {"shape": [1 << 40], "chunks": [1 << 38], "fill_value": 7, "dtype": "<i4"}
    backend.set(Key(".zarray"), json.dumps(zarray | large).encode())
    view = shown(backend, "filled")
    assert view.stat(Key("3")).size_bytes == 1 << 40
    assert bytes(view.get(Key("3"), 6, 12)) == b"\0\0\x07\0\0\0"
    with pytest.raises(KeyNotFoundError):
        view.stat(Key("4"))


def test_a_huge_grid_is_not_listed(v2_store: Store) -> None:
    backend = DictBackend()
    zarray = document(v2_store[0], "codecs/none/.zarray") | {"shape": [1 << 40], "chunks": [1]}
    backend.set(Key(".zarray"), json.dumps(zarray).encode())
    backend.set(Key("5"), b"1234")
    view = shown(backend, "filled")
    assert {listed.name for listed in view.list_dir(Key(""))} == {".zarray", "5"}
    assert bytes(view.get(Key("12345678901"))) == bytes(4)


@pytest.mark.parametrize(
    "names", [("consolidated",), ("v2", "consolidated"), ("v3", "consolidated")]
)
def test_zarr_opens_by_consolidated_metadata_alone(store: Store, names: tuple[str, ...]) -> None:
    backend, arrays = store
    copy = copied(shown(backend, *names))
    top = {".zmetadata", "zarr.json", ".zgroup"}
    for key in list(copy._store_dict):
        # Every other document is gone: what is read comes from the consolidated one.
        if key not in top and key.rpartition("/")[2] in {
            "zarr.json",
            ".zarray",
            ".zgroup",
            ".zattrs",
        }:
            del copy._store_dict[key]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.open_consolidated(copy)
        found = {n for n, node in group.members(max_depth=None) if isinstance(node, zarr.Array)}
    assert found == set(arrays)


def test_consolidated_follows_changes() -> None:
    backend = DictBackend()
    backend.set(Key(".zgroup"), b'{"zarr_format": 2}')
    backend.set(Key("a/.zgroup"), b'{"zarr_format": 2}')
    view = shown(backend, "consolidated")
    assert set(document(view, ".zmetadata")["metadata"]) == {".zgroup", "a/.zgroup"}
    before = view.stat(Key(".zmetadata")).mtime_ns
    backend.delete(Key("a/.zgroup"))
    eventually(lambda: set(document(view, ".zmetadata")["metadata"]) == {".zgroup"})
    assert view.stat(Key(".zmetadata")).mtime_ns > before


def test_v3_view_translates_what_the_source_has_consolidated(v2_store: Store) -> None:
    backend = DictBackend()
    for key in v2_store[0].list_keys(Key("")):
        backend.set(key, v2_store[0].get(key))
    assert "consolidated_metadata" not in document(shown(backend, "v3"), "zarr.json")
    backend.set(Key(".zmetadata"), b'{"zarr_consolidated_format": 1, "metadata": {}}')
    root = document(shown(backend, "v3"), "zarr.json")
    inline = root["consolidated_metadata"]["metadata"]
    assert inline["types/f8"]["data_type"] == "float64"
    assert inline["types"]["node_type"] == "group"
    back = document(shown(backend, "v3", "v2"), ".zmetadata")
    assert back["metadata"]["types/f8/.zarray"]["dtype"] == "<f8"
