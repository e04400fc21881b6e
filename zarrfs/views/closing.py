"""`ClosesCache`: a stack of views that owns its chunk cache.

Owns closing both; everything else goes straight to the view on top. All
methods may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator

from zarrfs.storage.backend import Backend, Buffer, CacheStats, Key, KeyStat, Listed
from zarrfs.views.chunk_cache import ChunkCache
from zarrfs.views.view import View


class ClosesCache(View):
    """The topmost view of a stack."""

    def __init__(self, source: Backend, cache: ChunkCache) -> None:
        super().__init__(source)
        self.cache = cache
        # Bound once: a chunk's way through the stack is counted in microseconds.
        self.get = source.get  # type: ignore[method-assign]  # the same contract
        self.stat = source.stat  # type: ignore[method-assign]  # the same contract

    @property
    def read_only(self) -> bool:
        return self.source.read_only

    def set(self, key: Key, data: Buffer) -> None:
        self.source.set(key, data)

    def delete(self, key: Key) -> None:
        self.source.delete(key)

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        return self.source.get(key, start, stop)

    def stat(self, key: Key) -> KeyStat:
        return self.source.stat(key)

    def list_dir(self, prefix: Key) -> Iterator[Listed]:
        return self.source.list_dir(prefix)

    def list_keys(self, prefix: Key) -> Iterator[Key]:
        return self.source.list_keys(prefix)

    def cache_stats(self) -> CacheStats:
        return self.cache.stats()

    def close(self) -> None:
        self.cache.close()
        self.source.close()
