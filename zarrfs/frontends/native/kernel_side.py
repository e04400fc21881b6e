"""The kernel's side of a mount: its device number, read-ahead and abort switch.

Found through the mount table and sysfs, never through the mount itself, which
may be waiting for us. Any thread may call this module.

Source: proc_pid_mountinfo(5), Documentation/ABI/testing/sysfs-class-bdi,
Documentation/filesystems/fuse/fuse.rst ("Control filesystem").
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

_CONNECTIONS = "/sys/fs/fuse/connections"
_BDI = "/sys/class/bdi"


class Device(NamedTuple):
    """The device number of a mount, as `st_dev` shows it."""

    major: int
    minor: int


def device_of(target: str) -> Device | None:
    """Return the device of what is mounted at `target` (absolute, no symlinks)."""
    found = None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            fields = line.split(" ")
            if _unescaped(fields[4]) == target:
                major, _, minor = fields[2].partition(":")
                found = Device(int(major), int(minor))  # the last one is on top
    return found


def _unescaped(field: str) -> str:
    """Undo the octal escapes of spaces, tabs, newlines and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def raise_read_ahead(device: Device, read_ahead_kb: int) -> bool:
    """Set the mount's read-ahead; False where that is refused (not root)."""
    path = f"{_BDI}/{device.major}:{device.minor}/read_ahead_kb"
    try:
        with open(path, "w", encoding="ascii") as read_ahead:
            read_ahead.write(str(read_ahead_kb))
    except OSError:
        return False
    return True


def abort_connection(device: Device, target: str) -> bool:
    """Fail all requests, now and later; False where the switch is not to be had.

    The kernel gives a number to another mount at once; the switch that was opened
    stays its connection's, so that `target` is looked up again once it is open.
    Raises: nothing; a connection that is gone counts as aborted.
    """
    if not os.path.ismount(_CONNECTIONS):
        return False
    try:
        with open(f"{_CONNECTIONS}/{device.minor}/abort", "w", encoding="ascii") as switch:
            if device_of(target) == device:
                switch.write("1")
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
