"""Where sockets and records live that last no longer than this boot.

Owns which folder that is, its mode, what becomes of a socket that was left, and
where else this user's processes may have theirs: a service is given its own by
systemd, and XDG_RUNTIME_DIR is set in some sessions of a user and not in others.

Source: XDG Base Directory Specification, "XDG_RUNTIME_DIR"; RuntimeDirectory=
in systemd.exec(5).
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import socket
import stat
import struct
from collections.abc import Iterator
from typing import Final

from zarrfs.errors import BusyError, DeniedError, ExistsError

_PEER_CREDENTIALS: Final = struct.Struct("3i")
"""struct ucred: pid, uid, gid."""
_OUR_SOCKET: Final = re.compile(r"/zarrfs/[0-9]+\.sock$")


def runtime_folder() -> str:
    """Return this user's folder, made with mode 0700 if need be.

    Raises: DeniedError, when somebody else owns it or may write to it; OSError.
    """
    folder = _own_folder()
    with contextlib.suppress(FileExistsError):
        os.makedirs(folder, mode=0o700)
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise DeniedError(
            folder, "is not this user's own folder", remedy="remove it, or set XDG_RUNTIME_DIR"
        )
    return folder


def find_files(pattern: str) -> list[str]:
    """Return the files of a name within this user's reach; within root's are everybody's."""
    uid = os.geteuid()
    folders = [_own_folder(), "/run/zarrfs", "/run/zarrfs-*"]
    whose = "*" if uid == 0 else str(uid)
    folders += [f"/run/user/{whose}/zarrfs", f"/tmp/zarrfs-{whose}"]
    found = {path for folder in folders for path in glob.glob(f"{folder}/{pattern}")}
    return sorted(path for path in found if uid == 0 or _owner(path) == uid)


def bound_sockets() -> list[str]:
    """Return this user's sockets in folders of ours, wherever such a folder lies.

    XDG_RUNTIME_DIR may have been another when a supervisor was started.
    Source: proc_net(5), /proc/net/unix.
    """
    uid = os.geteuid()
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as table:
            paths = [line.rstrip("\n").split(" /", 1)[-1] for line in table]
    except OSError:
        return []
    ours = {f"/{path}" for path in paths if _OUR_SOCKET.search(path)}
    return sorted(path for path in ours if _owner(path) == uid)


def _owner(path: str) -> int | None:
    """Return who owns a file: somebody else's, in /tmp for instance, is not asked."""
    try:
        return os.lstat(path).st_uid
    except OSError:
        return None


def remove_socket_of(pid: int) -> None:
    """Remove the control socket of a supervisor that was killed, or the link to it."""
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(runtime_folder(), f"{pid}.sock"))


def make_way_for_socket(path: str) -> None:
    """Remove a socket that nobody listens at any more, or a link to one.

    Raises: BusyError where somebody listens; ExistsError for what is no socket.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode) and not stat.S_ISLNK(mode):
        raise ExistsError(path, "is not a socket, so it is left alone")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            os.unlink(path)
            return
    raise BusyError(path, "another process answers there")


@contextlib.contextmanager
def sockets_of_mode(mode: int) -> Iterator[None]:
    """Have sockets that are bound meanwhile made with a mode. Of the whole process."""
    previous = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(previous)


def peer_uid(connection: socket.socket) -> int:
    """Return whose process is at the other end. Source: SO_PEERCRED in unix(7)."""
    size = _PEER_CREDENTIALS.size
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    uid: int = _PEER_CREDENTIALS.unpack(credentials)[1]
    return uid


def _own_folder() -> str:
    if given := os.environ.get("RUNTIME_DIRECTORY"):
        return given.split(":")[0]
    if os.geteuid() == 0:
        return "/run/zarrfs"
    if os.path.isdir(base := os.environ.get("XDG_RUNTIME_DIR", "")):
        return os.path.join(base, "zarrfs")
    return f"/tmp/zarrfs-{os.geteuid()}"
