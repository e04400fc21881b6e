"""An archive whose name was given to another file while it was open for writing.

Commits go on into the file that was opened. If that has no name any more, it is
gone with its last descriptor, so it is copied beside the other when it is
closed. Whoever holds the archive's lock calls this.
"""

from __future__ import annotations

import itertools
import os
import stat
from contextlib import suppress
from typing import Final

from zarrfs.storage.zip.writable_journal import sync_folder

DISPLACED_SUFFIX: Final = ".zarrfs-displaced"
"""Of the name under which it is kept; `-2` and so on follow where that is taken."""


def is_displaced(fd: int, path: str) -> bool:
    """Whether a path does not lead to an open file any more."""
    try:
        return not os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return True


def has_no_name(fd: int) -> bool:
    return os.fstat(fd).st_nlink == 0


def keep_displaced(fd: int, path: str) -> str:
    """Copy a file that has no name to a free one beside `path`; return that.

    Source: copy_file_range(2), which shares the blocks where the file system can.
    Raises: OSError.
    """
    status = os.fstat(fd)
    copy_path, copy_fd = _create_free(path + DISPLACED_SUFFIX, stat.S_IMODE(status.st_mode))
    try:
        done = 0
        while done < status.st_size:
            copied = os.copy_file_range(fd, copy_fd, status.st_size - done, done, done)
            if not copied:
                break
            done += copied
        os.fsync(copy_fd)
    except BaseException:
        with suppress(OSError):
            os.unlink(copy_path)
        raise
    finally:
        os.close(copy_fd)
    sync_folder(copy_path)
    return copy_path


def _create_free(path: str, mode: int) -> tuple[str, int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    for number in itertools.count(1):
        name = path if number == 1 else f"{path}-{number}"
        with suppress(FileExistsError):
            return name, os.open(name, flags, mode)
    raise AssertionError
