"""System calls that Python's `os` lacks: openat2, renameat2, fallocate, utimensat, syncfs.

Each function raises `OSError` as `os` does. `ENOSYS` means that the kernel or
C library has no such call. Any thread may call them; ctypes lets go of the
interpreter lock meanwhile.

Specification: openat2(2), rename(2), fallocate(2), utimensat(2), sync(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08

O_PATH: Final[int] = getattr(os, "O_PATH", 0)
"""A descriptor that only names; plain opening for reading where there is none."""

_SYS_OPENAT2: Final = 437  # the same on every architecture, as all calls after 5.1
_AT_FDCWD: Final = -100
_UTIME_OMIT: Final = (1 << 30) - 2

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    """struct open_how of `/usr/include/linux/openat2.h`, 24 bytes, Linux 5.6."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


def openat2(dir_fd: int, path: bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """Open below `dir_fd` under the rules of `resolve` and return the descriptor."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    result: int = _libc.syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(dir_fd),
        ctypes.c_char_p(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    return _checked(result, path)


def renameat2(dir_fd: int, name: bytes, new_dir_fd: int, new_name: bytes, flags: int) -> None:
    _checked(
        _function("renameat2")(
            dir_fd, ctypes.c_char_p(name), new_dir_fd, ctypes.c_char_p(new_name), flags
        ),
        name,
    )


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    function = _function("fallocate")
    _checked(function(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


def utimensat(path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
    """Set times, following a last symbolic link; `None` leaves one as it is."""
    times = (_Timespec * 2)(_timespec(atime_ns), _timespec(mtime_ns))
    _checked(_function("utimensat")(_AT_FDCWD, ctypes.c_char_p(path), times, 0), path)


def syncfs(fd: int) -> None:
    """Write out the whole file system that a descriptor is on."""
    _checked(_function("syncfs")(fd))


def _timespec(time_ns: int | None) -> _Timespec:
    if time_ns is None:
        return _Timespec(0, _UTIME_OMIT)
    return _Timespec(*divmod(time_ns, 1_000_000_000))


def _function(name: str) -> ctypes._NamedFuncPointer:
    try:
        function: ctypes._NamedFuncPointer = getattr(_libc, name)
    except AttributeError:
        raise OSError(errno.ENOSYS, f"no {name} in this C library") from None
    return function


def _checked(result: int, path: bytes = b"") -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(path))
    return result
