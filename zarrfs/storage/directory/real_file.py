"""A file of the file system underneath, open.

Any thread may call the methods of `RealFile`; positions are always given, so
that the descriptor's own offset does not matter.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from zarrfs.storage.directory.descriptors import Descriptor
from zarrfs.storage.directory.syscalls import fallocate
from zarrfs.storage.tree import Buffer

_CLOSED = Descriptor(-1)


class RealFile:
    """`OpenFile` over a descriptor, which the kernel may use by itself."""

    __slots__ = ("_descriptor", "_on_close")

    def __init__(
        self, descriptor: Descriptor, on_close: Callable[[Descriptor], None] | None = None
    ) -> None:
        self._descriptor = descriptor
        self._on_close = on_close

    def read(self, offset: int, size: int) -> Buffer:
        return os.pread(self._descriptor.fd, size, offset)

    def write(self, offset: int, data: Buffer) -> int:
        fd = self._descriptor.fd
        written = os.pwrite(fd, data, offset)
        if written == len(data):
            return written
        view = memoryview(data)
        while written < len(view):  # nearly full: the next call says ENOSPC
            written += os.pwrite(fd, view[written:], offset + written)
        return written

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor.fd, size)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        fallocate(self._descriptor.fd, mode, offset, length)

    def seek(self, offset: int, whence: int) -> int:
        return os.lseek(self._descriptor.fd, offset, whence)

    def sync(self, *, data_only: bool) -> None:
        if data_only:
            os.fdatasync(self._descriptor.fd)
        else:
            os.fsync(self._descriptor.fd)

    def flush(self) -> None:
        """Let file systems that write on close (NFS) report what they met."""
        os.close(os.dup(self._descriptor.fd))

    def fileno(self) -> int:
        return self._descriptor.fd

    def close(self) -> None:
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close(self._descriptor)
        # The number is given back with the last reference to the descriptor:
        # a read in another thread may be under way.
        self._descriptor = _CLOSED
