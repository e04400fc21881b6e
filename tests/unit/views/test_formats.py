"""`v2`, `v3`, `unsharded` and `plain`: other documents and keys for the same arrays."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.suites.dict_backend import DictBackend
from tests.unit.views.conftest import Store
from tests.unit.views.stores import assert_all_same
from zarrfs.errors import CorruptError, KeyNotFoundError, ReadOnlyError
from zarrfs.storage.backend import Backend, Buffer, Key, LeavesOut
from zarrfs.storage.hierarchy import Hierarchy
from zarrfs.storage.tree import ROOT
from zarrfs.vfs.key_tree import KeyTree
from zarrfs.vfs.zarr_attributes import ZarrAttributes
from zarrfs.vfs.zarr_nodes import ZarrNodes
from zarrfs.views.registry import apply_views
from zarrfs.views.view import HidesNodes

DEADLINE_S = 30.0


def shown(backend: Backend, *names: str) -> Backend:
    return apply_views(backend, names)


def document(backend: Backend, key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(backend.get(Key(key))))
    return found


def hidden(view: Backend) -> dict[str, str]:
    assert isinstance(view, HidesNodes)
    return dict(view.hidden())


@pytest.mark.parametrize("names", [("v2",), ("v3",), ("v3", "v2"), ("v2", "v3"), ("unsharded",)])
def test_every_array_reads_the_same(store: Store, names: tuple[str, ...]) -> None:
    backend, arrays = store
    view = shown(backend, *names)
    assert hidden(view) == {}
    assert_all_same(view, arrays)


def test_plain_leaves_out_only_strings(store: Store) -> None:
    backend, arrays = store
    view = shown(backend, "plain")
    assert set(hidden(view)) == {"types/string"}
    assert_all_same(view, {name: a for name, a in arrays.items() if name != "types/string"})


@pytest.mark.parametrize(("name", "other"), [("v2", 3), ("v3", 2), ("plain", 3)])
def test_no_document_of_the_other_format_is_left(store: Store, name: str, other: int) -> None:
    view = shown(store[0], name)
    assert all(node.zarr_format != other for node in _nodes(view))
    names = {key.rpartition("/")[2] for key in view.list_keys(Key(""))}
    assert names.isdisjoint({"zarr.json"} if other == 3 else {".zarray", ".zgroup", ".zattrs"})


def _nodes(view: Backend) -> list[Any]:
    return list(Hierarchy(view).walk())


@pytest.mark.parametrize(
    "names", [("v2",), ("v3",), ("unsharded",), ("plain",), ("decoded",), ("filled",), ("flat",)]
)
def test_stat_says_the_size_of_what_get_returns(store: Store, names: tuple[str, ...]) -> None:
    view = shown(store[0], *names)
    for key in view.list_keys(Key("")):
        assert view.stat(key).size_bytes == len(view.get(key)), key


def test_listings_agree_with_keys(store: Store) -> None:
    for name in ("v2", "v3", "unsharded", "plain", "filled", "consolidated"):
        view = shown(store[0], name)
        keys = set(view.list_keys(Key("")))
        for key in keys:
            view.stat(key)
        assert len(keys) == len(list(view.list_keys(Key("")))), "a key is listed twice"


class Counting(DictBackend):
    """Remembers which buffers it gave away."""

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        data = super().get(key, start, stop)
        self.last = data
        return data


def test_chunks_pass_through_without_a_copy(v2_store: Store, v3_store: Store) -> None:
    for (backend, _), view_name, key, source_key in (
        (v2_store, "v3", "types/f8/0.0", "types/f8/0.0"),
        (v3_store, "v2", "types/f8/0/0", "types/f8/c/0/0"),
    ):
        counting = Counting()
        for name in backend.list_keys(Key("")):
            counting.set(name, backend.get(name))
        view = shown(counting, view_name)
        assert view.get(Key(key)) is counting.last
        assert view.get(Key(key)) == backend.get(Key(source_key))
        assert view.get(Key(key), 2, 5) == backend.get(Key(source_key), 2, 5)


def test_null_fill_value_survives_the_way_there_and_back(v2_store: Store) -> None:
    backend, _ = v2_store
    copy = DictBackend()
    zarray = document(backend, "types/i4/.zarray") | {"fill_value": None}
    copy.set(Key(".zarray"), json.dumps(zarray).encode())
    assert document(shown(copy, "v3"), "zarr.json")["fill_value"] == 0
    assert document(shown(copy, "v3", "v2"), ".zarray")["fill_value"] is None


def test_dimension_names_become_attributes_and_return(v3_store: Store) -> None:
    backend, _ = v3_store
    v2 = shown(backend, "v2")
    assert document(v2, "keys/v2_dot/.zattrs") == {"_ARRAY_DIMENSIONS": ["y", "x"]}
    back = shown(backend, "v2", "v3")
    assert document(back, "keys/v2_dot/zarr.json")["dimension_names"] == ["y", "x"]
    assert document(back, "keys/v2_dot/zarr.json")["attributes"] == {}


def test_attributes_and_groups(v3_store: Store) -> None:
    v2 = shown(v3_store[0], "v2")
    assert document(v2, ".zattrs") == {"title": "a store"}
    assert document(v2, "shapes/never/.zattrs")["nested"]["text"] == "grün"
    assert document(v2, "shapes/.zgroup") == {"zarr_format": 2}


def test_pickles_are_hidden_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    backend = DictBackend()
    zarray = {
        "zarr_format": 2, "shape": [2], "chunks": [2], "dtype": "|O", "fill_value": None,
        "compressor": None, "filters": [{"id": "pickle"}], "order": "C",
    }  # fmt: skip
    backend.set(Key(".zgroup"), b'{"zarr_format": 2}')
    backend.set(Key("bad/.zarray"), json.dumps(zarray).encode())
    backend.set(Key("bad/0"), b"whatever")
    view = shown(backend, "v3")
    assert [listed.name for listed in view.list_dir(Key(""))] == ["zarr.json"]
    with pytest.raises(KeyNotFoundError):
        view.get(Key("bad/0"))
    assert "pickle" in hidden(view)["bad"]
    assert "pickle" in caplog.text


def test_nothing_can_be_written(v2_store: Store) -> None:
    view = shown(v2_store[0], "plain")
    with pytest.raises(ReadOnlyError):
        view.set(Key("types/f8/0.0"), b"")
    with pytest.raises(ReadOnlyError):
        view.delete(Key("types/f8/0.0"))
    assert view.read_only


def test_other_files_pass_through(v2_store: Store) -> None:
    backend = DictBackend()
    backend.set(Key("README"), b"hello")
    backend.set(Key("notes/a.txt"), b"text")
    view = shown(backend, "v3")
    assert sorted(view.list_keys(Key(""))) == ["README", "notes/a.txt"]
    assert view.get(Key("README")) == b"hello"


def test_a_changed_document_is_read_again() -> None:
    backend = DictBackend()
    zarray: dict[str, Any] = {
        "zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<i4", "fill_value": 0,
        "compressor": None, "filters": None, "order": "C",
    }  # fmt: skip
    backend.set(Key(".zarray"), json.dumps(zarray).encode())
    view = shown(backend, "v3")
    assert document(view, "zarr.json")["shape"] == [4]
    before = view.stat(Key("zarr.json")).mtime_ns
    backend.set(Key(".zarray"), json.dumps(zarray | {"shape": [9]}).encode())
    eventually(lambda: document(view, "zarr.json")["shape"] == [9])
    assert view.stat(Key("zarr.json")).mtime_ns > before
    backend.set(Key(".zattrs"), b'{"units": "m"}')
    eventually(lambda: document(view, "zarr.json")["attributes"] == {"units": "m"})
    backend.delete(Key(".zarray"))
    eventually(lambda: not list(view.list_keys(Key(""))))


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_inner_chunks_are_ranges_of_the_shard(v3_store: Store) -> None:
    backend, _ = v3_store
    view = shown(backend, "unsharded")
    inner = bytes(view.get(Key("shards/end/c/4/4")))
    shard = bytes(backend.get(Key("shards/end/c/2/2")))
    assert inner and inner in shard
    assert document(view, "shards/nested/zarr.json")["chunk_grid"]["configuration"] == {
        "chunk_shape": [2, 2]
    }


def test_v2_checks_a_checksum_and_leaves_it_away(v3_store: Store) -> None:
    backend = DictBackend()
    for key in v3_store[0].list_keys(Key("codecs/crc32c")):
        backend.set(key, v3_store[0].get(key))
    view = shown(backend, "v2")
    assert document(view, "codecs/crc32c/.zarray")["compressor"] == {"id": "zstd", "level": 0}
    stored = bytes(backend.get(Key("codecs/crc32c/c/0/0")))
    for _ in range(2):
        assert bytes(view.get(Key("codecs/crc32c/0/0"))) == stored[:-4]
        assert bytes(view.get(Key("codecs/crc32c/0/0"), 2, 1 << 20)) == stored[2:-4]
    backend.set(Key("codecs/crc32c/c/0/0"), stored[:-1] + bytes([stored[-1] ^ 1]))
    with pytest.raises(CorruptError):
        view.get(Key("codecs/crc32c/0/0"), 0, 1)
    backend.set(Key("codecs/crc32c/c/0/0"), b"abc")
    with pytest.raises(CorruptError):
        view.stat(Key("codecs/crc32c/0/0"))


def test_empty_inner_chunks_are_absent(v3_store: Store) -> None:
    view = shown(v3_store[0], "unsharded")
    assert not [key for key in view.list_keys(Key("shards/end/c/0")) if key.endswith("/0/0")]
    with pytest.raises(KeyNotFoundError):
        view.stat(Key("shards/end/c/0/0"))
    with pytest.raises(KeyNotFoundError):
        view.stat(Key("shards/end/c/99/0"))
    with pytest.raises(KeyNotFoundError):
        view.stat(Key("shards/end/c/04/4"))


def test_values_are_exact(v3_store: Store) -> None:
    """NaN payloads and the sign of zero survive decoding."""
    bits = np.array([0x7FF8000000000001, 0xFFF0000000000002, 1 << 63], "<u8")
    backend = DictBackend()
    codecs = [{"name": "bytes", "configuration": {"endian": "big"}}]
    doc = document(v3_store[0], "types/f8/zarr.json") | {
        "shape": [3], "codecs": codecs,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3]}},
        "fill_value": "0xfff8000000000123",
    }  # fmt: skip
    backend.set(Key("zarr.json"), json.dumps(doc).encode())
    backend.set(Key("c/0"), bits.astype(">u8").tobytes())
    assert bytes(shown(backend, "flat").get(Key("array.raw"))) == bits.tobytes()
    backend.delete(Key("c/0"))
    filled = np.full(3, 0xFFF8000000000123, "<u8").tobytes()
    assert bytes(shown(backend, "flat").get(Key("array.raw"))) == filled


def test_folders_tell_what_they_leave_out() -> None:
    backend = DictBackend()
    zarray = {
        "zarr_format": 2, "shape": [2], "chunks": [2], "dtype": "|O", "fill_value": None,
        "compressor": None, "filters": [{"id": "pickle"}], "order": "C",
    }  # fmt: skip
    backend.set(Key("a/bad/.zarray"), json.dumps(zarray).encode())
    backend.set(Key("a/note"), b"")
    view = shown(backend, "v3")
    assert isinstance(view, LeavesOut)
    assert "pickle" in view.left_out(Key("a"))["bad"]
    assert view.left_out(Key("")) == {}
    attributes = ZarrAttributes(tree := KeyTree(view), ZarrNodes(tree))
    folder = tree.lookup(ROOT, b"a").nodeid
    assert "pickle" in json.loads(attributes.value(folder, b"user.zarr.hidden"))["bad"]
    assert attributes.names(ROOT) == []
    stacked = shown(backend, "v3", "v2")
    assert isinstance(stacked, LeavesOut)
    assert stacked.left_out(Key("a")) == view.left_out(Key("a"))
