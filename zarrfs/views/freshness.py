"""`ContentTime`: when what a generated file shows changed last.

Owns the question whether any of many chunks changed since it was asked last.
A static source is never asked. Any thread may call it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import islice
from typing import Final

from zarrfs.errors import NotFoundError
from zarrfs.views.chunks import Chunks

TRUST_S: Final = 0.5
"""How long an answer holds; a change shows within a second all in all."""

MOST_ASKED: Final = 4096
"""With more chunks than this, a file counts as changed whenever that is asked."""


class ContentTime:
    """The time to show for a file made of an array's chunks."""

    def __init__(self, base_ns: int, chunks: Sequence[Chunks], *, static: bool) -> None:
        self._chunks = chunks
        self._static = static
        self._lock = threading.Lock()
        self._mtime_ns = base_ns
        """Guarded by: `_lock`."""
        self._seen: tuple[int, int, int] | None = None
        """Count, newest and sum of the chunks' times. Guarded by: `_lock`."""
        self._asked_s = float("-inf")
        """Guarded by: `_lock`."""

    def mtime_ns(self) -> int:
        with self._lock:
            if self._static or time.monotonic() - self._asked_s < TRUST_S:
                return self._mtime_ns
            seen = self._look()
            if seen is None:
                self._mtime_ns = max(self._mtime_ns + 1, time.time_ns())
            elif seen != self._seen:
                # A chunk that was deleted leaves no newer time behind.
                later = self._mtime_ns + 1 if self._seen is not None else self._mtime_ns
                self._mtime_ns = max(later, seen[1])
                self._seen = seen
            self._asked_s = time.monotonic()
            return self._mtime_ns

    def _look(self) -> tuple[int, int, int] | None:
        times: list[int] = []
        for chunks in self._chunks:
            for index in islice(chunks.indices(), MOST_ASKED + 1 - len(times)):
                try:
                    times.append(chunks.stat(index).mtime_ns)
                except NotFoundError:
                    continue
            if len(times) > MOST_ASKED:
                return None
        return len(times), max(times, default=0), sum(times)
