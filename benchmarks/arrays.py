"""Whole arrays read by zarr-python 3 and tensorstore."""

from __future__ import annotations

from pathlib import Path

from benchmarks import material
from benchmarks.figures import Aim, Figures
from benchmarks.peers import BINDFS, DIRECTORY_RO, EXT4, FUSE_ZIP, RATAR, ZIP_RO, mounted
from benchmarks.running import run

ZARR = "whole array, 1 MiB chunks of blosc/zstd, zarr-python 3"
TENSORSTORE = "whole array, 1 MiB chunks of blosc/zstd, tensorstore"
ZIP_STORE = "ZipStore"
AIMS = [
    Aim(ZARR, "zarrfs zip", ZIP_STORE, 1.0),
    Aim(ZARR, "zarrfs zip", "ext4", 1.2),
    Aim(TENSORSTORE, "zarrfs zip", "ext4", 1.2),
]


def measure(figures: Figures, base: Path, rounds: int, scale: float) -> None:
    size_mib = max(int(256 * scale), 16)
    source = material.array(base, size_mib)
    material.warm(source)
    figures.note(f"the whole array is {size_mib} MiB of float32")
    for _ in range(rounds):
        for peer in (EXT4, BINDFS, DIRECTORY_RO, ZIP_RO, FUSE_ZIP, RATAR):
            if not peer.here:
                continue
            path = source.archive if peer in (ZIP_RO, FUSE_ZIP, RATAR) else source.folder
            with mounted(peer, path, base / "mnt") as folder:
                figures.add(ZARR, peer.name, run("read_array_zarr", folder))
            with mounted(peer, path, base / "mnt") as folder:
                figures.add(TENSORSTORE, peer.name, run("read_array_tensorstore", folder))
        figures.add(ZARR, ZIP_STORE, run("read_array_zarr", source.archive))
