"""A zip archive, open for reading and writing.

Files and keys are an inode tree over the archive's directory; every change
goes to the journal beside the archive, and what fsync returned for is safe
there. A *commit* appends what changed, a whole new directory and its end to
the archive, so that other programs see it: on `flush` and `close`, and every
`commit_interval_s` while there is something to commit. The protocol:

1. The journal says where the archive ends (`COMMIT_BEGUN`), and is synced.
2. Entries, directory and end are appended; the archive is synced.
3. The journal says where the archive ends now (`COMMIT_DONE`), and which
   contents are in the archive, whose copies in the journal are then given up.

A crash in 2 leaves a tail that the next opening cuts off, or keeps if it is
whole; a crash at any time leaves the journal, from which the next opening goes
on. After a failed commit the archive is cut back to what it was. A new archive
is made under another name and gets its own with the first commit.

Any thread. Lock order: `_commit_lock`, then the tree's.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from typing import Final

from zarrfs.errors import (
    DeniedError,
    ExistsError,
    NoSpaceError,
    PathNotFoundError,
    PathRequiredError,
    ReadOnlyError,
    UnavailableError,
)
from zarrfs.storage.backend import Key
from zarrfs.storage.inodes.base import Base
from zarrfs.storage.inodes.keys import TreeKeys
from zarrfs.storage.inodes.node import Node
from zarrfs.storage.inodes.records import Note, Settled
from zarrfs.storage.tree import Owner
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.base import ArchiveBase
from zarrfs.storage.zip.content import DEFAULT_CACHE_BYTES
from zarrfs.storage.zip.tree import ArchiveTree
from zarrfs.storage.zip.writable_append import Appended, append_commit
from zarrfs.storage.zip.writable_base import NoArchive
from zarrfs.storage.zip.writable_journal import (
    COMMIT_BEGUN,
    COMMIT_DONE,
    NOTHING,
    ArchiveMark,
    JournalFile,
    journal_path,
    lock,
    sync_folder,
)
from zarrfs.storage.zip.writable_plan import Content, Plan, plan_commit
from zarrfs.storage.zip.writable_recovery import settle_tail
from zarrfs.storage.zip.writable_style import style_of
from zarrfs.storage.zip.writable_timer import CommitTimer
from zarrfs.storage.zip.writable_tree import WritableArchiveTree

DEFAULT_COMMIT_INTERVAL_S: Final = 30.0
NEW_SUFFIX: Final = ".zarrfs-new"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class WritableZip(TreeKeys):
    """The only writer of an archive; readers of it are not disturbed."""

    kind = "zip"
    read_only = False
    static = False

    def __init__(
        self,
        path: str,
        *,
        create: bool = False,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        commit_interval_s: float = DEFAULT_COMMIT_INTERVAL_S,
        owner: Owner | None = None,
    ) -> None:
        """Open an archive; go on where a journal beside it ends.

        Raises: PathNotFoundError (without `create`), BusyError (another writer),
        CorruptError, DeniedError, ReadOnlyError, NoSpaceError.
        """
        self.location = os.path.realpath(path)
        self._owner = owner or Owner(os.geteuid(), os.getegid())
        self._fd: int | None = None
        self._archive: Archive | None = None
        self._cache_bytes = cache_bytes
        self._commit_lock = threading.Lock()
        self._closed = False
        if not create and not os.path.exists(self.location):
            if not os.path.exists(journal_path(self.location)):
                raise PathNotFoundError(path)
        self._journal_file = JournalFile(self.location)
        try:
            super().__init__(self._open_tree(), self._owner)
        except BaseException:
            self._let_go()
            raise
        self._committed_version = -1 if self._left_over else self._ledger.version
        """The tree's version that the archive has. Guarded by: _commit_lock."""
        self._timer = CommitTimer(self.commit, commit_interval_s, self.location)

    @classmethod
    def init(cls, path: str | None) -> WritableZip:
        """Make a new archive; it gets its name with the first commit."""
        if path is None:
            raise PathRequiredError("zip")
        if os.path.lexists(path):
            raise ExistsError(path)
        return cls(path, create=True)

    # Opening

    def _open_tree(self) -> WritableArchiveTree:
        journal = self._journal_file.open()
        self._left_over = journal is not None
        if os.path.exists(self.location):
            self._fd = _open_for_writing(self.location)
            lock(self._fd, self.location, self._journal_file.fd)
        if journal is None:
            self._mark = NOTHING if self._fd is None else ArchiveMark.of(self._fd)
            base = self._open_base(self._mark)
            journal = self._journal_file.create(self._mark)
            return WritableArchiveTree.begin(journal, base, owner=self._owner)
        begun_with = ArchiveMark.decode(journal.context)
        if self._fd is not None and begun_with.archive_bytes:
            settle_tail(self._fd, self.location, begun_with, begun_with)
        tree = WritableArchiveTree.replayed(journal, self._open_base(begun_with))
        self._mark = self._settled_mark(tree, begun_with)
        return tree

    def _open_base(self, mark: ArchiveMark) -> Base:
        if not mark.archive_bytes:
            self._no_archive = NoArchive(self.location)
            self._no_archive.fd = self._fd
            return self._no_archive
        self._archive = Archive.open(
            self.location, cache_bytes=self._cache_bytes, size_bytes=mark.archive_bytes
        )
        owner = self._owner
        return ArchiveBase(ArchiveTree(self._archive, uid=owner.uid, gid=owner.gid))
