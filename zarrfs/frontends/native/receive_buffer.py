"""The memory that requests are read into.

A kernel copies whole pages best: from page to page, none across a boundary, and
never with source and target a few bytes apart, which `rep movsb` of some
processors does at a quarter of its speed. So the data of a WRITE begins at a page.

All of the memory is there from the beginning. A process that is killed while the
kernel copies a request into pages that are still missing makes the kernel fail
the request with EIO, and no successor can have it sent again.

A buffer belongs to one thread.

Source: fuse_dev_do_read() and fuse_copy_fill() in fs/fuse/dev.c; MAP_POPULATE in mmap(2).
"""

from __future__ import annotations

import mmap
from typing import Final

from zarrfs.fuse_protocol.requests import WRITE_DATA_OFFSET

LARGEST_WRITE: Final = 1 << 20
_PAGE: Final = mmap.PAGESIZE
_FLAGS: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)


def receive_buffer() -> memoryview:
    """Return memory for one request; the kernel refuses to fill anything smaller."""
    memory = mmap.mmap(-1, LARGEST_WRITE + 2 * _PAGE, _FLAGS)
    return memoryview(memory)[_PAGE - WRITE_DATA_OFFSET :]
