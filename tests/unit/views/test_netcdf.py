"""`netcdf`: groups as virtual netCDF files."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

from tests.suites.dict_backend import DictBackend
from tests.unit.views.conftest import Store
from tests.unit.views.netcdf_reader import File, read_netcdf
from tests.unit.views.test_formats import eventually, hidden, shown
from zarrfs.storage.backend import Backend, Key
from zarrfs.storage.directory import DirectoryBackend
from zarrfs.views.netcdf_attributes import netcdf_name

NO_VARIABLES = {"shapes/empty", "types/record"}


def file_of(view: Backend, key: str) -> File:
    return read_netcdf(bytes(view.get(Key(key))))


def as_bytes(data: Any, width: int) -> bytes:
    """What a variable holds, in native order, for an array of the store."""
    if data.dtype == object or data.dtype.kind == "U":
        texts = [str(text).encode() for text in data.reshape(-1).tolist()]
        return b"".join(text.ljust(width, b"\0") for text in texts)
    if data.dtype == np.dtype("f2"):
        data = data.astype("f4")
    return bytes(data.astype(data.dtype.newbyteorder("=")).tobytes())


def test_every_variable_holds_its_array(store: Store) -> None:
    backend, arrays = store
    view = shown(backend, "netcdf")
    assert set(hidden(view)) == NO_VARIABLES
    files = {str(key)[:-3]: file_of(view, key) for key in view.list_keys(Key(""))}
    assert set(files) == {"root"} | {name.split("/")[0] for name in arrays}
    found = {f"{g}/{v}" for g, file in files.items() for v in file.variables}
    assert found == set(arrays) - NO_VARIABLES
    for name in found:
        group, variable = name.split("/")
        values = files[group].variables[variable].values
        native = values.astype(values.dtype.newbyteorder("=")).tobytes()
        width = values.shape[-1] if values.ndim else 1
        assert native == as_bytes(arrays[name], width), name


def test_any_range(v3_store: Store) -> None:
    view = shown(v3_store[0], "netcdf")
    rng = np.random.default_rng(3)
    for name in ("types.nc", "shapes.nc"):
        whole = bytes(view.get(Key(name)))
        assert view.stat(Key(name)).size_bytes == len(whole)
        for _ in range(200):
            start, stop = sorted(rng.integers(0, len(whole) + 4, 2).tolist())
            assert bytes(view.get(Key(name), start, stop)) == whole[start:stop]


def test_the_oldest_version_that_can_say_it(v3_store: Store) -> None:
    view = shown(v3_store[0], "netcdf")
    assert file_of(view, "shards.nc").version == 2
    assert file_of(view, "types.nc").version == 5  # 64-bit and unsigned integers


def test_dimensions_and_attributes(v3_store: Store) -> None:
    view = shown(v3_store[0], "netcdf")
    assert file_of(view, "root.nc").attributes == {"title": "a store"}
    keys = file_of(view, "keys.nc")
    assert keys.dimensions == {"y": 5, "x": 7}
    shapes = file_of(view, "shapes.nc")
    assert shapes.variables["never"].attributes["units"] == "m"
    assert json.loads(shapes.variables["never"].attributes["nested"])["text"] == "grün"
    assert np.isnan(shapes.variables["never"].attributes["_FillValue"]).all()
    assert shapes.variables["scalar"].dimensions == []


def array_document(**changes: Any) -> bytes:
    document: dict[str, Any] = {
        "zarr_format": 2, "shape": [2], "chunks": [2], "dtype": "<i2", "fill_value": -5,
        "compressor": None, "filters": None, "order": "C",
    }  # fmt: skip
    return json.dumps(document | changes).encode()


def test_attributes_are_typed() -> None:
    attributes = {
        "small": 1, "large": 1 << 40, "many": [1, 2], "real": 0.5, "mixed": [1, 2.5],
        "flag": True, "none": None, "text": "grün", "missing_value": -5, "a/b": "c",
        "_ARRAY_DIMENSIONS": ["x"], "valid_range": [0.5, 1], "huge": 1 << 70,
    }  # fmt: skip
    backend = DictBackend()
    backend.set(Key(".zgroup"), b'{"zarr_format": 2}')
    backend.set(Key("v/.zarray"), array_document())
    backend.set(Key("v/.zattrs"), json.dumps(attributes).encode())
    file = file_of(shown(backend, "netcdf"), "root.nc")
    found = {
        name: value if isinstance(value, str) else (value.dtype.str, value.tolist())
        for name, value in file.variables["v"].attributes.items()
    }
    assert found == {
        "_FillValue": (">i2", [-5]), "small": (">i4", [1]), "large": (">i8", [1 << 40]),
        "many": (">i4", [1, 2]), "real": (">f8", [0.5]), "mixed": (">f8", [1, 2.5]),
        "flag": ("|i1", [1]), "none": "null", "text": "grün", "missing_value": (">i2", [-5]),
        "a_b": "c", "valid_range": (">f8", [0.5, 1]), "huge": str(1 << 70),
    }  # fmt: skip


def test_a_dimension_of_two_lengths_gets_two_names() -> None:
    backend = DictBackend()
    backend.set(Key(".zgroup"), b'{"zarr_format": 2}')
    for name, length in (("a", 2), ("b", 3), ("c", 3)):
        backend.set(Key(f"{name}/.zarray"), array_document(shape=[length]))
        backend.set(Key(f"{name}/.zattrs"), b'{"_ARRAY_DIMENSIONS": ["x"]}')
    file = file_of(shown(backend, "netcdf"), "root.nc")
    assert file.dimensions == {"x": 2, "x_3": 3}
    assert file.variables["c"].dimensions == ["x_3"]


@pytest.mark.parametrize(
    ("name", "shown_name"),
    [("a/b", "a_b"), ("", "_"), ("-x", "_-x"), ("ü", "ü"), ("a\n ", "a_"), ("1", "1")],
)
def test_names(name: str, shown_name: str) -> None:
    assert netcdf_name(name) == shown_name


def test_a_new_variable_appears() -> None:
    backend = DictBackend()
    backend.set(Key(".zgroup"), b'{"zarr_format": 2}')
    view = shown(backend, "netcdf")
    assert not file_of(view, "root.nc").variables
    backend.set(Key("v/.zarray"), array_document())
    eventually(lambda: set(file_of(view, "root.nc").variables) == {"v"})


def test_a_child_called_root_keeps_its_name() -> None:
    backend = DictBackend()
    backend.set(Key(".zgroup"), b'{"zarr_format": 2}')
    backend.set(Key("root/.zgroup"), b'{"zarr_format": 2}')
    backend.set(Key("root/.zattrs"), b'{"who": "child"}')
    view = shown(backend, "netcdf")
    assert set(view.list_keys(Key(""))) == {"root_.nc", "root.nc"}
    assert file_of(view, "root.nc").attributes == {"who": "child"}


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_what_xarray_wrote(tmp_path: Path, zarr_format: int) -> None:
    """Packed values, times, text and booleans, with the attributes that explain them."""
    packed = xarray.DataArray([[1.5, np.nan], [0, 2]], dims=("y", "x"), attrs={"units": "K"})
    dataset = xarray.Dataset(
        {"t": packed, "ok": ("y", [True, False]), "plain": ("y", [0.25, np.nan])},
        coords={"y": [10, 20], "name": ("x", ["a", "bü"])},
    )
    encoding = {"t": {"dtype": "i2", "_FillValue": -9, "scale_factor": 0.5}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(tmp_path / "s", zarr_format=zarr_format, encoding=encoding)
    backend = DirectoryBackend.open(str(tmp_path / "s"), read_only=True)
    view = shown(backend, "netcdf")
    file = file_of(view, "root.nc")
    temperature = file.variables["t"]
    assert temperature.values.tolist() == [[3, -9], [0, 4]]
    assert temperature.attributes["_FillValue"].tolist() == [-9]
    assert temperature.attributes["scale_factor"].tolist() == [0.5]
    assert temperature.dimensions == ["y", "x"]
    assert np.isnan(file.variables["plain"].attributes["_FillValue"]).all()
    assert file.variables["ok"].attributes["dtype"] == "bool"
    text = file.variables["name"].values
    assert [b"".join(row).decode() for row in text.tolist()] == ["a", "bü"]
    view.close()


class StaticBackend(DictBackend):
    """Promises to stay as it is."""

    static = True


def test_small_coordinates_do_not_cost_old_programs_the_file() -> None:
    """int64 of small values is shown as int, if the whole file is then CDF-2."""
    backend = StaticBackend()
    backend.set(Key(".zgroup"), b'{"zarr_format": 2}')
    backend.set(Key("x/.zarray"), array_document(dtype="<i8", fill_value=-1))
    backend.set(Key("x/0"), np.array([5, -7], "<i8").tobytes())
    file = file_of(shown(backend, "netcdf"), "root.nc")
    assert file.version == 2
    assert file.variables["x"].values.tolist() == [5, -7]
    assert file.variables["x"].attributes["_FillValue"].dtype == np.dtype(">i4")
    backend.set(Key("x/0"), np.array([5, 1 << 40], "<i8").tobytes())
    wide = file_of(shown(backend, "netcdf"), "root.nc")
    assert wide.version == 5
    assert wide.variables["x"].values.tolist() == [5, 1 << 40]
