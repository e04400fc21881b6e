"""Open files and folders by the number the kernel knows them by.

A number holds how the file was opened, and is never used twice, not even by the
process that takes the mount over when this one dies: it counts on from the
time of its start. So a handle that is not known here is a predecessor's, and
its file is opened again as the number says.

Lookups and insertions are single dictionary operations, atomic under the
interpreter lock, so the tables need no lock of their own and any thread may
call them.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zarrfs.errors import StaleError
from zarrfs.storage.tree import DirEntry, NodeId, OpenFile
from zarrfs.vfs.operations import FileHandle

_FLAG_BITS = 3
_APPENDS = 4


@dataclass(slots=True)
class FileSession:
    """One open file."""

    nodeid: NodeId
    file: OpenFile
    flags: int


@dataclass(slots=True)
class FolderSession:
    """One open folder, with the names it had when it was last read from the start."""

    nodeid: NodeId
    names: Sequence[DirEntry] | None = None


class HandleTable:
    """All open files and folders of one mount."""

    def __init__(self, reopen: Callable[[NodeId, int], OpenFile] | None = None) -> None:
        """`reopen` opens a node as open(2) flags say, for a handle of a predecessor."""
        self._reopen = reopen
        # One microsecond of age is more than opening a file takes, so that the
        # numbers of a predecessor all lie below.
        self._next = itertools.count(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
        self._files: dict[int, FileSession] = {}
        self._folders: dict[int, FolderSession] = {}

    def add_file(self, session: FileSession) -> FileHandle:
        handle = FileHandle(next(self._next) << _FLAG_BITS | _packed(session.flags))
        self._files[handle] = session
        return handle

    def add_folder(self, session: FolderSession) -> FileHandle:
        handle = FileHandle(next(self._next) << _FLAG_BITS)
        self._folders[handle] = session
        return handle

    def file(self, nodeid: NodeId, handle: FileHandle) -> OpenFile:
        """Return an open file. Raises: StaleError, and what opening it again raises."""
        session = self._files.get(handle)
        return self._reopened(nodeid, handle) if session is None else session.file

    def _reopened(self, nodeid: NodeId, handle: FileHandle) -> OpenFile:
        """Open what a predecessor had open; two threads may try at once."""
        if self._reopen is None or handle >> _FLAG_BITS == 0:
            raise StaleError(f"file handle {handle}", "not open")
        flags = _unpacked(handle)
        session = FileSession(nodeid, self._reopen(nodeid, flags), flags)
        first = self._files.setdefault(handle, session)
        if first is not session:
            session.file.close()
        return first.file

    def folder(self, handle: FileHandle) -> FolderSession | None:
        """Return the session, or None for a folder that was never opened."""
        return self._folders.get(handle)

    def pop_file(self, handle: FileHandle) -> FileSession | None:
        return self._files.pop(handle, None)

    def pop_folder(self, handle: FileHandle) -> None:
        self._folders.pop(handle, None)

    def pop_all_files(self) -> list[FileSession]:
        """Empty the table and return the files that were open."""
        sessions = []
        while self._files:
            try:
                sessions.append(self._files.popitem()[1])
            except KeyError:  # another thread took the last one
                break
        self._folders.clear()
        return sessions

    def __len__(self) -> int:
        return len(self._files) + len(self._folders)


def _packed(flags: int) -> int:
    return flags & os.O_ACCMODE | (_APPENDS if flags & os.O_APPEND else 0)


def _unpacked(handle: int) -> int:
    return handle & os.O_ACCMODE | (os.O_APPEND if handle & _APPENDS else 0)
