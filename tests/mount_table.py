"""Which FUSE mounts lie below a folder, and how to be rid of them.

Everything here asks the kernel's tables (`/proc/self/mountinfo`, `/sys/fs/fuse`)
and never a mounted path, which may hang whoever touches it. Any thread may call.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

MOUNTINFO = Path("/proc/self/mountinfo")
FUSE_DEVICE = Path("/dev/fuse")


class FuseMount(NamedTuple):
    target: Path
    fstype: str
    minor: int
    """The device's minor number: the connection's name in /sys/fs/fuse."""


def fuse_usable() -> bool:
    """Return whether this process may mount at all."""
    try:
        os.close(os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def fuse_mounts_below(folder: Path) -> list[FuseMount]:
    """Return the FUSE mounts below a folder, innermost first.

    Source: proc_pid_mountinfo(5); fields after the lone `-` are fstype, source, options.
    """
    found = []
    for line in MOUNTINFO.read_bytes().splitlines():
        fields = line.split(b" ")
        fstype = fields[fields.index(b"-") + 1].decode()
        target = Path(os.fsdecode(fields[4].decode("unicode_escape").encode("latin-1")))
        if fstype.startswith("fuse") and fstype != "fusectl" and folder in target.parents:
            found.append(FuseMount(target, fstype, int(fields[2].partition(b":")[2])))
    return found[::-1]


def abort(mount: FuseMount) -> None:
    """Fail every request of a connection, waiting ones included, with ENOTCONN.

    Device numbers are used again at once: one that was unmounted since it was looked
    up may be another test's mount by now. So the switch is opened first: it stays that
    of the connection it was then, and if the mount is still there, it is the mount's.
    """
    try:
        with Path(f"/sys/fs/fuse/connections/{mount.minor}/abort").open("w") as switch:
            if mount in fuse_mounts_below(mount.target.parent):
                switch.write("1")
    except OSError:
        pass  # gone already, or not ours to abort


def remove(mount: FuseMount) -> None:
    """Abort a mount, then detach it from the tree."""
    abort(mount)
    for command in (["umount", "-l"], ["fusermount3", "-uz"]):
        try:
            done = subprocess.run(
                [*command, str(mount.target)], capture_output=True, timeout=60, check=False
            )
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            return
