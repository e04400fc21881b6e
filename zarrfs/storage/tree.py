"""A store as a tree of files: the primitives beneath `zarrfs.vfs`.

A tree knows nodes, names and contents. What a caller may do, what the kernel
may cache and what a Zarr path means is decided in `vfs`.

A *nodeid* names a node for as long as the kernel or a caller may refer to it;
1 is the root. It is not the `ino` that stat shows. Names are `bytes`, one path
component, at most 255 bytes, never empty, `.`, `..`, nor with `/` or NUL:
`vfs` checks that. Times are nanoseconds since the epoch. All methods may be
called from several threads at once.

Errors: the classes of `zarrfs.errors`; a tree over a real file system may let
`OSError` pass, whose errno is then the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Final,
    NamedTuple,
    NewType,
    Protocol,
    TypeAlias,
    runtime_checkable,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NodeId = NewType("NodeId", int)
ROOT = NodeId(1)
NODEID_BITS: Final = 52
"""A tree's nodeids need no more bits; those above tell the states of a replaced store apart."""
Buffer: TypeAlias = bytes | bytearray | memoryview


class Attr(NamedTuple):
    """What stat(2) shows of a node."""

    ino: int
    mode: int
    """File type and permission bits, as `st_mode`."""
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blocks: int
    """In units of 512 bytes."""
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


class Entry(NamedTuple):
    """A name resolved: the node and what stat shows of it."""

    nodeid: NodeId
    attr: Attr
    generation: int = 0


class DirEntry(NamedTuple):
    """One name of a folder. `type_bits` is `st_mode & S_IFMT`."""

    name: bytes
    ino: int
    type_bits: int


class StatFs(NamedTuple):
    """What statvfs(3) shows; sizes in units of `block_size` bytes."""

    block_size: int
    blocks: int
    blocks_free: int
    blocks_available: int
    files: int
    files_free: int
    name_max: int = 255


@dataclass(frozen=True, slots=True)
class Owner:
    """Who a new node belongs to."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class AttrChange:
    """The attributes that setattr changes; `None` leaves one as it is.

    The tree sets ctime to now whenever it changes anything, unless
    `ctime_ns` is given, and mtime as well when it changes the size.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None


class OpenFile(Protocol):
    """A file's content, open.

    It stays valid when the file is renamed or unlinked, until `close`.
    """

    def read(self, offset: int, size: int) -> Buffer:
        """Return at most `size` bytes; short only at the end of the file."""

    def write(self, offset: int, data: Buffer) -> int:
        """Write at an offset, or at the end when opened with O_APPEND.

        A gap before `offset` reads as zeros. Returns the bytes written.
        Raises: NoSpaceError, ReadOnlyError.
        """

    def truncate(self, size: int) -> None: ...

    def allocate(self, mode: int, offset: int, length: int) -> None:
        """fallocate(2) with its mode bits. Raises: UnsupportedError."""

    def seek(self, offset: int, whence: int) -> int:
        """lseek(2) with SEEK_DATA or SEEK_HOLE. Raises: OSError ENXIO."""

    def sync(self, *, data_only: bool) -> None:
        """Make the content durable, as fsync(2) promises."""

    def flush(self) -> None:
        """A descriptor was closed: report errors that writing met."""

    def fileno(self) -> int | None:
        """A real descriptor of the content for the kernel's use, if there is one."""

    def close(self) -> None: ...


class FileTree(Protocol):
    """Nodes, names and contents.

    Every `Entry` returned by `lookup`, `make` and `link` counts as one
    reference to its node, which `forget` gives back.
    """

    @property
    def read_only(self) -> bool: ...

    @property
    def static(self) -> bool:
        """Whether nothing can change while the tree is open."""

    def lookup(self, parent: NodeId, name: bytes) -> Entry:
        """Raises: NotFoundError, NotAFolderError."""

    def forget(self, nodeid: NodeId, count: int) -> None: ...

    def attr(self, nodeid: NodeId) -> Attr:
        """Raises: StaleError."""

    def read_link(self, nodeid: NodeId) -> bytes: ...

    def list_dir(self, nodeid: NodeId) -> Sequence[DirEntry]:
        """Return the folder's names without `.` and `..`, as of now."""

    def open(self, nodeid: NodeId, flags: int) -> OpenFile:
        """Open a regular file; `flags` as open(2), O_CREAT and O_EXCL excepted."""

    def set_attr(self, nodeid: NodeId, change: AttrChange) -> Attr: ...

    def make(
        self,
        parent: NodeId,
        name: bytes,
        mode: int,
        owner: Owner,
        *,
        rdev: int = 0,
        target: bytes = b"",
    ) -> Entry:
        """Make a node of the type in `mode`: file, folder, symlink (`target`), fifo...

        Raises: ExistsError, NotFoundError, UnsupportedError, NoSpaceError.
        """

    def link(self, nodeid: NodeId, parent: NodeId, name: bytes) -> Entry:
        """Raises: ExistsError, UnsupportedError."""

    def unlink(self, parent: NodeId, name: bytes) -> None:
        """Raises: NotFoundError, IsAFolderError."""

    def remove_dir(self, parent: NodeId, name: bytes) -> None:
        """Raises: NotFoundError, NotAFolderError, NotEmptyError."""

    def rename(
        self, parent: NodeId, name: bytes, new_parent: NodeId, new_name: bytes, flags: int
    ) -> None:
        """renameat2(2), with RENAME_NOREPLACE and RENAME_EXCHANGE."""

    def list_xattr(self, nodeid: NodeId) -> Sequence[bytes]: ...

    def get_xattr(self, nodeid: NodeId, name: bytes) -> bytes:
        """Raises: AttributeNotFoundError."""

    def set_xattr(self, nodeid: NodeId, name: bytes, value: bytes, flags: int) -> None: ...

    def remove_xattr(self, nodeid: NodeId, name: bytes) -> None: ...

    def sync(self, nodeid: NodeId, *, data_only: bool) -> None:
        """Make a folder's names durable (FSYNCDIR)."""

    def statfs(self) -> StatFs: ...

    def key_of(self, nodeid: NodeId) -> str | None:
        """Return the key a node has in its store, or None when it is unlinked."""

    def close(self) -> None: ...


@runtime_checkable
class StatelessReads(Protocol):
    """A tree whose files can be read by nodeid alone, without an open."""

    def read_node(self, nodeid: NodeId, offset: int, size: int) -> Buffer: ...


@runtime_checkable
class ExpectsReads(Protocol):
    """A tree that can do a part of a read before it is asked to."""

    def expect_read(self, nodeid: NodeId) -> None:
        """The whole node will probably be read next: locate it, check it.

        What is wrong with it is told by the read. Raises: nothing.
        """


@runtime_checkable
class CreatesOpen(Protocol):
    """A tree that makes and opens a file in one step.

    Without it `vfs` calls `make` and then `open`, which fails where the new
    file's own mode forbids what its maker may do.
    """

    def create(
        self, parent: NodeId, name: bytes, mode: int, owner: Owner, flags: int
    ) -> tuple[Entry, OpenFile]:
        """Make a regular file that was not there. Raises: as `make`."""


@runtime_checkable
class IgnoresFlush(Protocol):
    """A tree that can say whether `OpenFile.flush` has anything to do."""

    @property
    def ignores_flush(self) -> bool:
        """Whether the kernel may close descriptors without a word (FOPEN_NOFLUSH)."""


@runtime_checkable
class ListsEntries(Protocol):
    """A tree that resolves a whole folder at once, for READDIRPLUS."""

    def list_entries(self, nodeid: NodeId, start: int) -> Iterator[tuple[bytes, Entry]]:
        """Yield names and entries from position `start` on, in `list_dir`'s order.

        No reference is counted; the caller counts those it hands out with
        `count_reference`.
        """

    def count_reference(self, nodeid: NodeId) -> None: ...


@runtime_checkable
class EnumeratesNodes(Protocol):
    """A tree that knows which nodeids it may have given out."""

    def nodeids(self) -> Iterator[NodeId]:
        """Yield all that the kernel may refer to; the root's need not be among them."""


class FolderColumns(NamedTuple):
    """Part of a folder as numpy columns, an element for each name.

    Name n is `text[starts[n] : starts[n] + lengths[n]]`. What all have in
    common is a plain number; atime and ctime are as mtime, ino is as nodeid.
    """

    text: NDArray[np.uint8]
    starts: NDArray[np.uint32]
    lengths: NDArray[np.uint32]
    nodeids: NDArray[np.uint64]
    modes: NDArray[np.uint16]
    nlinks: NDArray[np.uint32]
    sizes: NDArray[np.uint64]
    mtimes_ns: NDArray[np.int64]
    uid: int
    gid: int
    folder_size: int
    """How many names the whole folder has."""


@runtime_checkable
class ListsColumns(Protocol):
    """A static tree that counts no references and lists folders without a loop."""

    def list_columns(self, nodeid: NodeId, start: int, count: int) -> FolderColumns:
        """Return at most `count` names from position `start` on, in `list_dir`'s order."""


class Change(NamedTuple):
    """Something that changed other than through the tree's own methods."""

    parent: NodeId | None
    """With `name`: this name now means something else, or nothing."""
    name: bytes
    nodeid: NodeId | None
    """This node's content or attributes changed."""


@runtime_checkable
class Watchable(Protocol):
    """A tree that tells of changes made behind its back, such as by Storage."""

    def watch(self, listener: ChangeListener) -> None: ...


@runtime_checkable
class ChangesUnderneath(Protocol):
    """A tree whose content others can change without its knowing."""

    @property
    def changes_underneath(self) -> bool:
        """Whether `watch` leaves changes untold."""


class ChangeListener(Protocol):
    def __call__(self, change: Change, /) -> None: ...


@runtime_checkable
class TellsLeftOut(Protocol):
    """A tree that does not show all that its store holds, such as a view's."""

    def left_out(self, nodeid: NodeId) -> Mapping[str, str]:
        """Return what a folder would hold besides, by name, and why it does not."""
