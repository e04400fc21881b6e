"""Names of views, several at once, and what `zarrfs info` says of them."""

from __future__ import annotations

import pytest

from tests.suites.dict_backend import DictBackend
from tests.unit.views.conftest import Store
from tests.unit.views.stores import assert_all_same
from tests.unit.views.test_formats import hidden
from zarrfs.errors import InvalidArgumentError, KeyNotFoundError
from zarrfs.storage.backend import Backend, Key
from zarrfs.views.registry import apply_views, subfolders, view_names
from zarrfs.views.support import supported_readers, supported_views


def test_names() -> None:
    assert view_names() == (
        "v2", "v3", "unsharded", "plain", "decoded", "filled", "consolidated", "flat", "netcdf",
    )  # fmt: skip


def test_an_unknown_view() -> None:
    with pytest.raises(InvalidArgumentError, match="one of: v2, v3"):
        apply_views(DictBackend(), ["v4"])


def test_no_views_are_the_backend_itself() -> None:
    backend = DictBackend()
    assert apply_views(backend, []) is backend


def test_every_view_is_a_backend(v2_store: Store) -> None:
    for name in view_names():
        view = apply_views(v2_store[0], [name])
        assert isinstance(view, Backend)
        assert (view.kind, view.location, view.static) == ("dict", "dict", False)
        view.flush()
        view.close()
        view.close()


def test_several_at_once(v3_store: Store) -> None:
    backend, arrays = v3_store
    folders = subfolders(backend, {"as it is": [], "two": ["v2"], "files": ["flat"]})
    assert {listed.name for listed in folders.list_dir(Key(""))} == {"as it is", "two", "files"}
    below = DictBackend()
    for shown in folders.list_keys(Key("two")):
        below.set(Key(shown.removeprefix("two/")), folders.get(shown))
    assert_all_same(below, arrays)
    assert bytes(folders.get(Key("files/shapes/line.raw"))) == arrays["shapes/line"].tobytes()
    assert folders.get(Key("as it is/zarr.json")) == backend.get(Key("zarr.json"))
    assert folders.stat(Key("as it is/zarr.json")) == backend.stat(Key("zarr.json"))
    assert "files/types/string" in hidden(folders)
    for key in ("two", "three/zarr.json", "zarr.json"):
        with pytest.raises(KeyNotFoundError):
            folders.get(Key(key))
    folders.close()


@pytest.mark.parametrize("name", ["", "a/b", ".", ".."])
def test_names_of_folders(name: str) -> None:
    with pytest.raises(InvalidArgumentError):
        subfolders(DictBackend(), {name: []})


def test_what_info_says(v3_store: Store) -> None:
    backend, arrays = v3_store
    views = {view.name: view for view in supported_views(backend)}
    assert views["v2"].shown == len(arrays)
    assert {item.path for item in views["plain"].hidden} == {"types/string"}
    assert {item.path for item in views["netcdf"].hidden} == {"shapes/empty", "types/record"}
    readers = {reader.reader: reader for reader in supported_readers(backend)}
    assert readers["zarr-python 3"].as_stored == len(arrays)
    assert readers["zarr-python 2.18"].as_stored == 0
    assert readers["zarr-python 2.18"].best_view == "v2"
    assert readers["netCDF-C 4.9"].by_view["plain"] == 0, "one type that it does not know"
    assert readers["netCDF-C 4.9"].best_view == "decoded"
    assert readers["netCDF-C 4.9"].by_view["decoded"] == views["decoded"].shown
