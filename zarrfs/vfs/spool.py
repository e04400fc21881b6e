"""Bytes of a file that is being written, until they are complete.

Small contents stay in memory; larger ones move to an unnamed temporary file,
so that a client that writes without limit meets ENOSPC and not a dead daemon.
Any thread may call a spool; it has its own lock.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading

from zarrfs.storage.tree import Buffer

IN_MEMORY_BYTES = 1 << 20


class Spool:
    """A resizable run of bytes; gaps read as zeros."""

    def __init__(self, data: Buffer = b"") -> None:
        self._lock = threading.Lock()
        self._memory: bytearray | None = bytearray()
        """Guarded by: `_lock`. None once the bytes are in the file."""
        self._fd = -1
        self._size = 0
        """Guarded by: `_lock`."""
        if len(data):
            self.write(0, data)

    @property
    def size(self) -> int:
        return self._size

    def read(self, offset: int, size: int) -> bytes:
        with self._lock:
            if self._memory is not None:
                return bytes(memoryview(self._memory)[offset : offset + size])
            return os.pread(self._fd, size, offset)

    def write(self, offset: int, data: Buffer) -> int:
        """Raises: OSError ENOSPC."""
        end = offset + len(data)
        with self._lock:
            if self._memory is not None and end > IN_MEMORY_BYTES:
                self._move_to_file(self._memory)
            if self._memory is None:
                self._write_file(offset, memoryview(data))
            else:
                if end > len(self._memory):
                    self._memory.extend(bytes(end - len(self._memory)))
                self._memory[offset:end] = data
            self._size = max(self._size, end)
        return len(data)

    def append(self, data: Buffer) -> int:
        return self.write(self._size, data)

    def truncate(self, size: int) -> None:
        with self._lock:
            if self._memory is not None and size > IN_MEMORY_BYTES:
                self._move_to_file(self._memory)
            if self._memory is None:
                os.ftruncate(self._fd, size)
            elif size <= len(self._memory):
                del self._memory[size:]
            else:
                self._memory.extend(bytes(size - len(self._memory)))
            self._size = size

    def content(self) -> Buffer:
        """Return everything; a large content is mapped, not read.

        A copy or a private mapping of the moment: later writes leave it alone
        only while it is in memory.
        """
        with self._lock:
            if self._memory is not None:
                return bytes(self._memory)
            if not self._size:
                return b""  # nothing cannot be mapped
            return memoryview(mmap.mmap(self._fd, self._size, prot=mmap.PROT_READ))

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd, self._memory, self._size = -1, bytearray(), 0

    def _move_to_file(self, memory: bytearray) -> None:
        """Lock held."""
        with tempfile.TemporaryFile(prefix="zarrfs-") as file:
            self._fd = os.dup(file.fileno())
        self._write_file(0, memoryview(memory))
        self._memory = None

    def _write_file(self, offset: int, view: memoryview) -> None:
        while len(view):
            written = os.pwrite(self._fd, view, offset)
            view, offset = view[written:], offset + written
