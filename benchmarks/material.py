"""Makes the folders and archives that are measured, once a run."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """The same content twice: as a folder and as a stored zip archive."""

    folder: Path
    archive: Path


def make_source(base: Path, name: str, files: Iterable[tuple[str, bytes]]) -> Source:
    source = Source(base / name, base / f"{name}.zip")
    if source.archive.exists():
        return source
    source.folder.mkdir()
    with zipfile.ZipFile(source.archive, "w", zipfile.ZIP_STORED) as archive:
        for key, content in files:
            path = source.folder / key
            if "/" in key:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            archive.writestr(entry(key), content)
    return source


def entry(key: str) -> zipfile.ZipInfo:
    """An entry with a file type, without which fuse-zip answers EIO."""
    made = zipfile.ZipInfo(key, (2024, 5, 6, 7, 8, 10))
    made.external_attr = (stat.S_IFREG | 0o644) << 16
    return made


def chunks(base: Path, count: int) -> Source:
    """`count` chunks of 64 KiB in one folder."""
    body = os.urandom(64 * KIB)
    files = ((f"{n}.0", n.to_bytes(8, "little") + body[8:]) for n in range(count))
    return make_source(base, f"chunks-{count}", files)


def small_files(base: Path, count: int) -> Source:
    """`count` files of 8 bytes in one folder."""
    files = ((f"{n}.0", n.to_bytes(8, "little")) for n in range(count))
    return make_source(base, f"small-{count}", files)


def large_file(base: Path, size_mib: int) -> Source:
    return make_source(base, f"large-{size_mib}", [("large.bin", os.urandom(size_mib * MIB))])


def many_entries(base: Path, count: int) -> Path:
    """An archive of `count` entries in one folder; no folder beside it, to spare the disk."""
    path = base / f"entries-{count}.zip"
    if not path.exists():
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for n in range(count):
                archive.writestr(entry(f"a/{n}.0"), b"x" * 8)
    return path


def array(base: Path, size_mib: int) -> Source:
    """A zarr v3 array in chunks of 1 MiB, blosc/zstd, half compressible."""
    import numpy as np
    import zarr
    from zarr.codecs import BloscCodec

    source = Source(base / f"array-{size_mib}", base / f"array-{size_mib}.zip")
    if source.archive.exists():
        return source
    compressor = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
    made = zarr.create_array(
        str(source.folder), shape=(size_mib, 512, 512), chunks=(1, 512, 512), dtype="f4",
        compressors=compressor,
    )  # fmt: skip
    random = np.random.default_rng(1)
    for n in range(size_mib):
        made[n] = np.round(random.normal(280, 10, (512, 512)), 1).astype("f4")
    with zipfile.ZipFile(source.archive, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(p for p in source.folder.rglob("*") if p.is_file()):
            archive.writestr(entry(str(path.relative_to(source.folder))), path.read_bytes())
    return source


def warm(source: Source) -> None:
    """Bring a source into the page cache, so that the disk is not measured."""
    for path in [source.archive, *source.folder.rglob("*")]:
        if path.is_file():
            path.read_bytes()
