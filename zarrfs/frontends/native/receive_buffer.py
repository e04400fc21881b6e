"""The memory that requests are read into.

A kernel copies whole pages best: from page to page, none across a boundary, and
never with source and target a few bytes apart, which `rep movsb` of some
processors does at a quarter of its speed. So the data of a WRITE begins at a page.

A buffer belongs to one thread.
"""

from __future__ import annotations

import mmap
from typing import Final

from zarrfs.fuse_protocol.requests import WRITE_DATA_OFFSET

LARGEST_WRITE: Final = 1 << 20
_PAGE: Final = mmap.PAGESIZE


def receive_buffer() -> memoryview:
    """Return memory for one request; the kernel refuses to fill anything smaller."""
    memory = mmap.mmap(-1, LARGEST_WRITE + 2 * _PAGE)
    return memoryview(memory)[_PAGE - WRITE_DATA_OFFSET :]
