"""What is mounted where, from the kernel's own table.

Never touches a mounted path, which may hang whoever does. Any thread may call.
Source: proc_pid_mountinfo(5). Elsewhere than on Linux the table is empty.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

_MOUNTINFO = "/proc/self/mountinfo"
_ESCAPE = re.compile(rb"\\([0-7]{3})")
OURS = ("fuse.zarrfs", "zarrfs")
"""The file system types that our mounts have."""


class Mounted(NamedTuple):
    """One line of the table."""

    target: str
    source: str
    fstype: str
    device: str
    """`major:minor`; the minor number names the connection in /sys/fs/fuse."""
    options: str = ""
    """Those of the file system itself, as in `rw,user_id=0,group_id=0`."""

    @property
    def user_id(self) -> int | None:
        """Who mounted it, as fuse(4) is told."""
        found = re.search(r"\buser_id=(\d+)", self.options)
        return int(found[1]) if found else None

    @property
    def is_ours(self) -> bool:
        return self.fstype in OURS


def mounts() -> list[Mounted]:
    """Return what is mounted in this mount namespace, in the order it was mounted."""
    try:
        with open(_MOUNTINFO, "rb") as table:
            return list(_parse(table.read()))
    except FileNotFoundError:
        return []


def mounted_at(target: str) -> Mounted | None:
    """Return the topmost mount whose target is exactly this path."""
    return next((mount for mount in reversed(mounts()) if mount.target == target), None)


def is_automounted(target: str) -> bool:
    """Whether autofs waits at this path for somebody to mount there."""
    mounted = mounted_at(target)
    return mounted is not None and mounted.fstype == "autofs"


def canonical_target(path: str) -> str:
    """Return the path that the table shows for a target, without asking its file system.

    Only the folder above is resolved; the target itself too when it is a link.
    """
    folder, name = os.path.split(os.path.abspath(path))
    target = os.path.join(os.path.realpath(folder), name)
    if mounted_at(target) is None and os.path.islink(target):
        return os.path.realpath(target)
    return target


def _parse(table: bytes) -> Iterator[Mounted]:
    for line in table.splitlines():
        fields = line.split(b" ")
        fstype, source, options = fields[fields.index(b"-", 6) + 1 :][:3]
        yield Mounted(*map(_text, (fields[4], source, fstype, fields[2], options)))


def _text(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field))
