"""GDAL: make, change and read v2 stores through its multidimensional interface.

usage: gdal_client.py make|change ROOT
       gdal_client.py digest ROOT ARRAY...

Runs in the system's Python, whose package python3-gdal holds the bindings.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import values
from osgeo import gdal

TYPES = {
    "u1": gdal.GDT_Byte,
    "i2": gdal.GDT_Int16,
    "u2": gdal.GDT_UInt16,
    "i4": gdal.GDT_Int32,
    "u4": gdal.GDT_UInt32,
    "f4": gdal.GDT_Float32,
    "f8": gdal.GDT_Float64,
}
COMPRESSIONS = "NONE BLOSC ZLIB GZIP LZMA ZSTD LZ4".split()


def put(root: str, name: str, array: Any, *options: str) -> None:
    """Make a store of one array named `name` in ROOT/`name`."""
    folder = f"{root}/{name}"
    store = gdal.GetDriverByName("ZARR").CreateMultiDimensional(folder)
    group = store.GetRootGroup()
    axes = [
        group.CreateDimension(f"axis{n}", None, None, size) for n, size in enumerate(array.shape)
    ]
    kind = gdal.ExtendedDataType.Create(TYPES[array.dtype.str[1:]])
    chunks = ",".join(str(-(-n // 2)) for n in array.shape)
    made = group.CreateMDArray(name, axes, kind, [f"BLOCKSIZE={chunks}", *options])
    made.Write(array)


def make(root: str) -> None:
    os.makedirs(root, exist_ok=True)
    for name in TYPES:
        put(root, name, values.sample(name))
    for compression in COMPRESSIONS:
        put(root, compression, values.sample("i4", (20, 10)), f"COMPRESS={compression}")
    put(root, "order-f", values.sample("f8"), "CHUNK_MEMORY_LAYOUT=F", "DIM_SEPARATOR=/")
    put(root, "delta", values.sample("i4"), "FILTER=DELTA", "COMPRESS=ZLIB")


def change(root: str) -> None:
    """Create, then overwrite in place through a second opening."""
    os.makedirs(root, exist_ok=True)
    put(root, "counts", np.arange(144, dtype="i4").reshape(12, 12), "COMPRESS=ZLIB")
    store = gdal.OpenEx(f"{root}/counts", gdal.OF_MULTIDIM_RASTER | gdal.OF_UPDATE)
    array = store.GetRootGroup().OpenMDArray("counts")
    array.Write(np.full((6, 2), -5, "i4"), array_start_idx=[3, 5], count=[6, 2])
    attribute = array.CreateAttribute("units", [], gdal.ExtendedDataType.CreateString())
    attribute.Write("km")


def read(root: str, path: str) -> Any:
    folder, _, name = path.rpartition("/")
    store = gdal.OpenEx(f"{root}/{folder}" if folder else root, gdal.OF_MULTIDIM_RASTER)
    return store.GetRootGroup().OpenMDArray(name).ReadAsArray()


def main() -> None:
    gdal.UseExceptions()
    command, root, *paths = sys.argv[1:]
    if command == "digest":
        values.report(paths, lambda path: read(root, path))
    else:
        {"make": make, "change": change}[command](root)


if __name__ == "__main__":
    main()
