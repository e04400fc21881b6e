"""Requests: from the bytes of a message to the arguments of its operation.

One parser for each shape of request. It gets the whole message, header
included, in a buffer that may be longer than the message and hold old bytes
behind `end`; so every parser checks `end` before it unpacks, and nothing it
returns but WRITE's data refers to the buffer. The order of the results is that
of the `FileSystem` method of the same name, so that most operations need no
code between.

Raises: MalformedMessageError from every parser, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from struct import Struct
from typing import NamedTuple, TypeAlias

from zarrfs.errors import MalformedMessageError
from zarrfs.fuse_protocol import structs
from zarrfs.fuse_protocol.flags import FSYNC_FDATASYNC, GETATTR_FH

Message: TypeAlias = bytes | bytearray | memoryview

HEADER_SIZE = structs.IN_HEADER.size
WRITE_DATA_OFFSET = HEADER_SIZE + structs.WRITE_IN.size

_NAME_MAX = 4096
"""PATH_MAX: a symlink's target and an xattr's name are names here, too."""


Header: TypeAlias = tuple[int, int, int, int, int, int, int, int]
"""fuse_in_header: len, opcode, unique, nodeid, uid, gid, pid, total_extlen."""


def header(message: Message, end: int) -> Header:
    """Return the header of a message that is `end` bytes long.

    Its last field, in units of 8 bytes, is what extensions take from the end.
    """
    if end < HEADER_SIZE:
        raise MalformedMessageError("header", f"{end} bytes instead of {HEADER_SIZE}")
    fields: Header = structs.IN_HEADER.unpack_from(message)
    if fields[0] != end or HEADER_SIZE + fields[7] * 8 > end:
        raise MalformedMessageError(
            "header", f"says {fields[0]} bytes, {fields[7] * 8} of extensions; came with {end}"
        )
    return fields


def _need(end: int, size: int) -> None:
    if end < HEADER_SIZE + size:
        raise MalformedMessageError("request", f"{end - HEADER_SIZE} bytes instead of {size}")


def _names(message: Message, start: int, end: int, count: int) -> list[bytes]:
    """Return `count` NUL-terminated names that fill `[start, end)` exactly."""
    if end <= start or message[end - 1]:
        raise MalformedMessageError("name", "not terminated")
    names = bytes(message[start : end - 1]).split(b"\0")
    if len(names) != count:
        raise MalformedMessageError("name", f"{len(names)} names instead of {count}")
    for name in names:
        if not name or len(name) > _NAME_MAX:
            raise MalformedMessageError("name", f"of {len(name)} bytes")
    return names


def nothing(message: Message, end: int) -> tuple[()]:
    """READLINK, STATFS, DESTROY: the header says it all."""
    return ()


def name(message: Message, end: int) -> tuple[bytes]:
    """LOOKUP, UNLINK, RMDIR, REMOVEXATTR: one name."""
    if not 42 <= end <= 41 + _NAME_MAX or message[end - 1]:
        raise MalformedMessageError("name", "empty, too long or not terminated")
    only: tuple[bytes] = _bytes_of(end - 41)(message, HEADER_SIZE)
    if 0 in only[0]:
        raise MalformedMessageError("name", "more than one")
    return only


@cache
def _bytes_of(length: int) -> Callable[[Message, int], tuple[bytes]]:
    """Return what copies so many bytes out of a buffer: half the price of slicing it."""
    return Struct(f"{length}s").unpack_from


def forget(message: Message, end: int) -> tuple[int]:
    """FORGET: nlookup."""
    _need(end, 8)
    return structs.FORGET_IN.unpack_from(message, HEADER_SIZE)


def batch_forget(message: Message, end: int) -> tuple[list[tuple[int, int]]]:
    """BATCH_FORGET: a list of (nodeid, nlookup)."""
    _need(end, 8)
    (count,) = structs.BATCH_FORGET_IN.unpack_from(message, HEADER_SIZE)
    _need(end, 8 + 16 * count)
    body = memoryview(message)[HEADER_SIZE + 8 : HEADER_SIZE + 8 + 16 * count]
    return (list(structs.FORGET_ONE.iter_unpack(body)),)


def getattr_(message: Message, end: int) -> tuple[int | None]:
    """GETATTR: the file handle where there is one."""
    _need(end, 16)
    flags, fh = structs.GETATTR_IN.unpack_from(message, HEADER_SIZE)
    return (fh if flags & GETATTR_FH else None,)


class Setattr(NamedTuple):
    """fuse_setattr_in; `valid` says which fields count. Times in nanoseconds."""

    valid: int
    fh: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    mode: int
    uid: int
    gid: int


def setattr_(message: Message, end: int) -> tuple[Setattr]:
    """SETATTR. Seconds are signed: times before 1970 are valid."""
    _need(end, 88)
    (
        valid, fh, size, _lock_owner, atime, mtime, ctime,
        atime_nsec, mtime_nsec, ctime_nsec, mode, uid, gid,
    ) = structs.SETATTR_IN.unpack_from(message, HEADER_SIZE)  # fmt: skip
    return (
        Setattr(
            valid,
            fh,
            size,
            _signed(atime) * 1_000_000_000 + atime_nsec,
            _signed(mtime) * 1_000_000_000 + mtime_nsec,
            _signed(ctime) * 1_000_000_000 + ctime_nsec,
            mode,
            uid,
            gid,
        ),
    )


def _signed(seconds: int) -> int:
    return seconds - (1 << 64) if seconds >> 63 else seconds


def symlink(message: Message, end: int) -> tuple[bytes, bytes]:
    """SYMLINK: name, target."""
    new_name, target = _names(message, HEADER_SIZE, end, 2)
    return new_name, target


def mknod(message: Message, end: int) -> tuple[bytes, int, int, int]:
    """MKNOD: name, mode, rdev, umask."""
    _need(end, 16)
    mode, rdev, umask = structs.MKNOD_IN.unpack_from(message, HEADER_SIZE)
    (new_name,) = _names(message, HEADER_SIZE + 16, end, 1)
    return new_name, mode, rdev, umask


def mkdir(message: Message, end: int) -> tuple[bytes, int, int]:
    """MKDIR: name, mode, umask."""
    _need(end, 8)
    mode, umask = structs.MKDIR_IN.unpack_from(message, HEADER_SIZE)
    (new_name,) = _names(message, HEADER_SIZE + 8, end, 1)
    return new_name, mode, umask


def rename(message: Message, end: int) -> tuple[bytes, int, bytes, int]:
    """RENAME: old name, new parent, new name, flags (always 0)."""
    _need(end, 8)
    (new_parent,) = structs.RENAME_IN.unpack_from(message, HEADER_SIZE)
    old_name, new_name = _names(message, HEADER_SIZE + 8, end, 2)
    return old_name, new_parent, new_name, 0


def rename2(message: Message, end: int) -> tuple[bytes, int, bytes, int]:
    """RENAME2: old name, new parent, new name, flags of renameat2(2)."""
    _need(end, 16)
    new_parent, flags = structs.RENAME2_IN.unpack_from(message, HEADER_SIZE)
    old_name, new_name = _names(message, HEADER_SIZE + 16, end, 2)
    return old_name, new_parent, new_name, flags


def link(message: Message, end: int) -> tuple[int, bytes]:
    """LINK: the node's nodeid, new name (the header's nodeid is the folder)."""
    _need(end, 8)
    (nodeid,) = structs.LINK_IN.unpack_from(message, HEADER_SIZE)
    (new_name,) = _names(message, HEADER_SIZE + 8, end, 1)
    return nodeid, new_name


def open_(message: Message, end: int) -> tuple[int, int]:
    """OPEN, OPENDIR: flags of open(2), open_flags (OPEN_KILL_SUIDGID)."""
    _need(end, 8)
    return structs.OPEN_IN.unpack_from(message, HEADER_SIZE)


def create(message: Message, end: int) -> tuple[bytes, int, int, int, int]:
    """CREATE: name, mode, flags, umask, open_flags."""
    _need(end, 16)
    flags, mode, umask, open_flags = structs.CREATE_IN.unpack_from(message, HEADER_SIZE)
    (new_name,) = _names(message, HEADER_SIZE + 16, end, 1)
    return new_name, mode, flags, umask, open_flags


def read(message: Message, end: int) -> tuple[int, int, int]:
    """READ, READDIR, READDIRPLUS: fh, offset, size."""
    if end < 80:
        raise MalformedMessageError("READ", f"{end - HEADER_SIZE} bytes instead of 40")
    return structs.READ_IN.unpack_from(message, 40)


def write(message: Message, end: int) -> tuple[int, int, memoryview, int]:
    """WRITE: fh, offset, data, write_flags.

    The data refers to the message: valid until the buffer is read into again.
    """
    _need(end, 40)
    fh, offset, size, write_flags, _, _ = structs.WRITE_IN.unpack_from(message, HEADER_SIZE)
    if size != end - HEADER_SIZE - 40:
        raise MalformedMessageError("WRITE", f"of {size} bytes with {end - HEADER_SIZE - 40}")
    return fh, offset, memoryview(message)[WRITE_DATA_OFFSET:end], write_flags


def release(message: Message, end: int) -> tuple[int]:
    """RELEASE, RELEASEDIR: fh."""
    _need(end, 24)
    fh, _flags, _release_flags, _lock_owner = structs.RELEASE_IN.unpack_from(message, HEADER_SIZE)
    return (fh,)


def flush(message: Message, end: int) -> tuple[int]:
    """FLUSH: fh."""
    _need(end, 24)
    fh, _lock_owner = structs.FLUSH_IN.unpack_from(message, HEADER_SIZE)
    return (fh,)


def fsync(message: Message, end: int) -> tuple[int, bool]:
    """FSYNC, FSYNCDIR: fh, whether fdatasync(2) was called."""
    _need(end, 16)
    fh, flags = structs.FSYNC_IN.unpack_from(message, HEADER_SIZE)
    return fh, bool(flags & FSYNC_FDATASYNC)


def setxattr(message: Message, end: int) -> tuple[bytes, bytes, int]:
    """SETXATTR: name, value, flags of setxattr(2)."""
    _need(end, 8)
    size, flags = structs.SETXATTR_IN.unpack_from(message, HEADER_SIZE)
    value_start = end - size
    if value_start < HEADER_SIZE + 8 + 2:
        raise MalformedMessageError("SETXATTR", f"value of {size} bytes, message of {end}")
    (xattr_name,) = _names(message, HEADER_SIZE + 8, value_start, 1)
    return xattr_name, bytes(message[value_start:end]), flags


def getxattr(message: Message, end: int) -> tuple[bytes, int]:
    """GETXATTR: name, size of the caller's buffer (0: tell me the size)."""
    _need(end, 8)
    (size,) = structs.GETXATTR_IN.unpack_from(message, HEADER_SIZE)
    (xattr_name,) = _names(message, HEADER_SIZE + 8, end, 1)
    return xattr_name, size


def listxattr(message: Message, end: int) -> tuple[int]:
    """LISTXATTR: size of the caller's buffer (0: tell me the size)."""
    _need(end, 8)
    return structs.GETXATTR_IN.unpack_from(message, HEADER_SIZE)


def access(message: Message, end: int) -> tuple[int]:
    """ACCESS: mask of access(2)."""
    _need(end, 8)
    return structs.ACCESS_IN.unpack_from(message, HEADER_SIZE)


def interrupt(message: Message, end: int) -> tuple[int]:
    """INTERRUPT: unique of the request that its caller no longer wants."""
    _need(end, 8)
    return structs.INTERRUPT_IN.unpack_from(message, HEADER_SIZE)


def fallocate(message: Message, end: int) -> tuple[int, int, int, int]:
    """FALLOCATE: fh, mode, offset, length."""
    _need(end, 32)
    fh, offset, length, mode = structs.FALLOCATE_IN.unpack_from(message, HEADER_SIZE)
    return fh, mode, offset, length


def lseek(message: Message, end: int) -> tuple[int, int, int]:
    """LSEEK: fh, offset, whence (SEEK_DATA or SEEK_HOLE)."""
    _need(end, 24)
    return structs.LSEEK_IN.unpack_from(message, HEADER_SIZE)


def copy_file_range(message: Message, end: int) -> tuple[int, int, int, int, int, int]:
    """COPY_FILE_RANGE: fh_in, off_in, nodeid_out, fh_out, off_out, len."""
    _need(end, 56)
    fields = structs.COPY_FILE_RANGE_IN.unpack_from(message, HEADER_SIZE)
    return fields[0], fields[1], fields[2], fields[3], fields[4], fields[5]
