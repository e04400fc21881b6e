"""The journal beside an archive: `NAME.zarrfs-journal`, its lock, what it says of commits.

The lock (flock) on the journal and on the archive makes the writer the only
one; the journal's header names its pid, and its context says which archive it
belongs to and where the latest commit ended. One thread opens a journal. Specification: flock(2).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

from zarrfs.errors import (
    BusyError,
    CorruptError,
    CreateFailedError,
    DeniedError,
    ReadOnlyError,
    UnavailableError,
)
from zarrfs.storage.inodes.journal import Journal, read_header
from zarrfs.storage.inodes.space import Space
from zarrfs.storage.zip.archive_file import JOURNAL_SUFFIX

_TAIL_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class ArchiveMark:
    """An archive's file at one moment, to know it again by.

    One that has no name yet, because it is being made, has no bytes.
    """

    archive_bytes: int
    tail_crc: int
    """Of its last 64 KiB: its end record and the end of its directory."""
    inode: int

    @classmethod
    def of(cls, fd: int, archive_bytes: int | None = None) -> ArchiveMark:
        status = os.fstat(fd)
        size = status.st_size if archive_bytes is None else archive_bytes
        tail = min(size, _TAIL_BYTES)
        return cls(size, zlib.crc32(os.pread(fd, tail, size - tail)), status.st_ino)

    def matches(self, fd: int) -> bool:
        """Whether a file still begins with the archive that this is the mark of."""
        status = os.fstat(fd)
        if not self.archive_bytes:
            return status.st_ino == self.inode
        if status.st_size < self.archive_bytes:
            return False
        return ArchiveMark.of(fd, self.archive_bytes).tail_crc == self.tail_crc


@dataclass(frozen=True, slots=True)
class JournalContext:
    """What a journal belongs to."""

    first: ArchiveMark
    """The archive as it was when the journal was begun: the tree's base."""
    committed: ArchiveMark
    """The archive as the latest commit left it."""
    position: int = 0
    """Of the journal: that commit holds all records before it."""
    announced_bytes: int = 0
    """Where the commit ends whose last bytes were about to be written..."""
    announced_position: int = 0
    """...and the position that it will have."""

    @classmethod
    def begin(cls, archive: ArchiveMark) -> JournalContext:
        return cls(archive, archive)

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, text: bytes) -> JournalContext:
        fields = json.loads(text)
        for name in ("first", "committed"):
            fields[name] = ArchiveMark(**fields[name])
        return cls(**fields)


def journal_path(archive_path: str) -> str:
    return archive_path + JOURNAL_SUFFIX


class JournalFile:
    """The journal's file, locked by this process."""

    def __init__(self, archive_path: str) -> None:
        """Open the file, or make an empty one.

        Raises: BusyError, DeniedError, ReadOnlyError, CreateFailedError.
        """
        self.path = journal_path(archive_path)
        self.fd = _open_locked(archive_path, self.path)
        self.space = Space(self.fd, mapped=False)

    def open(self) -> Journal | None:
        """Return the journal that a crash left; None if there is none."""
        try:
            return Journal.open(self.space, durable=True)
        except CorruptError:
            if os.fstat(self.fd).st_size > _TAIL_BYTES * 2:
                raise  # more than a beginning that was cut short
            self.discard()
            return None

    def create(self, context: JournalContext) -> Journal:
        """Raises: NoSpaceError."""
        journal = Journal.create(self.space, durable=True, context=context.encode())
        sync_folder(self.path)
        return journal

    def discard(self) -> None:
        """Forget the journal; another one can be created."""
        os.ftruncate(self.fd, 0)
        self.space = Space(self.fd, mapped=False)

    def remove_if_empty(self) -> None:
        if not os.fstat(self.fd).st_size:
            self.remove()

    def remove(self) -> None:
        """Everything it holds is in the archive."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        sync_folder(self.path)

    def close(self) -> None:
        os.close(self.fd)


def _open_locked(archive_path: str, path: str) -> int:
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError as error:
            reason = "its journal cannot be made in the archive's folder"
            raise DeniedError(archive_path, reason) from error
        except OSError as error:
            if error.errno == errno.EROFS:
                raise ReadOnlyError(archive_path, "on a read-only file system") from error
            raise CreateFailedError(path, os.strerror(error.errno or 0)) from error
        try:
            lock(fd, archive_path, fd)
            # The holder before us may have removed the file that we opened.
            if os.path.exists(path) and os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def lock(fd: int, archive_path: str, journal_fd: int) -> None:
    """Lock a file for this process. Raises: BusyError."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder_pid = None
        with suppress(CorruptError):
            holder_pid = read_header(journal_fd).pid
        raise BusyError(archive_path, holder_pid=holder_pid) from error


def sync_folder(path: str) -> None:
    """Make the names in a path's folder durable."""
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        raise UnavailableError(path, f"syncing its folder: {error.strerror}") from error
    finally:
        os.close(fd)
