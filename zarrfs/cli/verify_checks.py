"""Everything in a store read once and checked: documents, chunks, other files.

One pass over the nodes for their documents, one over all keys: whatever passes
is read whole, so that an archive's CRC-32 is checked, and chunks are decoded.
Reading and decoding is spread over threads.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from zarrfs.errors import KeyNotFoundError, UnsupportedError, ZarrfsError
from zarrfs.storage.backend import Key
from zarrfs.zarr_format.keys import ZMETADATA

if TYPE_CHECKING:
    from zarrfs.storage.hierarchy import Located, Node
    from zarrfs.storage.storage import Storage
    from zarrfs.zarr_format.codecs import Pipeline

_BATCH = 16
"""Keys that a thread checks in one go: tiny chunks cost less than handing one over."""
_WINDOW = 4
"""Batches in flight for each thread."""


class Fault(NamedTuple):
    """One thing that is wrong; the key is empty for the store as a whole."""

    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}" if self.key else self.reason


@dataclass(slots=True)
class Tally:
    """What was looked at so far. Changed by the verifying thread alone."""

    nodes: int = 0
    chunks: int = 0
    other_files: int = 0
    bytes_read: int = 0
    undecodable: dict[str, str] = field(default_factory=dict)
    """Arrays whose chunks were read but not decoded, and why that cannot be done here."""


class _Read(NamedTuple):
    """What became of one key."""

    role: str
    bytes_read: int
    fault: Fault | None


class Verifier:
    """Verifies one store; `tally` counts while `faults` is consumed."""

    def __init__(self, storage: Storage, *, threads: int | None = None) -> None:
        self._storage = storage
        self._threads = threads or min(8, (os.cpu_count() or 1) + 1)
        self._lock = threading.Lock()
        self._pipelines: dict[str, Pipeline | None] = {}
        """By array path; None where decoding is not possible. Guarded by: `_lock`."""
        self.tally = Tally()

    def count_keys(self) -> int:
        """Return how many keys `faults` will look at, for a progress bar."""
        return sum(1 for _ in self._storage.backend.list_keys(Key("")))

    def faults(self, on_key: Callable[[], object] = lambda: None) -> Iterator[Fault]:
        """Check everything; yield what is wrong as it is found.

        `on_key` is called after each key, for a progress bar.
        """
        for problem in getattr(self._storage.backend, "problems", ()):
            yield Fault("", str(problem))
        yield from self._document_faults()
        for read in self._read_keys():
            self._count(read)
            on_key()
            if read.fault is not None:
                yield read.fault

    def _document_faults(self) -> Iterator[Fault]:
        from zarrfs.storage.hierarchy import BrokenNode

        for node in self._storage.walk():
            self.tally.nodes += 1
            if isinstance(node, BrokenNode):
                yield Fault(node.document_key, node.error.reason or str(node.error))
                continue
            if node.layout_error is not None:
                yield Fault(node.document_key, str(node.layout_error))
            try:
                problems = self._storage.inspect_metadata(node.path).problems
            except ZarrfsError as error:
                problems = (error.reason or str(error),)
            for problem in problems:
                yield Fault(node.document_key, problem)

    def _read_keys(self) -> Iterator[_Read]:
        keys = iter(self._storage.backend.list_keys(Key("")))
        with ThreadPoolExecutor(self._threads, "verify") as pool:
            in_flight: deque[Future[list[_Read]]] = deque()
            while batch := list(islice(keys, _BATCH)):
                in_flight.append(pool.submit(self._check_all, batch))
                if len(in_flight) >= self._threads * _WINDOW:
                    yield from in_flight.popleft().result()
            while in_flight:
                yield from in_flight.popleft().result()

    def _check_all(self, keys: list[Key]) -> list[_Read]:
        return [self._check(key) for key in keys]

    def _count(self, read: _Read) -> None:
        self.tally.bytes_read += read.bytes_read
        if read.role == "chunk":
            self.tally.chunks += 1
        elif read.role != "metadata":
            self.tally.other_files += 1

    def _check(self, key: Key) -> _Read:
        """Read one value whole and, if it is a chunk, decode it."""
        located = self._storage.hierarchy.locate(key)
        size = 0
        try:
            data = self._storage.backend.get(key)
            size = len(data)
            if located.role == "chunk":
                self._decode(located, data)
            elif key.rpartition("/")[2] == ZMETADATA:
                json.loads(bytes(data))
        except KeyNotFoundError:
            pass  # removed since it was listed
        except ZarrfsError as error:
            return _Read(located.role, size, Fault(key, error.reason or str(error)))
        except ValueError as error:
            return _Read(located.role, size, Fault(key, f"not JSON: {error}"))
        return _Read(located.role, size, None)

    def _decode(self, located: Located, data: bytes | bytearray | memoryview) -> None:
        """Raises: CorruptError."""
        assert located.node is not None
        pipeline = self._pipeline(located.node)
        if pipeline is not None:
            from zarrfs.zarr_format.codecs import decode_chunk

            decode_chunk(pipeline, data)

    def _pipeline(self, node: Node) -> Pipeline | None:
        with self._lock:
            if node.path not in self._pipelines:
                self._pipelines[node.path] = self._make_pipeline(node)
            return self._pipelines[node.path]

    def _make_pipeline(self, node: Node) -> Pipeline | None:
        from zarrfs.zarr_format.codecs import pipeline_of

        try:
            return pipeline_of(node.document)
        except UnsupportedError as error:
            self.tally.undecodable[node.path] = str(error)
        except ZarrfsError:
            pass  # its document is at fault, and that has been said
        return None
