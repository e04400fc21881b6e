"""copy_file_range(2) between two open files.

Any thread may call it; the files have their own locks.
"""

from __future__ import annotations

import os

from zarrfs.storage.tree import OpenFile

PIECE_BYTES = 1 << 20
_MOST_BYTES = 64 << 20
"""One request never holds a thread for longer than this takes; the caller asks again."""


def copy_range(
    source: OpenFile, offset_in: int, target: OpenFile, offset_out: int, length: int
) -> int:
    """Copy bytes and return how many; 0 at the end of the source."""
    length = min(length, _MOST_BYTES)
    fd_in, fd_out = source.fileno(), target.fileno()
    if fd_in is not None and fd_out is not None and hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(fd_in, fd_out, length, offset_in, offset_out)
        except OSError:
            pass  # EXDEV, EINVAL, EOPNOTSUPP, ... depend on both file systems; read and write
    copied = 0
    while copied < length:
        piece = source.read(offset_in + copied, min(PIECE_BYTES, length - copied))
        if not len(piece):
            break
        written = target.write(offset_out + copied, piece)
        copied += written
        if written < len(piece):
            break
    return copied
