"""acquire-zarr: stream camera frames into v3 stores, sharded and not.

usage: acquire_client.py make|change ROOT
"""

from __future__ import annotations

import os
import sys

import acquire_zarr as aqz
import numpy as np


def stream(path: str, frames: int, shard_chunks: int, *, overwrite: bool = False) -> None:
    dimensions = [
        aqz.Dimension(
            name="t",
            kind=aqz.DimensionType.TIME,
            array_size_px=0,
            chunk_size_px=2,
            shard_size_chunks=shard_chunks,
        ),
        aqz.Dimension(
            name="y",
            kind=aqz.DimensionType.SPACE,
            array_size_px=48,
            chunk_size_px=16,
            shard_size_chunks=shard_chunks,
        ),
        aqz.Dimension(
            name="x",
            kind=aqz.DimensionType.SPACE,
            array_size_px=64,
            chunk_size_px=32,
            shard_size_chunks=shard_chunks,
        ),
    ]
    array = aqz.ArraySettings(
        output_key="frames", dimensions=dimensions, data_type=aqz.DataType.UINT16
    )
    settings = aqz.StreamSettings(store_path=path, arrays=[array], overwrite=overwrite)
    writer = aqz.ZarrStream(settings)
    for frame in range(frames):
        writer.append(np.full((48, 64), frame + 1, np.uint16), "frames")
    writer.close()


def make(root: str) -> None:
    os.makedirs(root, exist_ok=True)
    stream(f"{root}/chunks", 5, 1)
    stream(f"{root}/shards", 6, 2)


def change(root: str) -> None:
    make(root)
    stream(f"{root}/chunks", 3, 1, overwrite=True)


if __name__ == "__main__":
    {"make": make, "change": change}[sys.argv[1]](sys.argv[2])
