"""z5py 3: make, change and read v2 stores through its own C++ library.

usage: z5py_client.py make|change ROOT
       z5py_client.py digest ROOT ARRAY...
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import values
import z5py

DTYPES = "int8 uint8 int16 uint16 int32 uint32 int64 uint64 float32 float64".split()


def make(root: str) -> None:
    with z5py.ZarrFile(root, mode="a") as store:
        store.attrs["title"] = "made by z5py"
        for dtype in DTYPES:
            array = np.nan_to_num(values.sample(dtype))
            store.create_dataset(f"dtypes/{dtype}", data=array, chunks=(3, 3), compression="raw")
        for compression in ("raw", "gzip", "zlib", "blosc"):
            array = values.sample("int32", (20, 10))
            store.create_dataset(
                f"compressors/{compression}", data=array, chunks=(10, 5), compression=compression
            )


def change(root: str) -> None:
    """Create, overwrite and delete arrays."""
    with z5py.ZarrFile(root, mode="a") as store:
        counts = np.arange(144, dtype="int32").reshape(12, 12)
        array = store.create_dataset("counts", data=counts, chunks=(4, 4), compression="gzip")
        array[3:9, 5:7] = -5
        array.attrs["units"] = "km"
        store.create_dataset("doomed", data=counts, chunks=(4, 4), compression="raw")
        del store["doomed"]


def read(path: str) -> Any:
    folder, name = os.path.split(path)
    with z5py.ZarrFile(folder, mode="r") as group:
        return group[name][:]


def main() -> None:
    command, root, *paths = sys.argv[1:]
    if command == "digest":
        values.report(paths, lambda path: read(f"{root}/{path}"))
    else:
        {"make": make, "change": change}[command](root)


if __name__ == "__main__":
    main()
