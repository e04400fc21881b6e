"""zarr-python 3: make, change and read v2 and v3 stores.

usage: zarr3_client.py make|change ROOT
       zarr3_client.py digest ROOT ARRAY...
       zarr3_client.py xarray ROOT...    digests of their variables, through xarray
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any

import numpy as np
import values
import zarr
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)

DTYPES = (
    "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64 "
    "complex64 complex128"
).split()
INEXACT_V3 = {
    "utf32": "<U6",
    "null-terminated": "|S5",
    "raw": "|V3",
    "datetime": "<M8[s]",
    "timedelta": "<m8[ms]",
    "struct": [("station", "<i4"), ("height", "<f8")],
}
COMPRESSORS = {
    "none": None,
    "gzip": GzipCodec(level=1),
    "zstd": ZstdCodec(level=3),
    "zstd-checksum": ZstdCodec(level=3, checksum=True),
    "blosc-lz4": BloscCodec(cname="lz4", shuffle="shuffle"),
    "blosc-zstd": BloscCodec(cname="zstd", shuffle="bitshuffle"),
    "crc32c": Crc32cCodec(),
    "gzip-crc32c": (GzipCodec(level=1), Crc32cCodec()),
}


def put(group: Any, name: str, array: Any, **options: Any) -> Any:
    options.setdefault("chunks", tuple(-(-n // 2) for n in array.shape))
    made = group.create_array(name, shape=array.shape, dtype=array.dtype, **options)
    made[...] = array
    return made


def make(root: str) -> None:
    make_v3(zarr.open_group(f"{root}/v3", mode="w", zarr_format=3))
    make_v2(zarr.open_group(f"{root}/v2", mode="w", zarr_format=2))
    zarr.consolidate_metadata(f"{root}/v3")
    zarr.consolidate_metadata(f"{root}/v2")
    make_dataset(root)
    zarr.open_group(f"{root}/v3-bare", mode="w", zarr_format=3).attrs["why"] = "no arrays"


def make_dataset(root: str) -> None:
    """What xarray writes: named dimensions, a coordinate, scaled and dated variables."""
    import xarray

    days = np.arange(4).astype("M8[D]").astype("M8[ns]")
    field = (("time", "x"), values.sample("f4", (4, 6)))
    dataset = xarray.Dataset({"t": field, "n": ("x", np.arange(6))}, {"time": days})
    for zarr_format in (2, 3):
        dataset.to_zarr(f"{root}/xarray/v{zarr_format}", zarr_format=zarr_format)


def make_v2(group: Any) -> None:
    group.attrs["title"] = "v2 by zarr-python 3"
    for dtype in DTYPES:
        put(group, f"dtypes/{dtype}", values.sample(dtype))
    array = values.sample("<f4", (7, 5, 3))
    put(group, "layouts/order-f", array, order="F")
    slash = {"name": "v2", "separator": "/"}
    put(group, "layouts/slash", array, chunk_key_encoding=slash)


def make_v3(group: Any) -> None:
    group.attrs["title"] = "v3 by zarr-python 3"
    for dtype in DTYPES:
        put(group, f"dtypes/{dtype}", values.sample(dtype))
    for name, special in INEXACT_V3.items():
        put(group, f"dtypes/{name}", values.sample(special))
    texts = np.array(["", "a", "é", "long " * 20, "日本", "z"], dtype=np.dtypes.StringDType())
    put(group, "dtypes/string", texts)
    for name, compressor in COMPRESSORS.items():
        put(group, f"compressors/{name}", values.sample("<i4", (20, 10)), compressors=compressor)
    make_layouts(group)
    make_shards(group)


def make_layouts(group: Any) -> None:
    array = values.sample("<f8", (7, 5, 3))
    put(group, "layouts/big-endian", array, serializer=BytesCodec(endian="big"))
    put(group, "layouts/transposed", array, filters=[TransposeCodec(order=(2, 0, 1))])
    put(group, "layouts/named", array, dimension_names=["z", None, "x"])
    for name, separator in (("default", "."), ("v2", "."), ("v2", "/")):
        encoding = {"name": name, "separator": separator}
        label = f"layouts/keys-{name}-{'dot' if separator == '.' else 'slash'}"
        put(group, label, array, chunk_key_encoding=encoding)
    put(group, "layouts/scalar", np.array(42, "<i4"), chunks=())
    v2_keys = {"name": "v2", "separator": "."}
    put(group, "layouts/scalar-v2-keys", np.array(7.5), chunks=(), chunk_key_encoding=v2_keys)
    group.create_array("layouts/unwritten", shape=(9, 9), chunks=(4, 4), dtype="i4", fill_value=-1)
    half = group.create_array("layouts/half", shape=(9, 9), chunks=(4, 4), dtype="f4")
    half[:4] = 1.5


def make_shards(group: Any) -> None:
    array = values.sample("<i4", (16, 12))
    put(group, "shards/end", array, shards=(8, 6), chunks=(4, 3))
    inner = [BytesCodec(), ZstdCodec(level=1)]
    for location in ("start", "end"):
        codec = ShardingCodec(chunk_shape=(4, 3), codecs=inner, index_location=location)
        put(
            group,
            f"shards/raw-{location}",
            array,
            chunks=(8, 6),
            serializer=codec,
            compressors=None,
        )
    sparse = group.create_array(
        "shards/sparse", shape=(16, 12), shards=(8, 6), chunks=(4, 3), dtype="f8", fill_value=np.nan
    )
    sparse[:3, :2] = 1.25
    nested = ShardingCodec(chunk_shape=(4, 6), codecs=[ShardingCodec(chunk_shape=(2, 3))])
    put(group, "shards/nested", array, chunks=(8, 6), serializer=nested, compressors=None)


def change(root: str) -> None:
    """Create, overwrite, grow, shrink and delete arrays and groups, in both formats."""
    for zarr_format in (2, 3):
        group = zarr.open_group(f"{root}/v{zarr_format}", mode="a", zarr_format=zarr_format)
        array = group.create_array("counts", shape=(12, 12), chunks=(4, 4), dtype="i4")
        array[:] = np.arange(144).reshape(12, 12)
        array[3:9, 5:7] = -5
        array[:4, :4] = 0  # the fill value: its chunk is deleted
        array.resize((20, 12))
        array[16:] = 9
        array.resize((16, 6))
        array.attrs["units"] = "m"
        array.attrs["units"] = "km"
        put(group, "doomed", values.sample("<f4"))
        del group["doomed"]
        put(group.require_group("deep/er"), "one", values.sample("<i2"))
        put(group, "again", values.sample("<f4"))
        put(group, "again", values.sample("<i8"), overwrite=True)
        zarr.consolidate_metadata(f"{root}/v{zarr_format}")
    shards = put(
        zarr.open_group(f"{root}/v3"),
        "shards",
        values.sample("<i4", (16, 12)),
        shards=(8, 6),
        chunks=(4, 3),
    )
    shards[5:7, 2:9] = 77


def through_xarray(roots: list[str]) -> None:
    import xarray

    found = {}
    for root in roots:
        with xarray.open_zarr(root, chunks=None, decode_cf=False) as dataset:
            for name in dataset.variables:
                found[f"{os.path.basename(root)}/{name}"] = values.digest(dataset[name].values)
    json.dump(found, sys.stdout)


def main() -> None:
    warnings.simplefilter("ignore")
    command, root, *paths = sys.argv[1:]
    if command == "digest":
        values.report(paths, lambda path: zarr.open_array(root, path=path, mode="r")[...])
    elif command == "xarray":
        through_xarray([root, *paths])
    else:
        {"make": make, "change": change}[command](root)


if __name__ == "__main__":
    main()
