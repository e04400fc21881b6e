"""Opens an archive for writing: lock, journal, base, tree, and what a crash left.

One thread opens; what comes out is used by `writable`.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from zarrfs.errors import (
    CorruptError,
    CreateFailedError,
    DeniedError,
    ExistsError,
    PathNotFoundError,
    ReadOnlyError,
)
from zarrfs.storage.inodes.base import Base
from zarrfs.storage.inodes.journal import Journal
from zarrfs.storage.tree import Owner
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.base import ArchiveBase
from zarrfs.storage.zip.tree import ArchiveTree
from zarrfs.storage.zip.writable_base import NoArchive
from zarrfs.storage.zip.writable_journal import (
    ArchiveMark,
    JournalContext,
    JournalFile,
    journal_path,
    lock,
)
from zarrfs.storage.zip.writable_recovery import foreign, settle_tail
from zarrfs.storage.zip.writable_tree import WritableArchiveTree

NEW_SUFFIX: Final = ".zarrfs-new"
"""Of the name under which a new archive is made."""


@dataclass(slots=True)
class OpenedArchive:
    """Everything that a writer of an archive holds open."""

    path: str
    journal_file: JournalFile
    owner: Owner
    fd: int
    """The archive, for reading and writing."""
    named: bool
    """Whether it has its name; a new one gets it with the first commit."""
    context: JournalContext = field(init=False)
    """What the journal's header says of the archive."""
    left_over: bool = False
    """Whether the journal was there: a crash left it."""
    archive: Archive | None = None
    """As it was when the journal was begun; None for a new one."""
    reached_at: str = ""
    """A path that leads to the archive, whoever has its name."""

    @property
    def committed_bytes(self) -> int:
        """Where the last whole commit ends."""
        return self.context.committed.archive_bytes

    def give_name(self) -> None:
        """Let a finished archive appear. Raises: ExistsError, CreateFailedError."""
        new_path = self.path + NEW_SUFFIX
        try:
            _rename_to_free(new_path, self.path)
        except FileExistsError as error:
            raise ExistsError(self.path, "another program made it meanwhile") from error
        except OSError as error:
            raise CreateFailedError(self.path, os.strerror(error.errno or 0)) from error
        self.named = True

    def forget_journal(self) -> None:
        """The archive holds all that its journal does, and more."""
        if self.archive is not None:
            self.archive.close()
            self.archive = None
        self.journal_file.discard()
        self.left_over = False

    def remove_nameless(self) -> None:
        """Remove an archive that never had its name; the journal has what it would hold."""
        if not self.named:
            with suppress(OSError):
                os.unlink(self.path + NEW_SUFFIX)

    def close(self) -> None:
        """Let go of files and locks; the journal stays for whoever comes next."""
        if self.archive is not None:
            self.archive.close()
        os.close(self.fd)
        self.journal_file.close()


def open_for_writing(
    path: str,
    *,
    create: bool,
    cache_bytes: int,
    owner: Owner,
    reached_at: str | None = None,
) -> tuple[OpenedArchive, WritableArchiveTree]:
    """Raises: PathNotFoundError, BusyError, CorruptError, DeniedError, ReadOnlyError."""
    found = os.path.exists(reached_at or path)
    if not create and not found and not os.path.exists(journal_path(path)):
        raise PathNotFoundError(path)
    journal_file = JournalFile(path)
    try:
        opened = _open_archive(path, journal_file, owner, reached_at or path)
    except BaseException:
        journal_file.remove_if_empty()
        journal_file.close()
        raise
    try:
        return opened, _open_tree(opened, cache_bytes)
    except BaseException:
        if not opened.left_over:
            journal_file.remove()
        opened.remove_nameless()
        opened.close()
        raise


def _open_archive(
    path: str, journal_file: JournalFile, owner: Owner, reached_at: str
) -> OpenedArchive:
    named = os.path.exists(reached_at)
    fd = (
        _open_file(reached_at, os.O_RDWR)
        if named
        else _open_file(path + NEW_SUFFIX, os.O_RDWR | os.O_CREAT)
    )
    try:
        lock(fd, path, journal_file.fd)
        if named:
            _remove_second_name(fd, path + NEW_SUFFIX)
    except BaseException:
        os.close(fd)
        raise
    return OpenedArchive(path, journal_file, owner, fd, named, reached_at=reached_at)


def _remove_second_name(fd: int, new_path: str) -> None:
    """Finish what a crash interrupted in `give_name`."""
    with suppress(FileNotFoundError):
        if os.path.samestat(os.stat(new_path), os.fstat(fd)):
            os.unlink(new_path)


def _open_tree(opened: OpenedArchive, cache_bytes: int) -> WritableArchiveTree:
    journal = opened.journal_file.open()
    if journal is not None:
        opened.left_over = True
        tree = _continue(opened, journal, cache_bytes)
        if tree is not None:
            return tree
        opened.forget_journal()
    return _begin(opened, cache_bytes)


def _begin(opened: OpenedArchive, cache_bytes: int) -> WritableArchiveTree:
    if not opened.named:
        os.ftruncate(opened.fd, 0)
    mark = ArchiveMark.of(opened.fd)
    if opened.named and not mark.archive_bytes:
        raise CorruptError(opened.path, "not a zip archive: it is empty")
    opened.context = JournalContext.begin(mark)
    base = _open_base(opened, cache_bytes)
    journal = opened.journal_file.create(opened.context)
    return WritableArchiveTree.begin(journal, base, owner=opened.owner)


def _continue(
    opened: OpenedArchive, journal: Journal, cache_bytes: int
) -> WritableArchiveTree | None:
    """Replay what a crash left; None if the archive turns out to know better."""
    context = opened.context = JournalContext.decode(journal.context)
    if not opened.named and context.committed.archive_bytes:
        raise _gone(opened.path)
    # What was committed is known by that; an archive put back has another inode.
    known_by = context.first if context.first.archive_bytes else context.committed
    if opened.named and not known_by.matches(opened.fd):
        raise foreign(opened.path)
    base = _open_base(opened, cache_bytes)
    tree = WritableArchiveTree.replayed(journal, base, owner=opened.owner)
    if opened.named:
        opened.context = settle_tail(opened.fd, opened.path, context, opened.reached_at)
    else:
        # The file that is to become the archive may be another one than it was.
        os.ftruncate(opened.fd, 0)
        mark = ArchiveMark.of(opened.fd)
        opened.context = replace(context, first=mark, committed=mark)
    if opened.context.position > journal.position:
        return None
    journal.set_context(opened.context.encode())
    return tree


def _gone(path: str) -> PathNotFoundError:
    return PathNotFoundError(
        path, "the archive is gone", remedy=f"changes to it are still in {journal_path(path)}"
    )


def _open_base(opened: OpenedArchive, cache_bytes: int) -> Base:
    size = opened.context.first.archive_bytes
    if not size:
        return NoArchive(opened.path, opened.fd)
    opened.archive = Archive.open(opened.reached_at, cache_bytes=cache_bytes, size_bytes=size)
    return ArchiveBase(ArchiveTree(opened.archive, uid=opened.owner.uid, gid=opened.owner.gid))


def _open_file(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o666)
    except PermissionError as error:
        raise DeniedError(path, "no permission to write the archive") from error
    except OSError as error:
        if error.errno == errno.EROFS:
            raise ReadOnlyError(path, "on a read-only file system") from error
        raise CreateFailedError(path, os.strerror(error.errno or 0)) from error


def _rename_to_free(old: str, new: str) -> None:
    """Rename, but not over what is there. Raises: FileExistsError, OSError."""
    try:
        os.link(old, new)
    except PermissionError:  # a file system without hard links
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from None
        os.rename(old, new)
        return
    os.unlink(old)
