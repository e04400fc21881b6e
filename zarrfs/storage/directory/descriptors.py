"""File descriptors that close when nobody holds them any more.

A descriptor may be in use by one thread while another evicts or closes it; a
number closed too early would soon name another file. So threads hold objects,
and the last one to let go closes.
"""

from __future__ import annotations

import os


class Descriptor:
    """A file descriptor; `fd` is valid as long as the object is held.

    So the object needs a variable of its own around a system call:
    `os.fstat(get().fd)` may find the descriptor closed.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        try:
            os.close(self.fd)
        except OSError:
            pass  # what close reports (EIO, EDQUOT) was told by fsync, or nobody asked

    def proc_path(self) -> bytes:
        """Return a path that means this very file, even one opened with O_PATH."""
        return b"/proc/self/fd/%d" % self.fd
