"""The contract between `vfs` and the frontends: one method for each operation.

Method names are the FUSE opcodes' (`/usr/include/linux/fuse.h`). A frontend
translates messages or callbacks to these calls and nothing else. Methods raise
`ZarrfsError` or `OSError`; `zarrfs.vfs.errnos.errno_of` gives the errno.
All methods may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, NewType, Protocol, runtime_checkable

from zarrfs.storage.tree import (
    Attr,
    AttrChange,
    Buffer,
    ChangeListener,
    Entry,
    FolderColumns,
    NodeId,
    StatFs,
)

FileHandle = NewType("FileHandle", int)
NO_HANDLE = FileHandle(0)
"""The handle of a file or folder that was never opened (stateless reads)."""


class Caller(NamedTuple):
    """The process that asks, and the request's `unique`."""

    uid: int
    gid: int
    pid: int
    unique: int = 0


class Opened(NamedTuple):
    """The answer to OPEN, CREATE and OPENDIR."""

    handle: FileHandle
    keep_cache: bool
    """FOPEN_KEEP_CACHE: what the kernel holds of the file is still right."""
    direct_io: bool
    """FOPEN_DIRECT_IO: bypass the page cache."""
    backing_fd: int | None
    """A real descriptor that the kernel may read and write by itself."""
    no_flush: bool = False
    """FOPEN_NOFLUSH: closing a descriptor of this handle need not be told."""


class CachePolicy(NamedTuple):
    """How long the kernel may remember, and what it need never ask.

    Times are in seconds.
    """

    entry_timeout_s: float
    attr_timeout_s: float
    negative_timeout_s: float
    stateless_open: bool
    """OPEN and OPENDIR may be answered ENOSYS (and FLUSH, when read-only)."""
    cache_dir: bool
    """FOPEN_CACHE_DIR and FOPEN_KEEP_CACHE for folders."""
    writeback: bool
    """FUSE_WRITEBACK_CACHE may be used."""


class Listing(NamedTuple):
    """One name of READDIR or READDIRPLUS.

    `next_offset` continues after this name. `entry` is None for READDIR, and
    for `.` and `..`, and where the node vanished meanwhile.
    """

    name: bytes
    ino: int
    type_bits: int
    next_offset: int
    entry: Entry | None


class FileSystem(Protocol):
    """What a frontend may ask; `zarrfs.vfs.filesystem.Vfs` implements it."""

    @property
    def read_only(self) -> bool: ...
    @property
    def policy(self) -> CachePolicy: ...

    def lookup(self, caller: Caller, parent: NodeId, name: bytes) -> Entry: ...
    def forget(self, nodeid: NodeId, count: int) -> None: ...
    def getattr(self, caller: Caller, nodeid: NodeId, handle: FileHandle | None) -> Attr: ...
    def setattr(
        self, caller: Caller, nodeid: NodeId, change: AttrChange, handle: FileHandle | None
    ) -> Attr: ...
    def readlink(self, caller: Caller, nodeid: NodeId) -> bytes: ...
    def access(self, caller: Caller, nodeid: NodeId, mask: int) -> None: ...

    def mknod(
        self, caller: Caller, parent: NodeId, name: bytes, mode: int, rdev: int, umask: int
    ) -> Entry: ...
    def mkdir(
        self, caller: Caller, parent: NodeId, name: bytes, mode: int, umask: int
    ) -> Entry: ...
    def symlink(self, caller: Caller, parent: NodeId, name: bytes, target: bytes) -> Entry: ...
    def link(self, caller: Caller, nodeid: NodeId, parent: NodeId, name: bytes) -> Entry: ...
    def unlink(self, caller: Caller, parent: NodeId, name: bytes) -> None: ...
    def rmdir(self, caller: Caller, parent: NodeId, name: bytes) -> None: ...
    def rename(
        self,
        caller: Caller,
        parent: NodeId,
        name: bytes,
        new_parent: NodeId,
        new_name: bytes,
        flags: int,
    ) -> None: ...

    def open(self, caller: Caller, nodeid: NodeId, flags: int) -> Opened: ...
    def create(
        self, caller: Caller, parent: NodeId, name: bytes, mode: int, flags: int, umask: int
    ) -> tuple[Entry, Opened]: ...
    def read(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, offset: int, size: int
    ) -> Buffer: ...
    def write(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, offset: int, data: Buffer
    ) -> int: ...
    def killpriv(self, caller: Caller, nodeid: NodeId) -> None:
        """Clear the set-user-ID and set-group-ID bits, as inode(7) wants of a write.

        For kernels with FUSE_HANDLE_KILLPRIV_V2: call it before `write`, `open`
        or `setattr` when the request carries FUSE_WRITE_KILL_SUIDGID,
        FUSE_OPEN_KILL_SUIDGID or FATTR_KILL_SUIDGID. Without that capability
        the kernel clears the bits itself and asks for `security.capability`
        before every write.
        """

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
    ) -> int: ...
    def fallocate(
        self,
        caller: Caller,
        nodeid: NodeId,
        handle: FileHandle,
        mode: int,
        offset: int,
        length: int,
    ) -> None: ...
    def lseek(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, offset: int, whence: int
    ) -> int: ...
    def flush(self, caller: Caller, nodeid: NodeId, handle: FileHandle) -> None: ...
    def fsync(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, *, data_only: bool
    ) -> None: ...
    def release(self, nodeid: NodeId, handle: FileHandle) -> None: ...

    def opendir(self, caller: Caller, nodeid: NodeId) -> Opened: ...
    def readdir(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, offset: int, *, plus: bool
    ) -> Iterator[Listing]:
        """Yield names from `offset` (0 at first: `.` and `..` lead).

        With `plus`, each entry that is yielded counts as one reference; the
        frontend calls `forget` for those that it does not send to the kernel.
        """

    def fsyncdir(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, *, data_only: bool
    ) -> None: ...
    def releasedir(self, nodeid: NodeId, handle: FileHandle) -> None: ...

    def listxattr(self, caller: Caller, nodeid: NodeId) -> Sequence[bytes]: ...
    def getxattr(self, caller: Caller, nodeid: NodeId, name: bytes) -> bytes: ...
    def setxattr(
        self, caller: Caller, nodeid: NodeId, name: bytes, value: bytes, flags: int
    ) -> None: ...
    def removexattr(self, caller: Caller, nodeid: NodeId, name: bytes) -> None: ...
    def statfs(self, caller: Caller, nodeid: NodeId) -> StatFs: ...

    def watch(self, listener: ChangeListener) -> None:
        """Tell `listener` of changes the kernel does not know of."""

    def destroy(self) -> None:
        """The file system was unmounted: write out everything and let go."""


@runtime_checkable
class ListsFolderColumns(Protocol):
    """A file system that can list without a loop over names, for READDIRPLUS."""

    def readdir_columns(self, nodeid: NodeId, offset: int, count: int) -> FolderColumns | None:
        """Return at most `count` names from `readdir`'s offset on.

        The first of them continues at `offset + 1`, and no references need be
        counted. None: ask `readdir`; so it is where `.` and `..` come first.
        """


@runtime_checkable
class ExpectsReads(Protocol):
    """A file system that can begin a read that was not asked for yet."""

    def expect_read(self, nodeid: NodeId) -> None:
        """The whole node will probably be read next. Raises: nothing."""

    @property
    def can_expect_reads(self) -> bool: ...
