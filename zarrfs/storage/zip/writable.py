"""A zip archive, open for reading and writing.

Files and keys are an inode tree over the archive's directory; every change
goes to the journal beside the archive, and what fsync returned for is safe
there. A *commit* appends what changed, a whole new directory and its end to
the archive, so that other programs see it: on `flush` and `close`, and every
`commit_interval_s` while there is something to commit. The protocol:

1. Entries and directory are appended; the archive is synced.
2. The journal's header says where the archive will end; the end is appended,
   the archive is synced.
3. The journal's header says where the archive ends now, and its records which
   contents are in the archive, whose copies in the journal are then given up.

A crash before 3 leaves a tail that the next opening cuts off, or keeps if it is
whole; a crash at any time leaves the journal, from which the next opening goes
on. No step needs the whole journal to be synced, which would write
everything to the disk twice: `writable_recovery` finds out which of the two knows more.
After a failed commit
the archive is cut back to what it was. A new archive is made under another name
and gets its own with the first commit.

Any thread. Lock order: `_commit_lock`, then the tree's.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Final

from zarrfs.errors import (
    ExistsError,
    NoSpaceError,
    PathRequiredError,
    UnavailableError,
)
from zarrfs.storage.backend import CacheStats
from zarrfs.storage.inodes.extents import IN_BASE, Extent
from zarrfs.storage.inodes.keys import TreeKeys
from zarrfs.storage.inodes.records import Settled
from zarrfs.storage.tree import NodeId, Owner
from zarrfs.storage.zip.content import DEFAULT_CACHE_BYTES
from zarrfs.storage.zip.displaced import has_no_name, is_displaced, keep_displaced
from zarrfs.storage.zip.writable_append import Appended, append_commit
from zarrfs.storage.zip.writable_journal import ArchiveMark, sync_folder
from zarrfs.storage.zip.writable_opening import open_for_writing
from zarrfs.storage.zip.writable_plan import Content, Packed, Plan, Source, plan_commit
from zarrfs.storage.zip.writable_style import style_of
from zarrfs.storage.zip.writable_timer import CommitTimer

DEFAULT_COMMIT_INTERVAL_S: Final = 30.0
SPOOLED_BYTES: Final = 256 << 20
"""With more than this in the journal, a commit does not wait for its time."""
_log: Final = logging.getLogger(__name__)
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
        reached_at: str | None = None,
    ) -> None:
        """Open an archive; go on where a journal beside it ends.

        `reached_at` is a path that leads to it even when another file has its name.

        Raises: PathNotFoundError (without `create`), BusyError (another writer),
        CorruptError, DeniedError, ReadOnlyError, NoSpaceError.
        """
        self.location = os.path.realpath(path)
        owner = owner or Owner(os.geteuid(), os.getegid())
        self._opened, tree = open_for_writing(
            self.location,
            create=create,
            cache_bytes=cache_bytes,
            owner=owner,
            reached_at=reached_at,
        )
        super().__init__(tree, owner)
        self._commit_lock = threading.Lock()
        never_committed = self._opened.left_over or not self._opened.named
        self._committed_version = -1 if never_committed else self._ledger.version
        """The tree's version that the archive has. Guarded by: _commit_lock."""
        self._appended = self._opened.left_over  # Guarded by: _commit_lock
        self._closed = False  # Guarded by: _commit_lock
        self._timer = CommitTimer(self._commit_in_time, commit_interval_s, self.location)
        if commit_interval_s > 0:
            self._ledger.over_watermark = self._timer.nudge
            self._ledger.watermark_bytes = SPOOLED_BYTES

    @classmethod
    def init(cls, path: str | None) -> WritableZip:
        """Make a new archive; it gets its name with the first commit.

        Raises: PathRequiredError, ExistsError, CreateFailedError.
        """
        if path is None:
            raise PathRequiredError("zip")
        if os.path.lexists(path):
            raise ExistsError(path)
        return cls(path, create=True)

    def cache_stats(self) -> CacheStats:
        archive = self._opened.archive
        return CacheStats(0, 0, 0) if archive is None else archive.content.cache_stats()

    def pending_bytes(self) -> int:
        """Return what the journal holds while it knows more than the archive."""
        if self._ledger.version == self._committed_version:
            return 0
        return self._ledger.space.in_use_bytes

    # Committing

    def flush(self) -> None:
        """Make everything durable and visible to other programs."""
        self.commit()

    def commit(self) -> None:
        """Append what changed to the archive.

        Raises: NoSpaceError, UnavailableError, CorruptError (a content could not
        be read); the archive is what it was then, and the journal has everything.
        """
        with self._commit_lock:
            if not self._closed:
                self._commit()

    def _commit_in_time(self) -> None:
        """The timer's commit, which promises nobody anything."""
        with self._commit_lock:
            if not self._closed:
                self._commit(promised=False)

    def _commit(self, *, promised: bool = True, last: bool = False) -> None:
        opened = self._opened
        with self._lock:
            version = self._ledger.version
            if version == self._committed_version:
                return
            plan = plan_commit(self._state, opened.archive, opened.owner)
            position = self._ledger.journal.position
            pin = self._ledger.space.pin()
        try:
            if plan.changes_nothing and opened.named:
                if promised:
                    self._ledger.journal.sync()  # or a crash may bring back what is undone
                self._committed_version = version
                return
            appended = self._append(plan, position)
            if last:
                return
            self._settle(plan, appended, version)
            if self._ledger.journal.dead_bytes > SPOOLED_BYTES // 2:
                self._ledger.journal.reclaim()
        finally:
            self._ledger.space.unpin(pin)
            self._raise_watermark()

    def _raise_watermark(self) -> None:
        """What is dead is given back only after the next syncs, what is open not at all."""
        with self._lock:
            if self._ledger.watermark_bytes is not None:
                self._ledger.watermark_bytes = self._ledger.space.in_use_bytes + SPOOLED_BYTES

    def _append(self, plan: Plan, position: int) -> Appended:
        """Write a commit to the archive, to the last byte, or leave it as it was."""
        opened = self._opened
        style = style_of(self.location, opened.archive, self.get)
        read = self._tree.contents.read_extents
        if os.fstat(opened.fd).st_size != opened.committed_bytes:
            reason = "the archive was changed by another program while it was open"
            raise UnavailableError(self.location, reason)
        is_new = not opened.named
        try:
            appended = append_commit(
                opened.fd,
                opened.committed_bytes,
                opened.archive,
                plan,
                read,
                style,
                lambda end: self._announce(end, position),
            )
            if is_new:
                opened.give_name()
        except BaseException as error:
            with suppress(OSError):
                os.ftruncate(opened.fd, opened.committed_bytes)
            if isinstance(error, OSError):
                raise _storage_error(self.location, error) from error
            raise
        self._opened.context = replace(
            opened.context,
            committed=ArchiveMark.of(opened.fd, appended.end),
            position=position,
        )
        self._appended = True
        if is_new:
            sync_folder(self.location)
        return appended

    def _announce(self, end: int, position: int) -> None:
        context = replace(self._opened.context, announced_bytes=end, announced_position=position)
        with self._lock:
            self._ledger.journal.set_context(context.encode())

    def _settle(self, plan: Plan, appended: Appended, version: int) -> None:
        """Write down what is in the archive now, and give up its copies in the journal."""
        sources = {(planned.nodeid, planned.path): planned.source for planned in plan.entries}
        with self._lock:
            nothing_since = self._ledger.version == version
            self._ledger.journal.set_context(self._opened.context.encode())
            valid = [
                settled
                for settled in appended.settled
                if self._is_as_planned(settled, sources[NodeId(settled.nodeid), settled.path])
            ]
            for settled in valid:
                self._ledger.commit(settled)
            if nothing_since:
                self._committed_version = self._ledger.version

    def _is_as_planned(self, settled: Settled, source: Source) -> bool:
        """Whether a node still has the content that was written for it."""
        node = self._state.nodes.get(settled.nodeid)
        if node is None:
            return settled.nodeid <= self._state.last_base_nodeid
        match source:
            case Content(extents, size):
                return node.published is extents and node.published_size == size
            case Packed():
                whole = [Extent(0, settled.size, IN_BASE)] if settled.size else []
                return node.published == whole and node.published_size == settled.size
        return True

    def close(self) -> None:
        """Commit, remove the journal, let go.

        Raises: what `commit` raises; the journal stays then, and has everything.
        UnavailableError when the archive was replaced or removed meanwhile: it tells
        where what was written is.
        """
        self._timer.stop()
        kept_at = ""
        with self._commit_lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._commit(last=True)
                kept_at = self._keep_if_displaced()
                self._opened.journal_file.remove()  # every change is in the archive
            finally:
                self._tree.close()
                self._opened.close()
        if kept_at:
            reason = "it was replaced or removed while it was open for writing"
            raise UnavailableError(
                self.location, reason, remedy=f"all that was written is in {kept_at}"
            )

    def _keep_if_displaced(self) -> str:
        """Return where a copy is, if the archive was written to and has lost its name."""
        fd = self._opened.fd
        if not (self._appended and is_displaced(fd, self.location)):
            return ""
        if not has_no_name(fd):  # moved, and what was written with it
            _log.warning("%s is %s now", self.location, os.readlink(f"/proc/self/fd/{fd}"))
            return ""
        try:
            return keep_displaced(fd, self.location)
        except OSError as error:
            raise _storage_error(self.location, error) from error


def _storage_error(path: str, error: OSError) -> UnavailableError:
    text = os.strerror(error.errno or errno.EIO)
    return NoSpaceError(path, text) if error.errno in _FULL else UnavailableError(path, text)
