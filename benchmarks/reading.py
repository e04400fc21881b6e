"""Reads: many chunks cold and warm, listings, one large file, whole arrays."""

from __future__ import annotations

from pathlib import Path

from benchmarks import material
from benchmarks.figures import Aim, Figures
from benchmarks.peers import BINDFS, DIRECTORY_RO, EXT4, FUSE_ZIP, RATAR, ZIP_RO, Peer, mounted
from benchmarks.running import run

ARCHIVE_PEERS = (ZIP_RO, FUSE_ZIP, RATAR)
FOLDER_PEERS = (EXT4, BINDFS, DIRECTORY_RO)
CHUNKS = 4000
COLD_ONE = "4,000 chunks of 64 KiB, cold, one reader"
COLD_FOUR = "4,000 chunks of 64 KiB, cold, four readers"
WARM = "4,000 chunks of 64 KiB, warm, one reader"
LIST_SMALL = "list + stat of 4,000, cold"
LIST_LARGE = "list + stat of 100,000, cold"
SEQUENTIAL = "256 MiB file, cold, sequential"
SEQUENTIAL_WARM = "256 MiB file, warm, sequential"

AIMS = [
    Aim(COLD_ONE, "zarrfs zip", "bindfs", 0.5),
    Aim(COLD_ONE, "zarrfs zip", "ratarmount", 0.25),
    Aim(COLD_FOUR, "zarrfs zip", "bindfs", 0.6),
    Aim(WARM, "zarrfs zip", "ext4", 1.5),
    Aim(LIST_SMALL, "zarrfs zip", "bindfs", 0.25),
    Aim(LIST_SMALL, "zarrfs zip", "ext4", 3.0),
    Aim(LIST_LARGE, "zarrfs zip", "bindfs", 0.25),
    Aim(LIST_LARGE, "zarrfs zip", "ext4", 3.0),
    Aim(SEQUENTIAL, "zarrfs zip", "bindfs", 2.0),
    Aim(SEQUENTIAL, "zarrfs directory", "ext4", 0.8),
    Aim(SEQUENTIAL_WARM, "zarrfs directory", "ext4", 0.8),
]


def pairs(source: material.Source) -> list[tuple[Peer, Path]]:
    """Every peer that is here with the form of the source that it mounts."""
    found = [(peer, source.folder) for peer in FOLDER_PEERS]
    found += [(peer, source.archive) for peer in ARCHIVE_PEERS]
    return [(peer, path) for peer, path in found if peer.here]


def measure(figures: Figures, base: Path, rounds: int, scale: float) -> None:
    for _ in range(rounds):
        chunk_reads(figures, base)
        listings(figures, base, LIST_SMALL, 4000)
        listings(figures, base, LIST_LARGE, int(100_000 * min(scale, 1)))
        large_reads(figures, base)


def chunk_reads(figures: Figures, base: Path) -> None:
    source = material.chunks(base, CHUNKS)
    material.warm(source)
    for peer, path in pairs(source):
        with mounted(peer, path, base / "mnt") as folder:
            figures.add(COLD_ONE, peer.name, run("read_chunks", folder, CHUNKS))
            figures.add(WARM, peer.name, run("read_chunks", folder, CHUNKS))
        with mounted(peer, path, base / "mnt") as folder:
            figures.add(COLD_FOUR, peer.name, run("read_chunks", folder, CHUNKS, 4))


def listings(figures: Figures, base: Path, figure: str, count: int) -> None:
    source = material.small_files(base, count)
    for peer, path in pairs(source):
        if peer is EXT4:
            run("list_stat", path)
        with mounted(peer, path, base / "mnt") as folder:
            figures.add(figure, peer.name, run("list_stat", folder))


def large_reads(figures: Figures, base: Path) -> None:
    source = material.large_file(base, 256)
    material.warm(source)
    for peer, path in pairs(source):
        with mounted(peer, path, base / "mnt") as folder:
            for figure in (SEQUENTIAL, SEQUENTIAL_WARM):
                seconds = run("sequential", folder / "large.bin")
                figures.add(figure, peer.name, 256 * 1.048576 / seconds, "MB/s")
