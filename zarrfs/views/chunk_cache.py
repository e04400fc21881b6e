"""`ChunkCache`: decoded chunks of a whole mount, bounded, each decoded once.

Owns memory and threads; what a chunk is and how it is decoded is told with
each call. Several callers that want the same chunk at once share one decoding
(single flight). Any thread may call it.

Lock order: `_lock` only; nothing is called with it held.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any, Final

import numpy.typing as npt

from zarrfs.errors import UnavailableError
from zarrfs.storage.backend import CacheStats

Array = npt.NDArray[Any]
Load = Callable[[], Array]

DEFAULT_BYTES: Final = 256 << 20


class ChunkCache:
    """The decoded chunks last used, and a pool of threads that decode ahead.

    Invariant: the held chunks take at most `limit_bytes`.
    """

    def __init__(self, limit_bytes: int = DEFAULT_BYTES, threads: int | None = None) -> None:
        self.limit_bytes = limit_bytes
        self.threads = threads or os.cpu_count() or 1
        self._tokens = count()
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, Array] = OrderedDict()
        """Guarded by: `_lock`."""
        self._held_bytes = 0
        """Guarded by: `_lock`."""
        self._flights: dict[Hashable, Future[Array]] = {}
        """Guarded by: `_lock`."""
        self._hits = self._misses = 0
        """Guarded by: `_lock`."""
        self._pool: ThreadPoolExecutor | None = None
        """Guarded by: `_lock`."""
        self._closed = False
        """Guarded by: `_lock`."""

    def new_token(self) -> int:
        """Return a number that sets one user's keys apart from all others'."""
        return next(self._tokens)

    def get(self, key: Hashable, size_bytes: int, load: Load) -> Array:
        """Return the chunk of a key, decoding it unless it is here or on its way.

        A chunk larger than the whole cache is decoded and not kept. Raises what
        `load` raises, in every caller that waited for it.
        """
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                self._held.move_to_end(key)
                self._hits += 1
                return held
            flight = self._flights.get(key)
            if flight is None:
                own: Future[Array] = Future()
                self._flights[key] = own
                self._misses += 1
        if flight is not None:
            return flight.result()
        return self._fly(key, own, load)

    def ahead(self, key: Hashable, size_bytes: int, load: Load) -> bool:
        """Have a chunk decoded by the pool. Whether that was needed and begun."""
        with self._lock:
            if key in self._held or key in self._flights or self._closed:
                return False
            if size_bytes * (len(self._flights) + 1) > self.limit_bytes // 2:
                return False
            flight: Future[Array] = Future()
            self._flights[key] = flight
            self._misses += 1
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, "zarrfs-decode")
            pool = self._pool
        try:
            task = pool.submit(self._fly_quietly, key, flight, load)
        except RuntimeError:  # closed meanwhile
            self._give_up(key, flight)
            return False
        task.add_done_callback(lambda t: self._give_up(key, flight) if t.cancelled() else None)
        return True

    def _give_up(self, key: Hashable, flight: Future[Array]) -> None:
        with self._lock:
            del self._flights[key]
        flight.set_exception(UnavailableError("chunk", "the view was closed"))

    def _fly(self, key: Hashable, flight: Future[Array], load: Load) -> Array:
        try:
            chunk = load()
        except BaseException as error:
            with self._lock:
                del self._flights[key]
            flight.set_exception(error)
            raise
        with self._lock:
            self._keep(key, chunk)
            del self._flights[key]
        flight.set_result(chunk)
        return chunk

    def _fly_quietly(self, key: Hashable, flight: Future[Array], load: Load) -> None:
        try:
            self._fly(key, flight, load)
        except Exception:
            pass  # whoever reads the chunk meets the error again

    def _keep(self, key: Hashable, chunk: Array) -> None:
        """Hold a chunk and let go of the oldest. The caller holds `_lock`."""
        if chunk.nbytes > self.limit_bytes or self._closed:
            return
        self._held[key] = chunk
        self._held_bytes += chunk.nbytes
        while self._held_bytes > self.limit_bytes:
            _key, oldest = self._held.popitem(last=False)
            self._held_bytes -= oldest.nbytes

    def holds(self, key: Hashable) -> bool:
        """Whether a chunk is here; a single look needs no lock."""
        return key in self._held

    def stats(self) -> CacheStats:
        with self._lock:
            return CacheStats(self._hits, self._misses, self._held_bytes)

    def close(self) -> None:
        """Let go of all chunks and threads; later reads decode without keeping."""
        with self._lock:
            self._closed = True
            self._held.clear()
            self._held_bytes = 0
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def check_invariants(self) -> None:
        with self._lock:
            held = sum(chunk.nbytes for chunk in self._held.values())
            assert held == self._held_bytes <= self.limit_bytes
