"""Stores by zarr-python 3 and tensorstore: read and kept by Storage, and the reverse."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zarrfs import Storage
from zarrfs.storage.hierarchy import Node

zarr = pytest.importorskip("zarr")
tensorstore = pytest.importorskip("tensorstore")

VALUES: dict[str, np.ndarray[Any, Any]] = {
    "bool": np.array([True, False, True] * 3),
    "int8": np.arange(9, dtype="i1"),
    "big": np.arange(9, dtype=">u4"),
    "half": np.linspace(0, 1, 9, dtype="f2"),
    "complex": np.arange(9) * (1 + 2j),
    "bytes": np.array([b"a", b"bcd", b""] * 3, dtype="S5"),
    "unicode": np.array(["a", "é", "温度"] * 3, dtype="U4"),
    "datetime": np.arange(9).astype("M8[ns]"),
    "timedelta": np.arange(9).astype("m8[10s]"),
    "struct": np.zeros(9, dtype=[("a", ">i2"), ("b", "<f8")]),
    "scalar": np.array(7, dtype="i4"),
    "empty": np.zeros((0, 4), dtype="f4"),
    "cube": np.arange(60, dtype="i4").reshape(3, 4, 5),
}


def make_with_zarr(folder: Path) -> None:
    for zarr_format in (2, 3):
        root = zarr.open_group(folder / f"v{zarr_format}", mode="w", zarr_format=zarr_format)
        root.attrs["title"] = "everything"
        for name, value in VALUES.items():
            chunks = tuple(max(1, length // 2) for length in value.shape)
            array = root.create_array(
                f"arrays/{name}", shape=value.shape, dtype=value.dtype, chunks=chunks
            )
            array[...] = value
            array.attrs["name"] = name
    root.create_array("sharded", shape=(8, 8), dtype="i4", chunks=(2, 2), shards=(4, 4))[...] = 1
    zarr.consolidate_metadata(folder / "v3")


@pytest.fixture(scope="module")
def made_by_zarr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of data types that have no specification
        make_with_zarr(folder)
    return folder


def nodes_of(storage: Storage) -> list[Node]:
    nodes = list(storage.walk())
    assert all(isinstance(node, Node) and node.layout_error is None for node in nodes)
    return [node for node in nodes if isinstance(node, Node)]


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_documents_by_zarr_are_read_and_kept(made_by_zarr: Path, tmp_path: Path) -> None:
    with Storage.open(made_by_zarr) as stores, Storage.init("directory", tmp_path / "copy") as copy:
        nodes = nodes_of(stores)
        assert len(nodes) == 2 * (len(VALUES) + 2) + 1
        for node in nodes:
            inspected = stores.inspect_metadata(node.path)
            assert inspected.problems == ()
            copy.write_metadata(inspected.metadata, path=node.path)
            assert copy.node(node.path).document == node.document
            assert copy.read_attributes(node.path) == stores.read_attributes(node.path)


def test_chunks_by_zarr_are_listed_and_copied(made_by_zarr: Path, tmp_path: Path) -> None:
    with Storage.open(made_by_zarr) as stores, Storage.init("directory", tmp_path / "copy") as copy:
        for node in nodes_of(stores):
            copy.write_metadata(stores.read_metadata(node.path), path=node.path)
            for index in stores.list_chunks(node.path) if node.layout else ():
                copy.write_chunk(index, stores.read_chunk(index, node.path), path=node.path)
    assert files_of(tmp_path / "copy") == files_of(made_by_zarr)
    for zarr_format in (2, 3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            root = zarr.open_group(tmp_path / f"copy/v{zarr_format}", mode="r")
            for name, value in VALUES.items():
                np.testing.assert_array_equal(root[f"arrays/{name}"][...], value)


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("zarr", {}),
        ("zarr", {"dimension_separator": "/"}),
        ("zarr3", {}),
        ("zarr3", {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}}),
        ("zarr3", {"chunk_key_encoding": {"name": "v2"}}),
    ],
)
def test_arrays_by_tensorstore(tmp_path: Path, driver: str, options: dict[str, Any]) -> None:
    chunks: dict[str, Any] = (
        {"chunks": [4, 4], "dtype": "<i4"}
        if driver == "zarr"
        else {
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 4]}},
            "data_type": "int32",
        }
    )
    spec = {
        "driver": driver,
        "kvstore": {"driver": "file", "path": str(tmp_path / "array")},
        "metadata": {"shape": [10, 6], **chunks, **options},
    }
    array = tensorstore.open(spec, create=True).result()
    array[0:6, 0:6].write(np.ones((6, 6), "i4")).result()
    with Storage.open(tmp_path / "array") as storage:
        assert storage.inspect_metadata().problems == ()
        assert sorted(storage.list_chunks()) == [(0, 0), (0, 1), (1, 0), (1, 1)]
        assert storage.layout().grid_shape == (3, 2)
        assert storage.delete_chunk((0, 1))
    again = tensorstore.open({**spec, "open": True}).result()
    np.testing.assert_array_equal(again[0:4, 0:6].read().result(), [[1, 1, 1, 1, 0, 0]] * 4)
