"""What a file is: the semantics of a mounted tree, the same for every frontend.

`Vfs` answers each operation of `vfs.operations` from a `FileTree`. It decides
what POSIX and Zarr ask for beyond the tree's primitives: names, permissions,
handles, listings, caching, extended attributes, validation of what is written.
It leaves identity, names and contents to the tree, and messages to frontends.

Any thread may call any method; there is no lock here (see `handles`), and the
tree has its own. Specification: POSIX.1-2017 and the Linux man pages of
section 2, under the opcodes' names.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace

from zarrfs.errors import (
    ExistsError,
    InvalidArgumentError,
    ReadOnlyError,
    StaleError,
    UnsupportedError,
    ZarrfsError,
)
from zarrfs.storage.tree import (
    Attr,
    AttrChange,
    Buffer,
    Change,
    ChangeListener,
    CreatesOpen,
    Entry,
    ExpectsReads,
    FileTree,
    FolderColumns,
    IgnoresFlush,
    ListsColumns,
    ListsEntries,
    NodeId,
    OpenFile,
    StatelessReads,
    StatFs,
    Watchable,
)
from zarrfs.vfs import permissions
from zarrfs.vfs.cache_policy import choose_policy, tells_all_changes
from zarrfs.vfs.content_signatures import ContentSignatures
from zarrfs.vfs.copying import copy_range
from zarrfs.vfs.errnos import errno_of
from zarrfs.vfs.handles import FileSession, FolderSession, HandleTable
from zarrfs.vfs.listing import DOTS, list_folder
from zarrfs.vfs.names import check_name
from zarrfs.vfs.operations import CachePolicy, Caller, FileHandle, Listing, Opened
from zarrfs.vfs.options import Validate, VfsOptions
from zarrfs.vfs.staged_file import StagedFile
from zarrfs.vfs.strict_tree import StrictTree
from zarrfs.vfs.warning_tree import WarningTree
from zarrfs.vfs.zarr_attributes import ZarrAttributes
from zarrfs.vfs.zarr_nodes import ZarrNodes

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
_NOT_FOR_TREES = os.O_CREAT | os.O_EXCL | os.O_NOCTTY | getattr(os, "O_DIRECT", 0)


def writes(flags: int) -> bool:
    """Whether open(2) flags ask for writing."""
    return flags & os.O_ACCMODE != os.O_RDONLY


class Vfs:
    """A tree as a file system: implements `vfs.operations.FileSystem`."""

    def __init__(
        self,
        tree: FileTree,
        options: VfsOptions | None = None,
        storage: object = None,
    ) -> None:
        self._options = options = options or VfsOptions()
        self._read_only = options.read_only or tree.read_only
        self._storage = storage  # held, so that it lives as long as the mount
        self._overridden = options.overrides_owner_or_mode
        self._signatures = ContentSignatures()
        self._listeners: list[ChangeListener] = []
        self._told = False
        nodes = ZarrNodes(tree)
        self._zarr = ZarrAttributes(tree, nodes) if options.zarr_xattrs else None
        self._stored = tree
        # isinstance of a protocol takes microseconds, so once for all.
        self._read_node = tree.read_node if isinstance(tree, StatelessReads) else None
        self._lister = tree if isinstance(tree, ListsEntries) else None
        self._expect_read = tree.expect_read if isinstance(tree, ExpectsReads) else None
        self._columns = tree if tree.static and isinstance(tree, ListsColumns) else None
        self._flush_idle = isinstance(tree, IgnoresFlush) and tree.ignores_flush
        self._strict = not self._read_only and options.validate is Validate.STRICT
        if self._read_only or options.validate is Validate.OFF:
            self._tree = tree
        elif options.validate is Validate.WARN:
            self._tree = WarningTree(tree, nodes)
        else:
            self._tree = StrictTree(tree, nodes, self._notify)
            self._flush_idle = False
        self._creator = self._tree if isinstance(self._tree, CreatesOpen) else None
        self._handles = HandleTable(self._tree.open)

    # Properties and life cycle

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def policy(self) -> CachePolicy:
        """How to cache; call `watch` first, since notifications lengthen it."""
        return choose_policy(self._stored, self._options, notified=bool(self._listeners))

    def watch(self, listener: ChangeListener) -> None:
        self._listeners.append(listener)
        if isinstance(self._stored, Watchable) and len(self._listeners) == 1:
            self._stored.watch(self._notify)
            self._told = tells_all_changes(self._stored)

    def _notify(self, change: Change) -> None:
        for listener in self._listeners:
            listener(change)

    def destroy(self) -> None:
        """Close what is still open, then the tree; errors go to the log."""
        self.close_files()
        self._tree.close()

    def close_files(self) -> None:
        """Close what is still open, and leave the tree to others."""
        for session in self._handles.pop_all_files():
            self._close(session.file)

    # Names and attributes

    def lookup(self, caller: Caller, parent: NodeId, name: bytes) -> Entry:
        check_name(name)
        entry = self._tree.lookup(parent, name)
        return permissions.shown_entry(entry, self._options) if self._overridden else entry

    def forget(self, nodeid: NodeId, count: int) -> None:
        self._tree.forget(nodeid, count)

    def getattr(self, caller: Caller, nodeid: NodeId, handle: FileHandle | None) -> Attr:
        attr = self._tree.attr(nodeid)
        return permissions.shown_attr(attr, self._options) if self._overridden else attr

    def setattr(
        self, caller: Caller, nodeid: NodeId, change: AttrChange, handle: FileHandle | None
    ) -> Attr:
        self._check_writable()
        if self._overridden:
            is_folder = stat.S_ISDIR(self._tree.attr(nodeid).mode)
            change = permissions.check_change(change, self._options, is_folder=is_folder)
        if change.mode is None and (change.uid is not None or change.gid is not None):
            change = self._without_privileges(nodeid, change)
        if change.size is not None and handle:
            # Through the descriptor: the file's mode may forbid opening it again.
            self._handles.file(nodeid, handle).truncate(change.size)
            change = replace(change, size=None)
        attr = self._tree.set_attr(nodeid, change)
        return permissions.shown_attr(attr, self._options) if self._overridden else attr

    def _without_privileges(self, nodeid: NodeId, change: AttrChange) -> AttrChange:
        """A file that changes hands loses its set-ID bits, chown(2)."""
        mode = self._tree.attr(nodeid).mode
        lost = permissions.privileges_lost(mode)
        return replace(change, mode=mode & ~lost) if lost else change

    def killpriv(self, caller: Caller, nodeid: NodeId) -> None:
        mode = self._tree.attr(nodeid).mode
        drop = permissions.privileges_lost(mode)
        if drop and not self._read_only:
            self._tree.set_attr(nodeid, AttrChange(mode=mode & ~drop))

    def readlink(self, caller: Caller, nodeid: NodeId) -> bytes:
        return self._tree.read_link(nodeid)

    def access(self, caller: Caller, nodeid: NodeId, mask: int) -> None:
        attr = self.getattr(caller, nodeid, None)
        if mask & os.W_OK and self._read_only:
            raise ReadOnlyError()
        permissions.check_access(attr, caller, mask)

    def statfs(self, caller: Caller, nodeid: NodeId) -> StatFs:
        return self._tree.statfs()

    # Making, linking, removing, renaming

    def _check_writable(self) -> None:
        if self._read_only:
            raise ReadOnlyError()

    def _make(
        self,
        caller: Caller,
        parent: NodeId,
        name: bytes,
        mode: int,
        *,
        rdev: int = 0,
        target: bytes = b"",
    ) -> Entry:
        self._check_writable()
        check_name(name)
        mode, owner = permissions.inherit(self._tree.attr(parent), caller, mode)
        try:
            entry = self._tree.make(parent, name, mode, owner, rdev=rdev, target=target)
        except UnsupportedError as error:
            # mknod(2), symlink(2): "the file system does not support ..." is EPERM.
            raise OSError(errno.EPERM, str(error)) from error
        return permissions.shown_entry(entry, self._options) if self._overridden else entry

    def mknod(
        self, caller: Caller, parent: NodeId, name: bytes, mode: int, rdev: int, umask: int
    ) -> Entry:
        kind = stat.S_IFMT(mode) or stat.S_IFREG
        return self._make(caller, parent, name, kind | mode & 0o7777 & ~umask, rdev=rdev)

    def mkdir(self, caller: Caller, parent: NodeId, name: bytes, mode: int, umask: int) -> Entry:
        return self._make(caller, parent, name, stat.S_IFDIR | mode & 0o7777 & ~umask)

    def symlink(self, caller: Caller, parent: NodeId, name: bytes, target: bytes) -> Entry:
        return self._make(caller, parent, name, stat.S_IFLNK | 0o777, target=target)

    def link(self, caller: Caller, nodeid: NodeId, parent: NodeId, name: bytes) -> Entry:
        self._check_writable()
        check_name(name)
        try:
            entry = self._tree.link(nodeid, parent, name)
        except UnsupportedError as error:
            raise OSError(errno.EPERM, str(error)) from error  # as link(2) says
        return permissions.shown_entry(entry, self._options) if self._overridden else entry

    def unlink(self, caller: Caller, parent: NodeId, name: bytes) -> None:
        self._check_writable()
        check_name(name)
        self._tree.unlink(parent, name)

    def rmdir(self, caller: Caller, parent: NodeId, name: bytes) -> None:
        self._check_writable()
        check_name(name)
        self._tree.remove_dir(parent, name)

    def rename(
        self,
        caller: Caller,
        parent: NodeId,
        name: bytes,
        new_parent: NodeId,
        new_name: bytes,
        flags: int,
    ) -> None:
        self._check_writable()
        if flags not in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
            raise InvalidArgumentError("", "flags that renameat2 does not have, or not together")
        check_name(name)
        check_name(new_name)
        self._tree.rename(parent, name, new_parent, new_name, flags)

    # Files

    def open(self, caller: Caller, nodeid: NodeId, flags: int) -> Opened:
        if self._read_only and (writes(flags) or flags & os.O_TRUNC):
            raise ReadOnlyError()
        return self._opened(nodeid, self._tree.open(nodeid, flags & ~_NOT_FOR_TREES), flags)

    def create(
        self, caller: Caller, parent: NodeId, name: bytes, mode: int, flags: int, umask: int
    ) -> tuple[Entry, Opened]:
        self._check_writable()
        check_name(name)
        mode, owner = permissions.inherit(
            self._tree.attr(parent), caller, stat.S_IFREG | mode & 0o7777 & ~umask
        )
        tree_flags = flags & ~_NOT_FOR_TREES
        try:
            if self._creator is not None:
                entry, file = self._creator.create(parent, name, mode, owner, tree_flags)
            else:
                entry = self._tree.make(parent, name, mode, owner)
                file = self._tree.open(entry.nodeid, tree_flags)
        except (ExistsError, FileExistsError):
            if flags & os.O_EXCL:
                raise
            # It came into being after the kernel looked: open what is there.
            entry = self._tree.lookup(parent, name)
            file = self._tree.open(entry.nodeid, tree_flags)
            opened = self._opened(entry.nodeid, file, flags)
        else:
            opened = self._opened(entry.nodeid, file, flags, entry.attr)
        shown = permissions.shown_entry(entry, self._options) if self._overridden else entry
        return shown, opened

    def _opened(
        self, nodeid: NodeId, file: OpenFile, flags: int, attr: Attr | None = None
    ) -> Opened:
        keep_cache = True
        backing_fd = file.fileno()
        if not (self._tree.static or self._told):
            attr = attr or self._tree.attr(nodeid)
            keep_cache = self._signatures.unchanged(nodeid, attr)
            if writes(flags):
                self._signatures.forget(nodeid)
            if writes(flags) and permissions.privileges_lost(attr.mode):
                backing_fd = None  # the kernel would not tell us to clear the bits
        handle = self._handles.add_file(FileSession(nodeid, file, flags))
        # What may yet be refused must not get into the kernel's pages.
        direct_io = self._strict and isinstance(file, StagedFile)
        no_flush = self._flush_idle or not writes(flags)
        return Opened(handle, keep_cache, direct_io, backing_fd, no_flush)

    def read(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, offset: int, size: int
    ) -> Buffer:
        if handle:
            return self._handles.file(nodeid, handle).read(offset, size)
        if self._read_node is None:
            raise StaleError(f"node {nodeid}", "read without an open file")
        return self._read_node(nodeid, offset, size)

    @property
    def can_expect_reads(self) -> bool:
        return self._expect_read is not None

    def expect_read(self, nodeid: NodeId) -> None:
        if self._expect_read is not None:
            self._expect_read(nodeid)

    def write(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, offset: int, data: Buffer
    ) -> int:
        return self._handles.file(nodeid, handle).write(offset, data)

    def copy_file_range(
        self,
        caller: Caller,
        nodeid_in: NodeId,
        handle_in: FileHandle,
        offset_in: int,
        nodeid_out: NodeId,
        handle_out: FileHandle,
        offset_out: int,
        length: int,
    ) -> int:
        source = self._handles.file(nodeid_in, handle_in)
        return copy_range(
            source, offset_in, self._handles.file(nodeid_out, handle_out), offset_out, length
        )

    def fallocate(
        self,
        caller: Caller,
        nodeid: NodeId,
        handle: FileHandle,
        mode: int,
        offset: int,
        length: int,
    ) -> None:
        self._handles.file(nodeid, handle).allocate(mode, offset, length)

    def lseek(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, offset: int, whence: int
    ) -> int:
        if handle:
            return self._handles.file(nodeid, handle).seek(offset, whence)
        return _seek_without_holes(self._tree.attr(nodeid).size, offset, whence)

    def flush(self, caller: Caller, nodeid: NodeId, handle: FileHandle) -> None:
        if handle:
            self._handles.file(nodeid, handle).flush()

    def fsync(self, caller: Caller, nodeid: NodeId, handle: FileHandle, *, data_only: bool) -> None:
        if handle:
            self._handles.file(nodeid, handle).sync(data_only=data_only)

    def release(self, nodeid: NodeId, handle: FileHandle) -> None:
        session = self._handles.pop_file(handle)
        if session is not None:
            self._close(session.file)

    def _close(self, file: OpenFile) -> None:
        """Close; nobody waits for RELEASE's answer, so an error can only be logged."""
        try:
            file.close()
        except (ZarrfsError, OSError) as error:
            errno_of(error, "RELEASE")

    # Folders

    def opendir(self, caller: Caller, nodeid: NodeId) -> Opened:
        handle = self._handles.add_folder(FolderSession(nodeid))
        return Opened(handle, self._tree.static, False, None)

    def readdir(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, offset: int, *, plus: bool
    ) -> Iterator[Listing]:
        session = self._handles.folder(handle)
        resolver = self._lister if plus else None
        expires = not (self._tree.static or self._told)
        listing = list_folder(self._tree, nodeid, session, offset, resolver, expires=expires)
        return map(self._shown_listing, listing) if plus and self._overridden else listing

    def readdir_columns(self, nodeid: NodeId, offset: int, count: int) -> FolderColumns | None:
        if offset < DOTS or self._columns is None:
            return None
        columns = self._columns.list_columns(nodeid, offset - DOTS, count)
        if self._overridden:
            columns = permissions.shown_columns(columns, self._options)
        return columns

    def _shown_listing(self, listed: Listing) -> Listing:
        if listed.entry is None:
            return listed
        return listed._replace(entry=permissions.shown_entry(listed.entry, self._options))

    def fsyncdir(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, *, data_only: bool
    ) -> None:
        self._tree.sync(nodeid, data_only=data_only)

    def releasedir(self, nodeid: NodeId, handle: FileHandle) -> None:
        self._handles.pop_folder(handle)

    # Extended attributes

    def listxattr(self, caller: Caller, nodeid: NodeId) -> Sequence[bytes]:
        virtual = [] if self._zarr is None else self._zarr.names(nodeid)
        try:
            return [*virtual, *self._tree.list_xattr(nodeid)]
        except UnsupportedError:
            return virtual

    def getxattr(self, caller: Caller, nodeid: NodeId, name: bytes) -> bytes:
        if self._zarr is not None and self._zarr.owns(name):
            return self._zarr.value(nodeid, name)
        return self._tree.get_xattr(nodeid, name)

    def setxattr(
        self, caller: Caller, nodeid: NodeId, name: bytes, value: bytes, flags: int
    ) -> None:
        self._check_xattr_change(name)
        self._tree.set_xattr(nodeid, name, value, flags)

    def removexattr(self, caller: Caller, nodeid: NodeId, name: bytes) -> None:
        self._check_xattr_change(name)
        self._tree.remove_xattr(nodeid, name)

    def _check_xattr_change(self, name: bytes) -> None:
        self._check_writable()
        if self._zarr is not None and self._zarr.owns(name):
            raise OSError(errno.EPERM, "read from the Zarr documents, not stored")


def _seek_without_holes(size: int, offset: int, whence: int) -> int:
    """Answer SEEK_DATA and SEEK_HOLE for content that is all data."""
    if offset >= size:
        raise OSError(errno.ENXIO, "past the end")
    return offset if whence == os.SEEK_DATA else size
