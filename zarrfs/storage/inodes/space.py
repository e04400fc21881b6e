"""The bytes of a journal's file: handed out at the tail, read, and given back.

Space is only ever taken at the tail, so what is durable is never overwritten.
What dies is returned to the system by punching holes, page by page, but not
before nobody can be reading it: neither through a mapping (`windows`) nor in a
`pin`ned read. Knows nothing of records or files. Any thread may call it.
Specification: fallocate(2), memfd_create(2).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple

from zarrfs.errors import NoSpaceError, UnavailableError
from zarrfs.storage.inodes.windows import WINDOW_BYTES, Windows, close_if_unused

PAGE = 4096
BATCH_BYTES = 8 << 20
"""Dead bytes that are gathered before their pages are given back."""

_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Ranges = list[tuple[int, int]]


class _Batch(NamedTuple):
    """Ranges to punch once every pin up to `epoch` is gone and `windows` close."""

    ranges: Ranges
    epoch: int
    windows: list[mmap.mmap]


class Space:
    """Room in one file, from `tail` to its end.

    `mapped` says that the file is a memfd: it is read through mappings, and
    nothing of it needs to be synced. `limit_bytes` bounds what is in use.
    """

    def __init__(self, fd: int, *, mapped: bool, limit_bytes: int | None = None) -> None:
        self.fd = fd
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._windows = Windows(fd) if mapped else None  # Guarded by: _lock
        self._mapped_end = 0  # Guarded by: _lock
        self.tail = PAGE  # Guarded by: _lock
        self.in_use_bytes = 0  # Guarded by: _lock
        self._dead_in_page: dict[int, int] = {}  # Guarded by: _lock. Pages dead in part
        self._dying: Ranges = []  # Guarded by: _lock
        self._dying_bytes = 0  # Guarded by: _lock
        self._batches: deque[_Batch] = deque()  # Guarded by: _lock
        self._epoch = 0  # Guarded by: _lock
        self._pins: dict[int, int] = {}  # Guarded by: _lock. Epoch -> readers

    # Taking space

    def store(self, data: bytes | bytearray | memoryview, after: int = -1) -> int:
        """Write data at the tail and return its offset.

        Large data begins a page of its own, so that all of it can be given
        back, unless it continues what ends at `after`.
        Raises: NoSpaceError.
        """
        offset = self.reserve(len(data), after=after)
        try:
            self.write_at(offset, data)
        except BaseException:
            self.release(((offset, offset + len(data)),))
            raise
        return offset

    def reserve(self, size: int, *, after: int = -1, limited: bool = True) -> int:
        """Take `size` bytes at the tail. Raises: NoSpaceError."""
        with self._lock:
            limit = self.limit_bytes if limited else None
            if limit is not None and self.in_use_bytes + size > limit:
                raise NoSpaceError(reason=f"the limit of {limit} bytes is reached")
            offset = self.tail
            if size >= PAGE and offset % PAGE and offset != after:
                offset += PAGE - offset % PAGE
                self._bury(self.tail, offset)
            self.tail = offset + size
            self.in_use_bytes += size
            if self._windows is not None and self.tail > self._mapped_end:
                self._mapped_end = -(-self.tail // WINDOW_BYTES) * WINDOW_BYTES
                os.ftruncate(self.fd, self._mapped_end)
            return offset

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Fill space taken before. Raises: NoSpaceError, UnavailableError."""
        try:
            written = os.pwrite(self.fd, data, offset)
            while written < len(data):
                written += os.pwrite(self.fd, memoryview(data)[written:], offset + written)
        except OSError as error:
            if error.errno in _FULL:
                raise NoSpaceError(reason="no space left for the journal") from error
            raise UnavailableError(reason=f"writing the journal: {error.strerror}") from error

    def write_durably(self, offset: int, data: bytes) -> None:
        """Write a few bytes and sync just them, not all that was written before.

        Raises: as `write_at`. Source: pwritev2(2), RWF_DSYNC.
        """
        if not hasattr(os, "RWF_DSYNC"):
            self.write_at(offset, data)
            os.fsync(self.fd)
            return
        try:
            os.pwritev(self.fd, [data], offset, os.RWF_DSYNC)
        except OSError as error:
            raise UnavailableError(reason=f"writing the journal: {error.strerror}") from error

    def allocate_blocks(self, offset: int, size: int) -> None:
        """posix_fallocate(3): writing there will not meet a full disk. Raises: NoSpaceError."""
        try:
            os.posix_fallocate(self.fd, offset, size)
        except OSError as error:
            if error.errno in _FULL:
                raise NoSpaceError(reason="no space left for the journal") from error
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise UnavailableError(reason=f"growing the journal: {error.strerror}") from error

    # Reading

    def mapped_view(self, offset: int, size: int) -> memoryview | None:
        """Return bytes without a copy, or None where that cannot be done."""
        if self._windows is None:
            return None
        with self._lock:
            return self._windows.slice(offset, size)

    def view(self, offset: int, size: int) -> bytes | memoryview:
        """Return bytes, without a copy where the file is mapped.

        The caller holds a pin, or the lock under which ranges are released.
        """
        view = self.mapped_view(offset, size)
        if view is not None:
            return view
        data = os.pread(self.fd, size, offset)
        while len(data) < size:
            more = os.pread(self.fd, size - len(data), offset + len(data))
            if not more:
                raise UnavailableError(reason=f"the journal ends at {offset + len(data)}")
            data += more
        return data

    def pin(self) -> int:
        """Keep all space that is in use now readable until `unpin`."""
        with self._lock:
            self._pins[self._epoch] = self._pins.get(self._epoch, 0) + 1
            return self._epoch

    def unpin(self, epoch: int) -> None:
        with self._lock:
            if self._pins[epoch] > 1:
                self._pins[epoch] -= 1
                return
            del self._pins[epoch]
            self._punch_ready()

    # Giving space back

    def release(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Give back `[begin, end)` ranges that nothing refers to any more."""
        with self._lock:
            for begin, end in ranges:
                self.in_use_bytes -= end - begin
                self._bury(begin, end)
            if self._dying_bytes >= BATCH_BYTES:
                self._start_batch()
                self._punch_ready()

    def reclaim(self) -> None:
        """Give back now what is dead, as far as nobody reads it."""
        with self._lock:
            if self._dying:
                self._start_batch()
            self._punch_ready()

    def restore(self, live: Iterable[tuple[int, int]]) -> None:
        """After a replay: only `live` ranges are in use; the rest is given back."""
        end = PAGE
        gaps: Ranges = []
        in_use = 0
        for begin, stop in sorted(live):
            if begin > end:
                gaps.append((end, begin))
            if stop > end:
                in_use += stop - max(begin, end)
                end = stop
        with self._lock:
            self.tail = end
            self.in_use_bytes = in_use
            if self._windows is not None:
                self._mapped_end = -(-end // WINDOW_BYTES) * WINDOW_BYTES
                os.ftruncate(self.fd, end)
                os.ftruncate(self.fd, self._mapped_end)
            for begin, stop in gaps:
                self._bury(begin, stop)
        self.reclaim()

    def _bury(self, begin: int, end: int) -> None:
        """Queue the full pages of a dead range; count the bytes of its ragged ends."""
        first = -(-begin // PAGE) * PAGE
        last = end // PAGE * PAGE
        if first > last:
            self._count_dead(last, end - begin)
            return
        if begin < first:
            self._count_dead(first - PAGE, first - begin)
        if last < end:
            self._count_dead(last, end - last)
        if first < last:
            self._dying.append((first, last))
            self._dying_bytes += last - first

    def _count_dead(self, page: int, size: int) -> None:
        dead = self._dead_in_page.get(page, 0) + size
        if dead < PAGE:
            self._dead_in_page[page] = dead
            return
        self._dead_in_page.pop(page, None)
        self._dying.append((page, page + PAGE))
        self._dying_bytes += PAGE

    def _start_batch(self) -> None:
        ranges = _joined(self._dying)
        windows: list[mmap.mmap] = []
        if self._windows is not None:
            for begin, end in ranges:
                windows += self._windows.retire(begin, end)
        self._batches.append(_Batch(ranges, self._epoch, windows))
        self._dying = []
        self._dying_bytes = 0
        self._epoch += 1

    def _punch_ready(self) -> None:
        """Punch batches in order while nobody can be reading them.

        Order matters: a later batch may rely on a window an earlier one retired.
        """
        while self._batches:
            ranges, epoch, windows = self._batches[0]
            if any(pinned <= epoch for pinned in self._pins):
                return
            windows[:] = [window for window in windows if not close_if_unused(window)]
            if windows:
                return
            self._batches.popleft()
            for begin, end in ranges:
                punch_hole(self.fd, begin, end - begin)

    def capacity_bytes(self) -> tuple[int, int]:
        """Return how much there is altogether, and how much of it is free."""
        if self.limit_bytes is not None:
            return self.limit_bytes, max(0, self.limit_bytes - self.in_use_bytes)
        disk = os.fstatvfs(self.fd)
        return disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize

    def close(self) -> None:
        """Unmap what nobody reads; the descriptor stays the caller's."""
        with self._lock:
            if self._windows is not None:
                for window in self._windows.retire_all():
                    close_if_unused(window)
            for batch in self._batches:
                for window in batch.windows:
                    close_if_unused(window)
            self._batches.clear()


def _joined(ranges: Ranges) -> Ranges:
    joined: Ranges = []
    for begin, end in sorted(ranges):
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


@cache
def _fallocate() -> Callable[[int, int, int, int], int]:
    try:
        function = ctypes.CDLL(None, use_errno=True).fallocate64
    except AttributeError:  # not Linux
        return lambda *_: -1
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return function


def punch_hole(fd: int, offset: int, size: int) -> bool:
    """fallocate(2) with FALLOC_FL_PUNCH_HOLE; False where the file system cannot."""
    return _fallocate()(fd, _KEEP_SIZE_PUNCH_HOLE, offset, size) == 0
