"""The archive's own file: its bytes by position, and whether they are still there.

Owns the descriptor and one mapping of the whole file. Slices of the mapping
go to the kernel without a copy in Python. Whoever looks at bytes or hands out
a slice either reads with `pread`, or asks the file's length first: touching a
page that is gone would kill the process with SIGBUS. Any thread.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from contextlib import suppress
from typing import Final

from zarrfs.errors import (
    CorruptError,
    DeniedError,
    IsAFolderError,
    PathNotFoundError,
    UnavailableError,
    WrongKindError,
)

JOURNAL_SUFFIX: Final = ".zarrfs-journal"
"""What is not yet in an archive lies beside it, under its name with this."""
_REMEDY: Final = "mount or open the archive again"


class ArchiveFile:
    """An archive's file, open for reading.

    With `size_bytes`, only so much of its beginning counts: what follows was
    appended by commits.
    """

    def __init__(
        self, path: str, size_bytes: int | None = None, *, shown_as: str | None = None
    ) -> None:
        """`shown_as` is what errors call it, where it is opened by a descriptor's path."""
        self.path = shown_as or path
        self.fd = _open(path, self.path)
        try:
            self.status = os.fstat(self.fd)
            if not stat.S_ISREG(self.status.st_mode):
                raise WrongKindError(self.path, "not a regular file")
            self.size_bytes = self.status.st_size if size_bytes is None else size_bytes
            if self.size_bytes > self.status.st_size:
                raise CorruptError(self.path, "the archive was cut off")
            self._map = self._mapping()
        except BaseException:
            os.close(self.fd)
            raise
        self.view = memoryview(self._map)
        self._closed = False

    def _mapping(self) -> mmap.mmap | bytes:
        if not self.size_bytes:
            return b""
        return mmap.mmap(self.fd, self.size_bytes, prot=mmap.PROT_READ)

    def read(self, start: int, size: int) -> bytes:
        """Copy bytes. Raises: CorruptError when they are no longer there."""
        try:
            data = os.pread(self.fd, size, start)
        except OSError as error:
            raise UnavailableError(self.path, os.strerror(error.errno or errno.EIO)) from error
        if len(data) < size:
            data = self._read_on(data, start, size)
        return data

    def _read_on(self, data: bytes, start: int, size: int) -> bytes:
        # One call returns at most 2 GiB; only the end of the file gives nothing.
        pieces = [data]
        have = len(data)
        while have < size and pieces[-1]:
            pieces.append(os.pread(self.fd, size - have, start + have))
            have += len(pieces[-1])
        if have < size:
            raise CorruptError(self.path, "the archive was cut off", remedy=_REMEDY)
        return b"".join(pieces)

    def require(self, stop: int) -> None:
        """Make sure that bytes before `stop` can be touched in the mapping.

        Raises: CorruptError. What cuts the file off within the next few
        microseconds still kills the process; nothing in Python can prevent it.
        """
        # Nobody uses the descriptor's position; fstat would cost five times as much.
        if os.lseek(self.fd, 0, os.SEEK_END) < stop:
            raise CorruptError(self.path, "the archive was cut off", remedy=_REMEDY)

    def changed(self) -> bool:
        """Whether somebody wrote to the file since it was opened."""
        now = os.fstat(self.fd)
        before = self.status
        return (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)

    def close(self) -> None:
        """Let go of the file; slices handed out keep the mapping alive."""
        if self._closed:
            return
        self._closed = True
        with suppress(BufferError):
            self.view.release()
            if isinstance(self._map, mmap.mmap):
                self._map.close()
        os.close(self.fd)


def _open(path: str, shown_as: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise PathNotFoundError(shown_as) from error
    except IsADirectoryError as error:
        raise IsAFolderError(shown_as) from error
    except PermissionError as error:
        raise DeniedError(shown_as) from error
    except OSError as error:
        raise UnavailableError(shown_as, os.strerror(error.errno or errno.EIO)) from error
