"""Whether a source can be mounted at a target, found out before anything is done.

Each check raises the error that a user should read, with the way out. What
changes between the check and the mount is still refused by whoever mounts.
"""

from __future__ import annotations

import errno
import os

from zarrfs.daemon.mounting_table import canonical_target, is_automounted, mounted_at
from zarrfs.errors import (
    BusyError,
    CreateFailedError,
    DeniedError,
    InvalidArgumentError,
    NotAFolderError,
    NotEmptyError,
    PathNotFoundError,
)

FUSE_CONF = "/etc/fuse.conf"


def check_target(target: str, *, nonempty: bool, mkdir: bool = False) -> str:
    """Return the canonical path of a folder that can be mounted on.

    Raises: PathNotFoundError, NotAFolderError, NotEmptyError, BusyError,
    DeniedError, CreateFailedError.
    """
    target = canonical_target(target)
    mounted = mounted_at(target)
    if mounted is not None and mounted.is_ours:
        raise BusyError(target, f"{mounted.source} is mounted here (zarrfs unmount {target})")
    if is_automounted(target):
        return target  # whoever looks into it waits for what we are about to mount
    if mkdir:
        _make(target)
    try:
        names = os.listdir(target)
    except FileNotFoundError:
        raise PathNotFoundError(target, "no such folder", remedy="--mkdir makes it") from None
    except NotADirectoryError:
        raise NotAFolderError(target, "not a folder, so nothing can be mounted on it") from None
    except PermissionError:
        raise DeniedError(target, "you may not enter this folder") from None
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        reason = "a mount whose daemon has died is still here"
        raise BusyError(target, f"{reason} (zarrfs unmount {target})") from None
    if names and not nonempty:
        remedy = "-o nonempty mounts over it and hides what is there"
        raise NotEmptyError(target, "the folder is not empty", remedy=remedy)
    return target


def _make(target: str) -> None:
    try:
        os.makedirs(target, exist_ok=True)
    except FileExistsError:
        pass  # not a folder: the caller says so
    except OSError as error:
        reason = error.strerror or str(error)
        raise CreateFailedError(target, f"cannot make the folder: {reason}") from error


def check_source(source: str, *, create: bool) -> str:
    """Return the absolute path of a source in the file system.

    Symbolic links stay in it, so that one which is made to lead elsewhere is followed.

    Raises: PathNotFoundError, DeniedError.
    """
    source = os.path.abspath(source)
    try:
        os.stat(source)
    except (FileNotFoundError, NotADirectoryError):
        folder = os.path.dirname(source)
        if create and os.path.isdir(folder):
            return source
        if create:
            raise PathNotFoundError(folder, "no such folder", remedy="make it first") from None
        remedy = "--create makes a new, empty archive"
        raise PathNotFoundError(source, "no such file or folder", remedy=remedy) from None
    except PermissionError as error:
        raise DeniedError(source, "you may not read it") from error
    return source


def check_apart(source: str, target: str) -> None:
    """Refuse a mount that would hide or contain its own source.

    Raises: InvalidArgumentError.
    """
    if target == source or _within(target, source):
        reason = f"the target lies inside the source {source}: the mount would contain itself"
        raise InvalidArgumentError(target, reason, remedy="mount it elsewhere")
    if _within(source, target):
        reason = f"the source {source} lies inside the target: the mount would hide it"
        raise InvalidArgumentError(target, reason, remedy="mount it elsewhere")


def _within(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def check_allow_other() -> None:
    """Raises: DeniedError where fuse.conf does not let this user use `allow_other`.

    It binds who mounts by fusermount3. Source: mount.fuse3(8), "/etc/fuse.conf".
    """
    from zarrfs.frontends.native.privileges import may_administer

    if may_administer() or user_allow_other():
        return
    reason = f"{FUSE_CONF} does not let users do this"
    remedy = f"as root: echo user_allow_other >> {FUSE_CONF}"
    raise DeniedError("-o allow_other", reason, remedy=remedy)


def user_allow_other() -> bool:
    """Whether users other than root may use `allow_other`."""
    try:
        with open(FUSE_CONF, encoding="utf-8", errors="replace") as conf:
            return any(line.strip() == "user_allow_other" for line in conf)
    except OSError:
        return False
