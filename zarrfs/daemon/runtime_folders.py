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
import socket
import stat

from zarrfs.errors import BusyError, DeniedError, ExistsError


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
    return sorted({path for folder in folders for path in glob.glob(f"{folder}/{pattern}")})


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


def _own_folder() -> str:
    if given := os.environ.get("RUNTIME_DIRECTORY"):
        return given.split(":")[0]
    if os.geteuid() == 0:
        return "/run/zarrfs"
    if os.path.isdir(base := os.environ.get("XDG_RUNTIME_DIR", "")):
        return os.path.join(base, "zarrfs")
    return f"/tmp/zarrfs-{os.geteuid()}"
