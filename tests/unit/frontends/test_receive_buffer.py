"""Where the data of a WRITE comes to lie."""

from __future__ import annotations

import ctypes
import mmap

from zarrfs.frontends.native.receive_buffer import LARGEST_WRITE, receive_buffer
from zarrfs.fuse_protocol.requests import WRITE_DATA_OFFSET


def test_the_data_of_a_write_begins_at_a_page() -> None:
    buffer = receive_buffer()
    data = ctypes.c_char.from_buffer(buffer, WRITE_DATA_OFFSET)
    assert ctypes.addressof(data) % mmap.PAGESIZE == 0
    # The kernel wants room for the largest write and a page of headers.
    assert len(buffer) >= LARGEST_WRITE + WRITE_DATA_OFFSET
    assert len(buffer) >= LARGEST_WRITE + mmap.PAGESIZE
