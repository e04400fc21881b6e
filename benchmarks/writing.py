"""Writes: chunks by zarr-python and tensorstore, one large file, one change in an archive."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from benchmarks import material
from benchmarks.figures import Aim, Figures
from benchmarks.peers import (
    BINDFS,
    DIRECTORY_RW,
    EXT4,
    FUSE_ZIP_RW,
    MEMORY_RW,
    ZIP_NEW,
    ZIP_RW,
    Peer,
    start,
    stop,
)
from benchmarks.running import run

CHUNKS = 4000
ZARR = "4,000 chunks of 64 KiB written, zarr-python 3"
TENSORSTORE = "4,000 chunks of 64 KiB written, tensorstore"
LARGE = "large file written in 1 MiB writes"
COMMIT = "one chunk changed in an archive of 100,000, fsync included"
ZIP_STORE = "ZipStore"
AIMS = [
    Aim(ZARR, "zarrfs directory", "ext4", 2.0),
    Aim(ZARR, "zarrfs directory", "bindfs", 0.6),
    Aim(ZARR, "zarrfs memory", "ext4", 1.0),
    Aim(ZARR, "zarrfs zip", ZIP_STORE, 1.0),
    Aim(TENSORSTORE, "zarrfs directory", "ext4", 2.0),
    Aim(TENSORSTORE, "zarrfs directory", "bindfs", 0.6),
    Aim(TENSORSTORE, "zarrfs memory", "ext4", 1.0),
    Aim(LARGE, "zarrfs directory", "ext4", 0.8),
    Aim(LARGE, "zarrfs zip", "ext4", 0.6),
    Aim(COMMIT, "zarrfs zip", None, 1.0),
]


def measure(figures: Figures, base: Path, rounds: int, scale: float) -> None:
    size_mib = max(int(256 * scale), 16)
    figures.note(f"the large file is {size_mib} MiB")
    for _ in range(rounds):
        for figure, operation in (
            (ZARR, "write_array_zarr"),
            (TENSORSTORE, "write_array_tensorstore"),
        ):
            for peer in (EXT4, BINDFS, DIRECTORY_RW, MEMORY_RW, ZIP_NEW):
                if peer.here:
                    seconds = written(peer, base, "array", operation, CHUNKS)
                    figures.add(figure, peer.name, seconds)
        figures.add(ZARR, ZIP_STORE, run("write_array_zarr", base / "store.zip", CHUNKS))
        for peer in (EXT4, BINDFS, DIRECTORY_RW, MEMORY_RW, ZIP_NEW):
            if peer.here:
                seconds = written(peer, base, "large.bin", "write_sequential", size_mib)
                figures.add(LARGE, peer.name, size_mib * 1.048576 / seconds, "MB/s")
        commits(figures, base, int(100_000 * min(scale, 1)))


def written(peer: Peer, base: Path, name: str, operation: str, amount: int) -> float:
    """Return the seconds of an operation in an empty mount; a zip's unmount (its commit) counts."""
    store = Path(tempfile.mkdtemp(prefix="written.", dir=base))
    try:
        return timed_in(peer, store, base / "mnt", name, operation, amount)
    finally:
        empty(store)


def empty(store: Path) -> None:
    """Give the space back, not the inodes: whoever makes files on ext4 within minutes of others'
    removal spends half of its time on passing their inodes over (`recently_deleted`).
    """
    for path in store.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def timed_in(
    peer: Peer, store: Path, target: Path, name: str, operation: str, amount: int
) -> float:
    if not peer.command:
        return run(operation, store / name, amount)
    source: Path | str = store
    if peer is ZIP_NEW:
        source = store / "new.zip"
    elif peer is MEMORY_RW:
        source = "memory:"
    target.mkdir(exist_ok=True)
    start(peer, source, target)
    try:
        seconds = run(operation, target / name, amount)
    finally:
        ending = stop(peer, target)
    return seconds + (ending if peer is ZIP_NEW else 0)


def commits(figures: Figures, base: Path, count: int) -> None:
    """fuse-zip rewrites the archive at unmount, so its unmount counts; ours answers fsync."""
    archive = material.small_files(base, count).archive
    for peer in (ZIP_RW, FUSE_ZIP_RW):
        if not peer.here:
            continue
        copy = base / "changed.zip"
        shutil.copy(archive, copy)
        target = base / "mnt"
        target.mkdir(exist_ok=True)
        start(peer, copy, target)
        try:
            seconds = run("change_file", target / "77.0")
        finally:
            ending = stop(peer, target)
        figures.add(COMMIT, peer.name, seconds + (0 if peer is ZIP_RW else ending))
