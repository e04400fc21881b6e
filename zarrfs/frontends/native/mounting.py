"""Mounting and unmounting: by mount(2) where we may, by fusermount3 where not.

Owns the way from a target to an open descriptor of `/dev/fuse`, and back. It
answers nothing: until somebody serves the descriptor, whoever touches the
target waits. Any thread may call this module.

Source: mount(2), umount2(2), mount.fuse3(8), fusermount3(1),
Documentation/filesystems/fuse/fuse.rst.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import subprocess
from typing import NoReturn

from zarrfs.errors import (
    BusyError,
    DeniedError,
    NotAFolderError,
    PathNotFoundError,
    UnavailableError,
    UnsupportedError,
    ZarrfsError,
)
from zarrfs.frontends.native.options import NativeOptions
from zarrfs.frontends.native.privileges import may_administer

FUSE_DEVICE = "/dev/fuse"
SUBTYPE = "zarrfs"

# <sys/mount.h>
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_NOATIME = 1024
MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_FUSERMOUNT_TIMEOUT_S = 60.0


def mount(target: str, options: NativeOptions) -> int:
    """Mount at `target` and return the descriptor to serve; its caller closes it.

    Raises: PathNotFoundError, NotAFolderError, DeniedError, UnsupportedError,
    UnavailableError.
    """
    target = _resolved(target)
    if may_administer():
        return _mount_by_syscall(target, options)
    return _mount_by_fusermount(target, options)


def unmount(target: str, *, lazy: bool = False) -> None:
    """Unmount; with `lazy`, at once from the tree and the rest when unused.

    The target itself is never looked into. Raises: BusyError, DeniedError,
    PathNotFoundError (nothing is mounted there).
    """
    if may_administer():
        flags = UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
        code = _libc_call("umount2", os.fsencode(target), flags)
        if code:
            _raise_unmount_error(target, code)
        return
    command = [_fusermount(), "-u", *(["-z"] if lazy else []), "--", target]
    done = subprocess.run(command, capture_output=True, check=False, timeout=_FUSERMOUNT_TIMEOUT_S)
    if done.returncode:
        reason = _last_line(done.stderr)
        raise (BusyError if "busy" in reason else DeniedError)(target, reason)


def force_unmount(target: str) -> None:
    """Abort the connection (MNT_FORCE), as root; the target may stay mounted."""
    _libc_call("umount2", os.fsencode(target), MNT_FORCE | UMOUNT_NOFOLLOW)


def _resolved(target: str) -> str:
    """Return the absolute path without symlinks, as the mount table will show it."""
    try:
        resolved = os.path.realpath(target, strict=True)
        if not stat.S_ISDIR(os.stat(resolved).st_mode):
            raise NotAFolderError(target)
    except FileNotFoundError as error:
        raise PathNotFoundError(target, remedy=f"mkdir -p {target}") from error
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            reason = "a mount whose server died is still there"
            raise UnavailableError(target, reason, remedy=f"umount -l {target}") from error
        raise UnavailableError(target, error.strerror or str(error)) from error
    return resolved


def _mount_by_syscall(target: str, options: NativeOptions) -> int:
    fd = _open_device()
    data = ",".join(
        [
            f"fd={fd}",
            "rootmode=40000",
            f"user_id={os.geteuid()}",
            f"group_id={os.getegid()}",
            *_shared_options(options),
        ]
    )
    flags = MS_NOSUID | MS_NODEV
    for flag, wanted in (
        (MS_RDONLY, options.read_only),
        (MS_NOEXEC, options.noexec),
        (MS_NOATIME, options.noatime),
    ):
        flags |= flag if wanted else 0
    code = _libc_call(
        "mount",
        os.fsencode(options.fsname),
        os.fsencode(target),
        f"fuse.{SUBTYPE}".encode(),
        flags,
        data.encode(),
    )
    if code:
        os.close(fd)
        _raise_mount_error(target, code)
    return fd


def _shared_options(options: NativeOptions) -> list[str]:
    words = [f"max_read={options.max_read}"]
    if options.allow_other:
        words.append("allow_other")
    if options.default_permissions:
        words.append("default_permissions")
    return words


def _open_device() -> int:
    try:
        return os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        reason = "not there: the kernel has no FUSE, or its module is not loaded"
        raise UnsupportedError(FUSE_DEVICE, reason, remedy="modprobe fuse") from error
    except PermissionError as error:
        raise DeniedError(FUSE_DEVICE, remedy=f"chmod 0666 {FUSE_DEVICE}") from error
    except OSError as error:
        raise UnsupportedError(FUSE_DEVICE, error.strerror or str(error)) from error


def _mount_by_fusermount(target: str, options: NativeOptions) -> int:
    """Let the set-user-ID helper mount; it sends the descriptor over a socket."""
    if not os.path.exists(FUSE_DEVICE) or not os.access(FUSE_DEVICE, os.R_OK | os.W_OK):
        os.close(_open_device())  # raises with the reason
    escaped = options.fsname.replace("\\", "\\\\").replace(",", "\\,")
    words = [
        f"fsname={escaped}",
        f"subtype={SUBTYPE}",
        "nosuid",
        "nodev",
        "ro" if options.read_only else "rw",
        *(["noexec"] if options.noexec else []),
        *(["noatime"] if options.noatime else []),
        *_shared_options(options),
    ]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours:
        with theirs:
            process = subprocess.Popen(
                [_fusermount(), "-o", ",".join(words), "--", target],
                env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
            )
        # With our copy of its end closed, a helper that fails ends the wait.
        return _received_descriptor(ours, process, target)


def _received_descriptor(ours: socket.socket, process: subprocess.Popen[bytes], target: str) -> int:
    with process:
        ours.settimeout(_FUSERMOUNT_TIMEOUT_S)
        try:
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
            _, stderr = process.communicate(timeout=_FUSERMOUNT_TIMEOUT_S)
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            process.kill()
            raise UnavailableError("fusermount3", "does not answer") from error
    if fds:
        os.set_inheritable(fds[0], False)
        return fds[0]
    reason = _last_line(stderr) or f"ended with {process.returncode}"
    raise _fusermount_error(target, reason)


def _fusermount_error(target: str, reason: str) -> ZarrfsError:
    if "user_allow_other" in reason:
        return DeniedError(target, reason, remedy="add the line user_allow_other to /etc/fuse.conf")
    if "ermission" in reason or "not permitted" in reason or "no write access" in reason:
        return DeniedError(target, reason)
    return UnavailableError(target, reason)


def _fusermount() -> str:
    for name in ("fusermount3", "fusermount"):
        path = shutil.which(name)
        if path:
            return path
    raise UnsupportedError(
        "fusermount3",
        "not installed, and only CAP_SYS_ADMIN mounts without it",
        remedy="install fuse3",
    )


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1].partition(": ")[2] or lines[-1] if lines else ""


def _libc_call(function: str, *arguments: bytes | int) -> int:
    """Call a function of libc that returns 0; return the errno where it does not."""
    import ctypes  # only who mounts needs it

    libc = ctypes.CDLL(None, use_errno=True)
    converted = [
        ctypes.c_ulong(argument) if isinstance(argument, int) else ctypes.c_char_p(argument)
        for argument in arguments
    ]
    if getattr(libc, function)(*converted) == 0:
        return 0
    return ctypes.get_errno()


def _raise_mount_error(target: str, code: int) -> NoReturn:
    reason = os.strerror(code)
    if code == errno.ENODEV:
        raise UnsupportedError("FUSE", "the kernel has none", remedy="modprobe fuse")
    if code in (errno.EPERM, errno.EACCES):
        raise DeniedError(target, f"mount(2) says: {reason}")
    if code == errno.EBUSY:
        raise BusyError(target, "already mounted")
    raise UnavailableError(target, f"mount(2) says: {reason}")


def _raise_unmount_error(target: str, code: int) -> NoReturn:
    if code == errno.EBUSY:
        raise BusyError(target, "files or folders in it are in use")
    if code in (errno.EINVAL, errno.ENOENT):
        raise PathNotFoundError(target, "nothing is mounted there")
    raise DeniedError(target, f"umount2(2) says: {os.strerror(code)}")
