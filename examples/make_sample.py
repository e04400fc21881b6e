"""Write a small Zarr v3 hierarchy into a zip archive: python examples/make_sample.py FILE.

A group with one array of 4 x 6 temperatures in chunks of 2 x 3, through zarrfs' own
Storage, so that the demonstration needs no other Zarr library.
"""

from __future__ import annotations

import sys

import numcodecs
import numpy as np

import zarrfs

GROUP = {
    "zarr_format": 3,
    "node_type": "group",
    "attributes": {"title": "zarrfs demonstration"},
}
TEMPERATURE = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4, 6],
    "data_type": "float32",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": "NaN",
    "codecs": [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "gzip", "configuration": {"level": 5}},
    ],
    "dimension_names": ["y", "x"],
    "attributes": {"units": "degC"},
}


def write_sample(path: str) -> None:
    temperature = np.linspace(10, 21.5, 24, dtype="<f4").reshape(4, 6)
    gzip = numcodecs.GZip(level=5)
    with zarrfs.Storage.init("zip", path=path) as storage:
        storage.write_metadata(GROUP)
        storage.write_metadata(TEMPERATURE, path="temperature")
        for i, j in np.ndindex(2, 2):
            chunk = temperature[2 * i : 2 * i + 2, 3 * j : 3 * j + 3]
            storage.write_chunk((i, j), gzip.encode(chunk.tobytes()), path="temperature")


if __name__ == "__main__":
    write_sample(sys.argv[1])
