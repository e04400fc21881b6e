"""Replies: from the results of operations to the bytes that follow a header.

`Replies` holds what INIT and the mount decided (timeouts), so that building
one reply is one `pack`. Pure; any thread may call it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias

from zarrfs.fuse_protocol import structs

_ENTRY = structs.ENTRY_OUT.pack
_ATTR = structs.ATTR_OUT.pack

_BLOCK_SIZE_BYTES = 4096
_NANOSECONDS = 1_000_000_000
_LONGEST_TIMEOUT_S = 1 << 32


Attr: TypeAlias = tuple[int, int, int, int, int, int, int, int, int, int, int]
"""ino, mode, nlink, uid, gid, rdev, size, blocks, and the times atime, mtime
and ctime in nanoseconds. A named tuple of these fields will do."""

Entry: TypeAlias = tuple[int, Attr, int]
"""nodeid, Attr, generation."""


class StatFsLike(Protocol):
    """The fields of statvfs(3) that fuse_kstatfs carries."""

    @property
    def block_size(self) -> int: ...
    @property
    def blocks(self) -> int: ...
    @property
    def blocks_free(self) -> int: ...
    @property
    def blocks_available(self) -> int: ...
    @property
    def files(self) -> int: ...
    @property
    def files_free(self) -> int: ...
    @property
    def name_max(self) -> int: ...


class Timeout(NamedTuple):
    """How long the kernel may remember, as the wire says it."""

    seconds: int
    nanoseconds: int

    @classmethod
    def from_seconds(cls, seconds: float) -> Timeout:
        """Return the timeout; negative means none, infinity 136 years."""
        if seconds >= _LONGEST_TIMEOUT_S:
            return cls(_LONGEST_TIMEOUT_S, 0)
        return cls(*divmod(int(max(seconds, 0.0) * _NANOSECONDS), _NANOSECONDS))


class Replies:
    """Builds the bodies of replies. Immutable."""

    def __init__(
        self, entry_timeout_s: float, attr_timeout_s: float, negative_timeout_s: float
    ) -> None:
        self.timeouts = (
            *Timeout.from_seconds(entry_timeout_s),
            *Timeout.from_seconds(attr_timeout_s),
        )
        """Seconds and nanoseconds of the entry's timeout, then the attributes'."""
        negative = Timeout.from_seconds(negative_timeout_s)
        self.negative_entry: bytes | None = None
        """LOOKUP's "nothing there, and you may remember that"; or None."""
        if negative > (0, 0):
            zeros = (0,) * 16
            self.negative_entry = _ENTRY(0, 0, negative[0], 0, negative[1], 0, *zeros)

    def entry(self, entry: Entry) -> bytes:
        """LOOKUP, MKNOD, MKDIR, SYMLINK, LINK: fuse_entry_out."""
        nodeid, attr, generation = entry
        entry_s, entry_ns, attr_s, attr_ns = self.timeouts
        ino, mode, nlink, uid, gid, rdev, size, blocks, atime, mtime, ctime = attr
        if atime == mtime == ctime:  # as in every archive, and quicker
            second, nsec = divmod(atime, _NANOSECONDS)
            second &= _MASK
            return _ENTRY(
                nodeid, generation, entry_s, attr_s, entry_ns, attr_ns,
                ino, size, blocks, second, second, second, nsec, nsec, nsec,
                mode, nlink, uid, gid, rdev, _BLOCK_SIZE_BYTES, 0,
            )  # fmt: skip
        return _ENTRY(
            nodeid, generation, entry_s, attr_s, entry_ns, attr_ns,
            ino, size, blocks,
            atime // _NANOSECONDS & _MASK,
            mtime // _NANOSECONDS & _MASK,
            ctime // _NANOSECONDS & _MASK,
            atime % _NANOSECONDS, mtime % _NANOSECONDS, ctime % _NANOSECONDS,
            mode, nlink, uid, gid, rdev, _BLOCK_SIZE_BYTES, 0,
        )  # fmt: skip

    def attr(self, attr: Attr) -> bytes:
        """GETATTR, SETATTR: fuse_attr_out."""
        _, _, attr_s, attr_ns = self.timeouts
        ino, mode, nlink, uid, gid, rdev, size, blocks, atime, mtime, ctime = attr
        return _ATTR(
            attr_s, attr_ns, ino, size, blocks,
            atime // _NANOSECONDS & _MASK,
            mtime // _NANOSECONDS & _MASK,
            ctime // _NANOSECONDS & _MASK,
            atime % _NANOSECONDS, mtime % _NANOSECONDS, ctime % _NANOSECONDS,
            mode, nlink, uid, gid, rdev, _BLOCK_SIZE_BYTES, 0,
        )  # fmt: skip


_MASK = (1 << 64) - 1
"""Seconds are signed; fuse_attr carries them in an unsigned field."""


def opened(handle: int, open_flags: int, backing_id: int = 0) -> bytes:
    """OPEN, OPENDIR, and the end of CREATE's reply: fuse_open_out."""
    return structs.OPEN_OUT.pack(handle, open_flags, backing_id)


def written(size_bytes: int) -> bytes:
    """WRITE, COPY_FILE_RANGE: fuse_write_out."""
    return structs.WRITE_OUT.pack(size_bytes)


def xattr_size(size_bytes: int) -> bytes:
    """GETXATTR, LISTXATTR asked with size 0: fuse_getxattr_out."""
    return structs.GETXATTR_OUT.pack(size_bytes)


def lseek(offset: int) -> bytes:
    """LSEEK: fuse_lseek_out."""
    return structs.LSEEK_OUT.pack(offset)


def statfs(stat: StatFsLike) -> bytes:
    """STATFS: fuse_statfs_out."""
    return structs.STATFS_OUT.pack(
        stat.blocks,
        stat.blocks_free,
        stat.blocks_available,
        stat.files,
        stat.files_free,
        stat.block_size,
        stat.name_max,
        stat.block_size,
    )
