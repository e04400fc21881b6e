"""zarr-python 2.18: make, change and read v2 stores.

usage: zarr2_client.py make|change ROOT
       zarr2_client.py digest ROOT ARRAY...
"""

from __future__ import annotations

import sys
from typing import Any

import numcodecs
import numpy as np
import values
import zarr

DTYPES = (
    "|b1 |i1 |u1 <i2 >i2 <u2 <i4 >i4 <u4 <i8 >i8 <u8 >u8 <f2 >f2 <f4 >f4 <f8 >f8 <c8 >c8 <c16 "
    "<U6 >U6 |S5 |V3 <M8[s] >M8[ns] <m8[ms]"
).split()
STRUCT = [("station", "<i4"), ("height", ">f8"), ("name", "|S4")]
COMPRESSORS = {
    "none": None,
    "zlib": numcodecs.Zlib(1),
    "gzip": numcodecs.GZip(1),
    "zstd": numcodecs.Zstd(3),
    "lz4": numcodecs.LZ4(),
    "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(),
    "blosc-lz4": numcodecs.Blosc("lz4", shuffle=numcodecs.Blosc.SHUFFLE),
    "blosc-zstd": numcodecs.Blosc("zstd", shuffle=numcodecs.Blosc.BITSHUFFLE),
    "blosc-zlib": numcodecs.Blosc("zlib", shuffle=numcodecs.Blosc.NOSHUFFLE),
}
FILTERS = {
    "delta": ("<i4", [numcodecs.Delta("<i4")]),
    "fixedscaleoffset": ("<f8", [numcodecs.FixedScaleOffset(offset=0, scale=8, dtype="<f8")]),
    "quantize": ("<f4", [numcodecs.Quantize(digits=3, dtype="<f4")]),
    "packbits": ("|b1", [numcodecs.PackBits()]),
    "shuffle": ("<i8", [numcodecs.Shuffle(elementsize=8)]),
    "delta-shuffle": ("<u2", [numcodecs.Delta("<u2"), numcodecs.Shuffle(elementsize=2)]),
    "crc32": ("<i2", [numcodecs.CRC32()]),
    "fletcher32": ("<f8", [numcodecs.Fletcher32()]),
}


def put(group: Any, name: str, array: Any, **options: Any) -> None:
    options.setdefault("chunks", tuple(-(-n // 2) for n in array.shape) or True)
    group.create_dataset(name, data=array, shape=array.shape, dtype=array.dtype, **options)


def make(root: str) -> None:
    group = zarr.open_group(root, mode="w")
    group.attrs["title"] = "made by zarr-python 2"
    dtypes = group.create_group("dtypes")
    for dtype in DTYPES:
        put(
            dtypes,
            dtype.strip("|<>").replace("[", "-").strip("]")
            + "-"
            + dtype[0].translate({ord("<"): "le", ord(">"): "be", ord("|"): "na"}),
            values.sample(dtype),
        )
    put(dtypes, "struct", values.sample(STRUCT, (7,)))
    make_objects(group.create_group("objects"))
    compressors = group.create_group("compressors")
    for name, compressor in COMPRESSORS.items():
        put(compressors, name, values.sample("<i4", (20, 10)), compressor=compressor)
    filters = group.create_group("filters")
    for name, (dtype, chain) in FILTERS.items():
        put(filters, name, np.nan_to_num(values.sample(dtype)), filters=chain)
    make_layouts(group.create_group("a group with spaces"))
    zarr.consolidate_metadata(root)


def make_objects(group: Any) -> None:
    strings = np.array(["", "a", "é", "long " * 20, "日本", "z"], dtype=object)
    put(group, "utf8", strings, object_codec=numcodecs.VLenUTF8())
    put(group, "json", strings, object_codec=numcodecs.JSON())
    put(group, "msgpack", strings, object_codec=numcodecs.MsgPack())
    blobs = np.array([b"", b"\0\1", b"abc" * 9], dtype=object)
    put(group, "bytes", blobs, object_codec=numcodecs.VLenBytes())


def make_layouts(group: Any) -> None:
    array = values.sample("<f8", (7, 5, 3))
    put(group, "order-f", array, order="F", chunks=(3, 2, 2))
    put(group, "slash", array, dimension_separator="/", chunks=(3, 2, 2))
    put(group, "order-f-slash-be", array.astype(">f8"), order="F", dimension_separator="/")
    put(group, "scalar", np.array(42, "<i4"))
    put(group, "one-chunk", array, chunks=array.shape)
    put(group, "dimensions", array, chunks=(3, 2, 2))
    group["dimensions"].attrs["_ARRAY_DIMENSIONS"] = ["z", "y", "x"]
    group.create_dataset("unwritten", shape=(9, 9), chunks=(4, 4), dtype="<i4", fill_value=-1)
    half = group.create_dataset("half", shape=(9, 9), chunks=(4, 4), dtype="<f4", fill_value="NaN")
    half[:4] = 1.5
    group.create_dataset("no-fill", shape=(4,), chunks=(2,), dtype="<u2", fill_value=None)[:] = 3
    group.create_dataset("empty", shape=(0, 3), chunks=(1, 3), dtype="<i2")


def change(root: str) -> None:
    """Create, overwrite, grow, shrink and delete arrays and groups."""
    group = zarr.open_group(root, mode="a")
    for name, separator in (("dots", "."), ("slashes", "/")):
        array = group.create_dataset(
            name, shape=(12, 12), chunks=(4, 4), dtype="<i4", dimension_separator=separator
        )
        array[:] = np.arange(144).reshape(12, 12)
        array[3:9, 5:7] = -5
        array.resize(20, 12)
        array[16:] = 9
        array.resize(16, 6)
        array.attrs["units"] = "m"
        array.attrs["units"] = "km"
    put(group, "doomed", values.sample("<f4"))
    del group["doomed"]
    put(group.require_group("deep/er"), "one", values.sample(">i2"))
    put(group, "again", values.sample("<f4"))
    put(group, "again", values.sample("<i8"), overwrite=True)
    zarr.consolidate_metadata(root)


def main() -> None:
    command, root, *paths = sys.argv[1:]
    if command == "digest":
        values.report(paths, lambda path: zarr.open_array(root, path=path, mode="r")[...])
    else:
        {"make": make, "change": change}[command](root)


if __name__ == "__main__":
    main()
