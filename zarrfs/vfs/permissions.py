"""Owners and modes: what stat shows, what access(2) answers, what a new node gets.

With the mount option `default_permissions`, which every read-write mount uses,
the kernel checks permissions itself and ACCESS never arrives. Pure but for
reading `/proc/PID/status`; any thread may call this module.

Specification: path_resolution(7), inode(7) "the set-group-ID bit", mount(8).
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace

from zarrfs.errors import DeniedError
from zarrfs.storage.tree import Attr, AttrChange, Entry, FolderColumns, Owner
from zarrfs.vfs.operations import Caller
from zarrfs.vfs.options import VfsOptions

PERMISSION_BITS = 0o7777


def shown_attr(attr: Attr, options: VfsOptions) -> Attr:
    """Apply `uid=`, `gid=`, `fmode=` and `dmode=` to what is stored."""
    bits = options.dmode if stat.S_ISDIR(attr.mode) else options.fmode
    if bits is not None and not stat.S_ISLNK(attr.mode):
        attr = attr._replace(mode=stat.S_IFMT(attr.mode) | bits)
    if options.uid is not None:
        attr = attr._replace(uid=options.uid)
    if options.gid is not None:
        attr = attr._replace(gid=options.gid)
    return attr


def shown_entry(entry: Entry, options: VfsOptions) -> Entry:
    """`shown_attr` for the attributes inside an entry."""
    return entry._replace(attr=shown_attr(entry.attr, options))


def shown_columns(columns: FolderColumns, options: VfsOptions) -> FolderColumns:
    """`shown_attr` for all names of a listing at once."""
    modes = columns.modes.copy()
    kinds = modes & stat.S_IFMT(0xFFFF)
    for bits, concerned in (
        (options.dmode, kinds == stat.S_IFDIR),
        (options.fmode, (kinds != stat.S_IFDIR) & (kinds != stat.S_IFLNK)),
    ):
        if bits is not None:
            modes[concerned] = kinds[concerned] | bits
    return columns._replace(
        modes=modes,
        uid=columns.uid if options.uid is None else options.uid,
        gid=columns.gid if options.gid is None else options.gid,
    )


def check_change(change: AttrChange, options: VfsOptions, *, is_folder: bool) -> AttrChange:
    """Refuse to change what an option fixes; setting it to the shown value does nothing.

    Raises: OSError EPERM, as file systems without owners answer.
    """
    bits = options.dmode if is_folder else options.fmode
    asked = (
        (change.uid, options.uid),
        (change.gid, options.gid),
        (None if change.mode is None else change.mode & PERMISSION_BITS, bits),
    )
    if any(None not in pair and pair[0] != pair[1] for pair in asked):
        raise OSError(errno.EPERM, "fixed by a mount option")
    return replace(
        change,
        mode=change.mode if bits is None else None,
        uid=change.uid if options.uid is None else None,
        gid=change.gid if options.gid is None else None,
    )


def inherit(parent: Attr, caller: Caller, mode: int) -> tuple[int, Owner]:
    """Return the mode and owner of a new node in `parent`.

    In a set-group-ID folder a node takes the folder's group, and a folder
    takes the bit as well.
    """
    if not parent.mode & stat.S_ISGID:
        return mode, Owner(caller.uid, caller.gid)
    if stat.S_ISDIR(mode):
        mode |= stat.S_ISGID
    return mode, Owner(caller.uid, parent.gid)


def privileges_lost(mode: int) -> int:
    """Return the bits that a write by an ordinary user, or any chown, takes from a mode.

    S_ISGID without group execution once meant mandatory locking, and stays.
    """
    if stat.S_ISDIR(mode):
        return 0
    sgid = stat.S_ISGID if mode & stat.S_IXGRP else 0
    return mode & (stat.S_ISUID | sgid)


def check_access(attr: Attr, caller: Caller, mask: int) -> None:
    """Answer access(2) from the permission bits.

    Raises: DeniedError.
    """
    mode = attr.mode
    if caller.uid == 0:
        if mask & os.X_OK and not stat.S_ISDIR(mode) and not mode & 0o111:
            raise DeniedError("", "not executable")
        return
    if caller.uid == attr.uid:
        granted = mode >> 6
    elif caller.gid == attr.gid or attr.gid in supplementary_groups(caller.pid):
        granted = mode >> 3
    else:
        granted = mode
    if mask & ~granted & 0o7:
        raise DeniedError("", "permission denied")


def supplementary_groups(pid: int) -> frozenset[int]:
    """Return a process's supplementary groups; none where they cannot be known."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            for line in status:
                if line.startswith(b"Groups:"):
                    return frozenset(int(word) for word in line.split()[1:])
    except OSError:
        pass  # the process is gone, or there is no /proc here
    return frozenset()
