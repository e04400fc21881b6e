"""Open files and folders by the number the kernel knows them by.

A handle number is never used twice in one process. Lookups and insertions are
single dictionary operations, atomic under the interpreter lock, so the tables
need no lock of their own and any thread may call them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from zarrfs.errors import StaleError
from zarrfs.storage.tree import DirEntry, NodeId, OpenFile
from zarrfs.vfs.operations import FileHandle


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

    def __init__(self) -> None:
        self._next = itertools.count(1)
        self._files: dict[int, FileSession] = {}
        self._folders: dict[int, FolderSession] = {}

    def add_file(self, session: FileSession) -> FileHandle:
        handle = FileHandle(next(self._next))
        self._files[handle] = session
        return handle

    def add_folder(self, session: FolderSession) -> FileHandle:
        handle = FileHandle(next(self._next))
        self._folders[handle] = session
        return handle

    def file(self, handle: FileHandle) -> FileSession:
        """Raises: StaleError."""
        try:
            return self._files[handle]
        except KeyError:
            raise StaleError(f"file handle {handle}", "not open") from None

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
