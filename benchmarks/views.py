"""Views: chunks beside the mount without one, whole arrays beside zarr-python's decoding."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

from benchmarks import material
from benchmarks.figures import Aim, Figures
from benchmarks.material import KIB
from benchmarks.peers import ZIP_RO, mounted, zarrfs
from benchmarks.running import run, server_of

CHUNKS = 4000
ITEMS = 64 * KIB // 4
COLD = "4,000 chunks of 64 KiB through a view, cold, one reader"
COLD_FOUR = "4,000 chunks of 64 KiB through a view, cold, four readers"
SEQUENTIAL = "whole array as one file, 1 MiB chunks of blosc/zstd, cold, sequential"
RANDOM = "4 KiB anywhere in that file, cold"
MEMORY = "memory of the server after it was read, the archive's own pages excepted"
DECODING = "zarr-python 3 into memory"
WHOLE_CHUNK = "zarrfs view plain, a whole chunk"

PASSING = {
    "v2": zarrfs("view v2", "ro,view=v2"),
    "v3": zarrfs("view v3", "ro,view=v3"),
    "unsharded": zarrfs("view unsharded", "ro,view=unsharded"),
}
FLAT = zarrfs("view flat", "ro,view=flat")
NETCDF = zarrfs("view netcdf", "ro,view=netcdf")
PLAIN = zarrfs("view plain", "ro,view=plain")
CACHE_MIB = 256

AIMS = [
    *(Aim(COLD, peer.name, "zarrfs zip", 1.3) for peer in PASSING.values()),
    *(Aim(COLD_FOUR, peer.name, "zarrfs zip", 1.3) for peer in PASSING.values()),
    Aim(SEQUENTIAL, "zarrfs view flat", DECODING, 0.8),
    Aim(SEQUENTIAL, "zarrfs view netcdf", DECODING, 0.8),
    Aim(RANDOM, "zarrfs view flat", WHOLE_CHUNK, 1.1),
    Aim(MEMORY, "zarrfs view flat", None, CACHE_MIB + 100),
    Aim(MEMORY, "zarrfs view netcdf", None, CACHE_MIB + 100),
]


def measure(figures: Figures, base: Path, rounds: int, scale: float) -> None:
    store = chunk_store(base)
    size_mib = max(int(256 * scale), 16)
    source = material.array(base, size_mib)
    material.warm(source)
    store.read_bytes()
    figures.note(f"the array that is read through views is {size_mib} MiB of float32")
    for _ in range(rounds):
        passing(figures, base, store)
        whole(figures, base, source.archive, size_mib)


def passing(figures: Figures, base: Path, store: Path) -> None:
    """Chunks that keep their bytes: the view is in the way of each, and nothing else."""
    for name, peer in {"v2keys": ZIP_RO, **PASSING}.items():
        with mounted(peer, store, base / "mnt") as folder:
            figures.add(COLD, peer.name, run("read_chunks", folder / name, CHUNKS))
        with mounted(peer, store, base / "mnt") as folder:
            figures.add(COLD_FOUR, peer.name, run("read_chunks", folder / name, CHUNKS, 4))


def whole(figures: Figures, base: Path, archive: Path, size_mib: int) -> None:
    size_mb = size_mib * 1.048576
    for peer, name in ((FLAT, "array.raw"), (NETCDF, "root.nc")):
        with mounted(peer, archive, base / "mnt") as folder:
            figures.add(SEQUENTIAL, peer.name, size_mb / run("sequential", folder / name), "MB/s")
            pid = server_of(folder, archive)
            if pid is not None:
                figures.add(MEMORY, peer.name, anonymous_mib(pid), "MiB")
    figures.add(SEQUENTIAL, DECODING, size_mb / run("read_array_zarr", archive), "MB/s")
    count = max(8, size_mib // 8)  # chunks far apart, each read once
    with mounted(FLAT, archive, base / "mnt") as folder:
        seconds = run("random_reads", folder / "array.raw", count)
        figures.add(RANDOM, FLAT.name, seconds * 1e3, "ms")
    with mounted(PLAIN, archive, base / "mnt") as folder:
        seconds = run("random_files", folder, count, size_mib)
        figures.add(RANDOM, WHOLE_CHUNK, seconds * 1e3, "ms")


def anonymous_mib(pid: int) -> float:
    """Return what a process holds itself (RssAnon): the cache is full by now, if it ever is.

    The pages of a mapped archive count as resident too, but are the page cache's.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return 0.0


def chunk_store(base: Path) -> Path:
    """One archive with the same chunks under four documents, one for each way to them."""
    path = base / "views.zip"
    if path.exists():
        return path
    body = os.urandom(64 * KIB)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def put(key: str, data: bytes) -> None:
            archive.writestr(material.entry(key), data)

        documents = {"v2keys": v3_document("v2"), "v2": v3_document("default")}
        documents["unsharded"] = sharded_document()
        for name, document in documents.items():
            put(f"{name}/zarr.json", json.dumps(document).encode())
        put("v3/.zarray", json.dumps(v2_document()).encode())
        put("zarr.json", b'{"zarr_format": 3, "node_type": "group"}')
        for number in range(CHUNKS):
            chunk = number.to_bytes(8, "little") + body[8:]
            put(f"v2keys/{number}.0", chunk)
            put(f"v2/c.{number}.0", chunk)
            put(f"v3/{number}.0", chunk)
        for shard in range(CHUNKS // 100):
            put(f"unsharded/{shard}.0", body * 100 + shard_index())
    return path


def v3_document(encoding: str) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [CHUNKS, ITEMS],
        "data_type": "int32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, ITEMS]}},
        "chunk_key_encoding": {"name": encoding, "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
    }


def sharded_document() -> dict[str, Any]:
    plain = {"name": "bytes", "configuration": {"endian": "little"}}
    configuration = {"chunk_shape": [1, ITEMS], "codecs": [plain], "index_codecs": [plain]}
    return v3_document("v2") | {
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [100, ITEMS]}},
        "codecs": [{"name": "sharding_indexed", "configuration": configuration}],
    }


def shard_index() -> bytes:
    places = ((number * 64 * KIB, 64 * KIB) for number in range(100))
    return b"".join(n.to_bytes(8, "little") for place in places for n in place)


def v2_document() -> dict[str, Any]:
    return {
        "zarr_format": 2,
        "shape": [CHUNKS, ITEMS],
        "chunks": [1, ITEMS],
        "dtype": "<i4",
        "fill_value": 0,
        "compressor": None,
        "filters": None,
        "order": "C",
    }
