"""What is timed, run in a process of its own so that a hung mount can be given up.

usage: python operations.py OPERATION ARGUMENT...      prints seconds as JSON

Only the operation itself is timed, not the interpreter's start. Standard library only,
but for the whole-array operations, which name the library that they time.
"""

from __future__ import annotations

import json
import mmap
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any

MIB = 1 << 20


def aligned_buffer(size: int) -> mmap.mmap:
    """Return memory that is there already and begins at a page.

    Fresh memory would add page faults to every read, and a kernel copies to memory that is
    not aligned to 32 bytes at a quarter of the speed on some processors (`rep movsb`): both
    would be measured instead of the file system.
    """
    buffer = mmap.mmap(-1, size)
    buffer.write(bytes(size))
    return buffer


BUFFER = aligned_buffer(MIB)


def read_file(path: str, buffer: mmap.mmap = BUFFER) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.readv(descriptor, [buffer])
    finally:
        os.close(descriptor)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def read_chunks(folder: str, count: str, readers: str = "1") -> float:
    """Open, read and close `count` files, shared out between processes."""
    paths = [f"{folder}/{number}.0" for number in range(int(count))]
    shares = [paths[first :: int(readers)] for first in range(int(readers))]
    if len(shares) == 1:
        return timed(lambda: [read_file(path) for path in paths])
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(shares))
    results: Any = context.SimpleQueue()
    workers = [
        context.Process(target=read_share, args=(share, barrier, results)) for share in shares
    ]
    for worker in workers:
        worker.start()
    spans = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return float(max(end for _, end in spans) - min(begin for begin, _ in spans))


def read_share(paths: list[str], barrier: Barrier, results: Any) -> None:
    barrier.wait()
    begin = time.monotonic()
    for path in paths:
        read_file(path)
    results.put((begin, time.monotonic()))


def list_stat(folder: str) -> float:
    """List a folder and stat each name."""
    return timed(lambda: [os.stat(f"{folder}/{name}") for name in os.listdir(folder)])


def list_names(folder: str) -> float:
    return timed(lambda: os.listdir(folder))


def sequential(path: str) -> float:
    """Read a file from start to end in 1 MiB reads."""

    def read_all() -> None:
        descriptor = os.open(path, os.O_RDONLY)
        while os.readv(descriptor, [BUFFER]):
            pass
        os.close(descriptor)

    return timed(read_all)


def random_reads(path: str, count: str, size: str = "4096") -> float:
    """Return the seconds that one read of `size` bytes takes, `count` places in any order.

    The places are the same in every process and far apart, so that none is read ahead.
    """
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    last = os.fstat(descriptor).st_size - int(size)
    step = last * 38 // 100  # never the neighbour of the place before
    places = [(number * step) % last for number in range(1, int(count) + 1)]
    taken = timed(lambda: [os.pread(descriptor, int(size), place) for place in places])
    os.close(descriptor)
    return taken / int(count)


def random_files(folder: str, count: str, files: str) -> float:
    """Return the seconds to read one of the files `0.0.0`, `1.0.0` ... whole."""
    numbers = [
        (number * int(files) * 38 // 100) % int(files) for number in range(1, int(count) + 1)
    ]
    paths = [f"{folder}/{number}.0.0" for number in numbers]
    buffer = aligned_buffer(16 * MIB)
    return timed(lambda: [read_file(path, buffer) for path in paths]) / int(count)


def write_sequential(path: str, size_mib: str) -> float:
    """Write a file in 1 MiB writes and close it."""
    block = os.urandom(MIB)

    def write_all() -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for _ in range(int(size_mib)):
            view = memoryview(block)
            while view:
                view = view[os.write(descriptor, view) :]
        os.close(descriptor)

    return timed(write_all)


def change_file(path: str) -> float:
    """Replace a small file and fsync it: for a zip mount this is a commit."""

    def write() -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(descriptor, os.urandom(64))
        os.fsync(descriptor)
        os.close(descriptor)

    return timed(write)


def read_array_zarr(path: str) -> float:
    import zarr

    store = zarr.storage.ZipStore(path, mode="r") if path.endswith(".zip") else path
    array = zarr.open_array(store, mode="r")
    return timed(lambda: array[:])


def read_array_tensorstore(path: str) -> float:
    import tensorstore as ts

    kvstore: Any = {"driver": "file", "path": path + "/"}
    array = ts.open({"driver": "zarr3", "kvstore": kvstore}, read=True).result()
    return timed(lambda: array.read().result())


def write_array_zarr(path: str, chunks: str) -> float:
    """Write `chunks` chunks of 64 KiB, uncompressed, through zarr-python 3."""
    import numpy as np
    import zarr

    count = int(chunks)
    data = np.arange(count * 8192, dtype="f8").reshape(count, 8192)
    is_zip = path.endswith(".zip")

    def write() -> None:
        store = zarr.storage.ZipStore(path, mode="w") if is_zip else path
        array = zarr.create_array(
            store, shape=data.shape, chunks=(1, 8192), dtype="f8", compressors=None
        )
        array[:] = data
        if is_zip:
            array.store.close()

    return timed(write)


def write_array_tensorstore(path: str, chunks: str) -> float:
    """Write `chunks` chunks of 64 KiB, uncompressed, through tensorstore."""
    import numpy as np
    import tensorstore as ts

    count = int(chunks)
    data = np.arange(count * 8192, dtype="f8").reshape(count, 8192)
    grid = {"name": "regular", "configuration": {"chunk_shape": [1, 8192]}}
    spec: Any = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": path + "/"},
        "metadata": {"shape": list(data.shape), "data_type": "float64", "chunk_grid": grid},
    }

    def write() -> None:
        ts.open(spec, create=True).result().write(data).result()

    return timed(write)


OPERATIONS: dict[str, Callable[..., float]] = {
    work.__name__: work
    for work in (
        read_chunks,
        list_stat,
        list_names,
        sequential,
        random_reads,
        random_files,
        write_sequential,
        change_file,
        read_array_zarr,
        read_array_tensorstore,
        write_array_zarr,
        write_array_tensorstore,
    )
}


if __name__ == "__main__":
    json.dump(OPERATIONS[sys.argv[1]](*sys.argv[2:]), sys.stdout)
