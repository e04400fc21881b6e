"""tensorstore: make, change and read v2 and v3 arrays through its file driver.

usage: tensorstore_client.py make|change ROOT
       tensorstore_client.py digest ROOT ARRAY...
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorstore as ts
import values

DTYPES = (
    "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64 "
    "complex64 complex128"
).split()
V2_COMPRESSORS: dict[str, Any] = {
    "none": None,
    "zlib": {"id": "zlib", "level": 1},
    "gzip": {"id": "gzip", "level": 1},
    "bz2": {"id": "bz2", "level": 1},
    "zstd": {"id": "zstd", "level": 3},
    "blosc": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
}
V3_CODECS: dict[str, list[dict[str, Any]]] = {
    "big": [{"name": "bytes", "configuration": {"endian": "big"}}],
    "gzip": [{"name": "gzip", "configuration": {"level": 1}}],
    "zstd": [{"name": "zstd", "configuration": {"level": 1}}],
    "blosc": [{"name": "blosc", "configuration": {"cname": "zstd", "shuffle": "shuffle"}}],
    "crc32c": [{"name": "crc32c"}],
    "transpose": [{"name": "transpose", "configuration": {"order": [1, 0]}}],
}


def open_array(path: str, driver: str, metadata: dict[str, Any] | None = None) -> Any:
    spec: dict[str, Any] = {"driver": driver, "kvstore": {"driver": "file", "path": path + "/"}}
    if metadata is None:
        return ts.open(spec, open=True, read=True, write=False).result()
    return ts.open(spec | {"metadata": metadata}, create=True, delete_existing=True).result()


def put_v2(path: str, array: Any, **metadata: Any) -> Any:
    chunks = [-(-n // 2) for n in array.shape]
    document = {"shape": array.shape, "chunks": chunks, "dtype": array.dtype.str} | metadata
    made = open_array(path, "zarr", document)
    made.write(array).result()
    return made


def put_v3(
    path: str,
    array: Any,
    codecs: list[dict[str, Any]] | None = None,
    chunks: list[int] | None = None,
) -> Any:
    shape = chunks or [-(-n // 2) for n in array.shape]
    document: dict[str, Any] = {
        "shape": array.shape,
        "data_type": array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
    }
    made = open_array(path, "zarr3", document | ({"codecs": codecs} if codecs else {}))
    made.write(array).result()
    return made


def sharded(inner: list[int], location: str) -> list[dict[str, Any]]:
    configuration = {
        "chunk_shape": inner,
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "gzip", "configuration": {"level": 1}},
        ],
        "index_codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "crc32c"},
        ],
        "index_location": location,
    }
    return [{"name": "sharding_indexed", "configuration": configuration}]


def make(root: str) -> None:
    for dtype in DTYPES:
        put_v2(f"{root}/v2/{dtype}", values.sample(dtype))
        put_v3(f"{root}/v3/{dtype}", values.sample(dtype))
    for name, compressor in V2_COMPRESSORS.items():
        put_v2(f"{root}/v2/{name}", values.sample(">i4", (20, 10)), compressor=compressor)
    put_v2(f"{root}/v2/slash", values.sample("<f8", (7, 5, 3)), dimension_separator="/", order="F")
    for name, codecs in V3_CODECS.items():
        put_v3(f"{root}/v3/{name}", values.sample("<i4", (20, 10)), codecs)
    for location in ("start", "end"):
        put_v3(
            f"{root}/v3/shards-{location}",
            values.sample("<i4", (16, 12)),
            sharded([4, 3], location),
            [8, 6],
        )


def change(root: str) -> None:
    """Create, overwrite, grow, shrink and delete arrays, in both formats and sharded."""
    makers: dict[str, Callable[[str, Any], Any]] = {"v2": put_v2, "v3": put_v3}
    for name, put in makers.items():
        array = put(f"{root}/{name}/counts", np.arange(144, dtype="<i4").reshape(12, 12))
        array[3:9, 5:7].write(-5).result()
        array = array.resize(exclusive_max=[20, 12]).result()
        array[12:].write(9).result()
        array = array.resize(exclusive_max=[16, 6]).result()
        put(f"{root}/{name}/again", values.sample("<f4"))
        put(f"{root}/{name}/again", values.sample("<i8"))
        put(f"{root}/{name}/doomed", values.sample("<i8"))
        ts.KvStore.open(f"file://{os.path.abspath(root)}/{name}/doomed/").result().delete_range(
            ts.KvStore.KeyRange()
        ).result()
    shards = put_v3(
        f"{root}/v3/shards", values.sample("<i4", (16, 12)), sharded([4, 3], "end"), [8, 6]
    )
    shards[5:7, 2:9].write(77).result()


def read(path: str) -> Any:
    driver = "zarr3" if os.path.exists(path + "/zarr.json") else "zarr"
    return open_array(path, driver).read().result()


def main() -> None:
    command, root, *paths = sys.argv[1:]
    root = os.path.abspath(root)
    if command == "digest":
        values.report(paths, lambda path: read(f"{root}/{path}"))
    else:
        {"make": make, "change": change}[command](root)


if __name__ == "__main__":
    main()
