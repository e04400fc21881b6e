"""Decompressed entries, kept while they fit.

Owns a least-recently-used cache bounded in bytes, and sees to it that no two
threads decompress the same entry at once: the second waits for the first. Any
thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from zarrfs.storage.backend import CacheStats


class _Flight:
    """One entry being decompressed."""

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.data = b""
        self.error: BaseException | None = None


class DecodedCache:
    """Bytes by row, at most `limit_bytes` of them."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, bytes] = OrderedDict()  # Guarded by: _lock
        self._kept_bytes = 0  # Guarded by: _lock
        self._flights: dict[int, _Flight] = {}  # Guarded by: _lock
        self._hits = self._misses = 0  # Guarded by: _lock

    @property
    def kept_bytes(self) -> int:
        with self._lock:
            return self._kept_bytes

    def stats(self) -> CacheStats:
        with self._lock:
            return CacheStats(self._hits, self._misses, self._kept_bytes)

    def get(self, row: int, decode: Callable[[], bytes]) -> bytes:
        """Return what `decode` makes of an entry, now or before.

        An error of `decode` reaches everybody who waits for it; it is not kept.
        """
        with self._lock:
            data = self._kept.get(row)
            if data is not None:
                self._kept.move_to_end(row)
                self._hits += 1
                return data
            flight = self._flights.get(row)
            mine = flight is None
            if flight is None:
                self._misses += 1
                flight = self._flights[row] = _Flight()
        if not mine:
            flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            return flight.data
        return self._fly(row, flight, decode)

    def _fly(self, row: int, flight: _Flight, decode: Callable[[], bytes]) -> bytes:
        try:
            flight.data = decode()
        except BaseException as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                del self._flights[row]
                if flight.error is None:
                    self._keep(row, flight.data)
            flight.landed.set()
        return flight.data

    def _keep(self, row: int, data: bytes) -> None:
        if len(data) > self.limit_bytes:
            return
        self._kept[row] = data
        self._kept_bytes += len(data)
        while self._kept_bytes > self.limit_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest)

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._kept_bytes = 0
