"""Checks the CRC-32 of stored entries while their bytes pass through.

Several threads read pieces of one entry in any order; once every byte was
seen, the pieces' checksums are combined. Entries that were read only in part
are not checked: nobody has seen enough of them. Any thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from zarrfs.storage.zip.checksums import crc32_combine

_TRACKED: Final = 64
"""Entries half read at once; the one not read for longest starts again."""


class _Pieces:
    """The parts of one entry that were seen, by where they begin."""

    def __init__(self) -> None:
        self.by_start: dict[int, tuple[int, int]] = {}
        self.by_stop: dict[int, int] = {}

    def add(self, start: int, stop: int, crc: int) -> tuple[int, int, int]:
        """Join a piece to its neighbours; return what it became part of."""
        before = self.by_stop.pop(start, None)
        if before is not None:
            _, crc_before = self.by_start.pop(before)
            crc = crc32_combine(crc_before, crc, stop - start)
            start = before
        after = self.by_start.pop(stop, None)
        if after is not None:
            stop_after, crc_after = after
            crc = crc32_combine(crc, crc_after, stop_after - stop)
            del self.by_stop[stop_after]
            stop = stop_after
        self.by_start[start] = (stop, crc)
        self.by_stop[stop] = start
        return start, stop, crc


class Passing:
    """What was seen of entries that are being read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[int, _Pieces] = OrderedDict()  # Guarded by: _lock

    def wants(self, row: int, start: int) -> bool:
        """Whether a piece there would be news, so that its CRC is worth computing."""
        with self._lock:
            pieces = self._entries.get(row)
            return pieces is None or start not in pieces.by_start

    def saw(self, row: int, start: int, stop: int, crc: int, size_bytes: int) -> int | None:
        """Note a piece; return the CRC of the whole once that is complete."""
        with self._lock:
            pieces = self._entries.get(row)
            if pieces is None:
                pieces = self._entries[row] = _Pieces()
            self._entries.move_to_end(row)
            if self._overlaps(pieces, start, stop):
                return None
            joined_start, joined_stop, joined_crc = pieces.add(start, stop, crc)
            complete = joined_start == 0 and joined_stop == size_bytes
            if complete:
                del self._entries[row]
            elif len(self._entries) > _TRACKED:
                self._entries.popitem(last=False)
        return joined_crc if complete else None

    @staticmethod
    def _overlaps(pieces: _Pieces, start: int, stop: int) -> bool:
        return any(
            start < known_stop and known_start < stop
            for known_start, (known_stop, _) in pieces.by_start.items()
        )
