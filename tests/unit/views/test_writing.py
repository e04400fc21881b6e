"""Writing through `v2` and `v3`: documents are translated back, chunks keep their bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.suites.dict_backend import DictBackend
from tests.unit.views.conftest import Store
from tests.unit.views.test_formats import document, shown
from zarrfs.errors import KeyNotFoundError, ReadOnlyError, UnsupportedError
from zarrfs.storage.backend import Backend, Key

ZARRAY: dict[str, Any] = {
    "zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<i4", "fill_value": 0,
    "compressor": {"id": "zlib", "level": 1}, "filters": None, "order": "C",
    "dimension_separator": ".",
}  # fmt: skip


def put(backend: Backend, key: str, document: dict[str, Any]) -> None:
    backend.set(Key(key), json.dumps(document).encode())


def copy_of(store: Store) -> DictBackend:
    backend = DictBackend()
    for key in store[0].list_keys(Key("")):
        backend.set(key, store[0].get(key))
    return backend


def test_a_new_v2_array_is_a_v3_array_of_the_store() -> None:
    backend = DictBackend()
    view = shown(backend, "v2")
    assert not view.read_only
    put(view, ".zgroup", {"zarr_format": 2})
    put(view, ".zattrs", {"title": "t"})
    put(view, "a/.zarray", ZARRAY)
    put(view, "a/.zattrs", {"_ARRAY_DIMENSIONS": ["x"], "units": "m"})
    view.set(Key("a/1"), b"chunk")
    assert set(backend.list_keys(Key(""))) == {"zarr.json", "a/zarr.json", "a/1"}
    assert document(backend, "zarr.json")["attributes"] == {"title": "t"}
    written = document(backend, "a/zarr.json")
    assert written["codecs"][1] == {"name": "numcodecs.zlib", "configuration": {"level": 1}}
    assert (written["dimension_names"], written["attributes"]) == (["x"], {"units": "m"})
    assert document(view, "a/.zarray") == ZARRAY
    assert document(view, "a/.zattrs") == {"units": "m", "_ARRAY_DIMENSIONS": ["x"]}
    assert view.get(Key("a/1")) == b"chunk"


def test_an_array_that_is_there_keeps_its_keys_and_codecs(v3_store: Store) -> None:
    backend = copy_of(v3_store)
    view = shown(backend, "v2")
    before = document(backend, "types/f8/zarr.json")
    put(view, "types/f8/.zarray", document(view, "types/f8/.zarray") | {"shape": [9, 7]})
    assert document(backend, "types/f8/zarr.json") == before | {"shape": [9, 7]}
    view.set(Key("types/f8/4/0"), b"new")
    assert backend.get(Key("types/f8/c/4/0")) == b"new"
    view.delete(Key("types/f8/4/0"))
    with pytest.raises(KeyNotFoundError):
        backend.get(Key("types/f8/c/4/0"))
    zarray = document(view, "types/f8/.zarray") | {"compressor": None}
    put(view, "types/f8/.zarray", zarray)
    changed = document(backend, "types/f8/zarr.json")
    assert changed["chunk_key_encoding"] == before["chunk_key_encoding"]
    assert len(changed["codecs"]) == 1


def test_temporary_names_of_writers_go_both_ways(v3_store: Store) -> None:
    view = shown(copy_of(v3_store), "v2")
    for name in (
        "types/f8/0/0.0123456789abcdef0123456789abcdef.partial",
        "types/f8/.zarray.0123456789abcdef0123456789abcdef.partial",
        "types/new/.zarray.0123456789abcdef0123456789abcdef.partial",
    ):
        view.set(Key(name), b"unfinished")
        assert view.get(Key(name)) == b"unfinished"
        assert view.stat(Key(name)).size_bytes == 10
        view.delete(Key(name))


def test_documents_are_deleted(v3_store: Store) -> None:
    backend = copy_of(v3_store)
    view = shown(backend, "v2")
    view.delete(Key("shapes/never/.zattrs"))
    assert document(backend, "shapes/never/zarr.json")["attributes"] == {}
    with pytest.raises(KeyNotFoundError):
        view.delete(Key("shapes/never/.zattrs"))
    view.delete(Key("shapes/never/.zarray"))
    with pytest.raises(KeyNotFoundError):
        backend.get(Key("shapes/never/zarr.json"))


def test_what_cannot_be_said_is_refused_and_changes_nothing(v3_store: Store) -> None:
    backend = copy_of(v3_store)
    view = shown(backend, "v2")
    before = {key: backend.get(key) for key in backend.list_keys(Key(""))}
    objects = ZARRAY | {"dtype": "|O", "filters": [{"id": "pickle"}]}
    refused: dict[str, dict[str, Any]] = {
        "a/.zarray": objects,
        "b/.zattrs": {"no": "array yet"},
        "a/zarr.json": {"zarr_format": 3, "node_type": "group"},
        "shards/end/.zarray": ZARRAY,
    }
    for key, contents in refused.items():
        with pytest.raises(UnsupportedError):
            put(view, key, contents)
    for key in ("shards/end/0/0", "order/mixed/0/0/0", "codecs/crc32c/0/0"):
        with pytest.raises(ReadOnlyError):
            view.set(Key(key), b"")
    assert {key: backend.get(key) for key in backend.list_keys(Key(""))} == before


def test_a_shard_array_may_grow(v3_store: Store) -> None:
    backend = copy_of(v3_store)
    view = shown(backend, "v2")
    put(view, "shards/end/.zarray", document(view, "shards/end/.zarray") | {"shape": [99, 13]})
    assert document(backend, "shards/end/zarr.json")["shape"] == [99, 13]


def test_consolidating_consolidates_the_source() -> None:
    """What is written says nothing: the source's own documents do."""
    backend = DictBackend()
    view = shown(backend, "v2")
    put(view, ".zgroup", {"zarr_format": 2})
    put(view, "a/.zarray", ZARRAY)
    with pytest.raises(KeyNotFoundError):
        view.get(Key(".zmetadata"))
    put(view, ".zmetadata", {"zarr_consolidated_format": 1, "metadata": {"stale": {}}})
    assert document(view, ".zmetadata")["metadata"] == {
        ".zgroup": {"zarr_format": 2}, "a/.zarray": ZARRAY,
    }  # fmt: skip
    inline = document(backend, "zarr.json")["consolidated_metadata"]["metadata"]
    assert inline == {"a": document(backend, "a/zarr.json")}
    view.delete(Key(".zmetadata"))
    assert "consolidated_metadata" not in document(backend, "zarr.json")


def test_consolidating_a_v2_store_through_v3(v2_store: Store) -> None:
    backend = copy_of(v2_store)
    view = shown(backend, "v3")
    inline = {"kind": "inline", "must_understand": False, "metadata": {}}
    root = document(view, "zarr.json") | {"consolidated_metadata": inline}
    put(view, "zarr.json", root)
    assert document(backend, ".zmetadata")["metadata"]["types/f8/.zarray"]["dtype"] == "<f8"
    shown_again = document(view, "zarr.json")["consolidated_metadata"]["metadata"]
    assert shown_again["types/f8"]["data_type"] == "float64"


def test_a_v3_writer_on_a_v2_store(v2_store: Store) -> None:
    backend = copy_of(v2_store)
    view = shown(backend, "v3")
    doc = document(view, "types/f8/zarr.json")
    put(view, "types/f8/zarr.json", doc | {"shape": [8, 7], "attributes": {"a": 1}})
    assert document(backend, "types/f8/.zarray")["shape"] == [8, 7]
    assert document(backend, "types/f8/.zattrs") == {"a": 1}
    view.set(Key("types/f8/3.0"), b"new")
    assert backend.get(Key("types/f8/3.0")) == b"new"
    put(view, "g/zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": {}})
    assert document(backend, "g/.zgroup") == {"zarr_format": 2}
    put(view, "n/zarr.json", doc)
    assert document(view, "n/zarr.json") == doc
    default = {"name": "default", "configuration": {"separator": "/"}}
    with pytest.raises(UnsupportedError, match="leading c"):
        put(view, "m/zarr.json", doc | {"chunk_key_encoding": default})
    view.delete(Key("n/zarr.json"))
    assert not list(backend.list_keys(Key("n")))
