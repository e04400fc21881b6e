"""A second descriptor of a connection, whose requests end with it.

What is read through a descriptor waits there for its answer. A kernel without
FUSE_NOTIFY_RESEND (before 6.9) has no way to send it again; but when the
descriptor is closed, because its process died, the kernel fails what was read
through it with ECONNABORTED, while the connection lives on through the
others. So there a worker reads through a descriptor of its own.

Source: FUSE_DEV_IOC_CLONE in Documentation/filesystems/fuse/fuse.rst;
fuse_dev_release() in fs/fuse/dev.c (Linux 4.2).
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys

from zarrfs.frontends.native.mounting import FUSE_DEVICE

logger = logging.getLogger(__name__)

# _IOR(229, 0, uint32_t)
_CLONE = 0x8004E500


def clone_device(fd: int) -> int:
    """Return a new descriptor of the same connection, or `fd` where that is refused."""
    try:
        clone = os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        _warn(error)
        return fd
    try:
        fcntl.ioctl(clone, _CLONE, fd.to_bytes(4, sys.byteorder))
    except OSError as error:
        os.close(clone)
        _warn(error)
        return fd
    return clone


def _warn(error: OSError) -> None:
    logger.warning("requests in flight will hang if this process dies: %s", error)
