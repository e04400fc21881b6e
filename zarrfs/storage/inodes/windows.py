"""Large read-only mappings of a memfd, from which reads take slices.

A slice keeps its mapping exported for as long as anybody holds it; so a
mapping that was *retired* (no longer used for new slices) and can be closed
proves that nobody reads the memory through it any more. `space` relies on that
before it gives memory back. Not thread-safe: `space` holds its lock.
"""

from __future__ import annotations

import mmap

WINDOW_BYTES = 256 << 20


class Windows:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._current: dict[int, mmap.mmap] = {}

    def slice(self, offset: int, size: int) -> memoryview | None:
        """Return the bytes without a copy; None where they straddle two windows.

        The file must reach to the end of the window.
        """
        number, begin = divmod(offset, WINDOW_BYTES)
        end = begin + size
        if end > WINDOW_BYTES:
            return None
        window = self._current.get(number)
        if window is None:
            window = self._current[number] = mmap.mmap(
                self._fd,
                WINDOW_BYTES,
                flags=mmap.MAP_SHARED,
                prot=mmap.PROT_READ,
                offset=number * WINDOW_BYTES,
            )
        return memoryview(window)[begin:end]

    def retire(self, offset: int, end: int) -> list[mmap.mmap]:
        """Take the windows that cover a range out of use; return those that were open."""
        numbers = range(offset // WINDOW_BYTES, -(-end // WINDOW_BYTES))
        return [self._current.pop(number) for number in numbers if number in self._current]

    def retire_all(self) -> list[mmap.mmap]:
        windows = list(self._current.values())
        self._current.clear()
        return windows


def close_if_unused(window: mmap.mmap) -> bool:
    """Close a retired window; False while somebody still holds a slice of it."""
    try:
        window.close()
    except BufferError:
        return False
    return True
