"""Small stores for the commands: one hierarchy, as a folder and as an archive."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from zarrfs.storage import Storage

VALUES = np.arange(32, dtype="<f4").reshape(4, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A v3 group with an array of 4 chunks, one absent, and a v2 array that is not compressed."""
    path = tmp_path / "store.zarr"
    with Storage.init("directory", path=path) as storage:
        storage.write_metadata(
            {"zarr_format": 3, "node_type": "group", "attributes": {"title": "small"}}
        )
        storage.write_metadata(
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": [4, 8],
                "data_type": "float32",
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 4]}},
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
                "fill_value": 0.0,
                "attributes": {},
            },
            path="a/deep",
        )
        for i, j in ((0, 0), (0, 1), (1, 0)):
            chunk = VALUES[2 * i : 2 * i + 2, 4 * j : 4 * j + 4]
            storage.write_chunk((i, j), chunk.tobytes(), path="a/deep")
        storage.write_metadata(
            {
                "zarr_format": 2,
                "shape": [3],
                "chunks": [2],
                "dtype": "<i2",
                "compressor": None,
                "filters": None,
                "fill_value": 0,
                "order": "C",
            },
            path="old",
        )
        storage.write_chunk((1,), b"\1\0\2\0", path="old")
    return path


@pytest.fixture
def archive(folder: Path) -> Path:
    path = folder.with_suffix(".zarr.zip")
    with zipfile.ZipFile(path, "w") as file:
        for part in sorted(folder.rglob("*")):
            if part.is_file():
                file.write(part, part.relative_to(folder))
    return path
