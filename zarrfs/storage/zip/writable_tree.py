"""The tree of an archive that is open for writing: what an archive can keep.

Modes, mtimes, symbolic links and empty folders are kept; owners are written
down for other programs. Devices, fifos, sockets and extended attributes are
refused with the errno POSIX gives. Any thread.
"""

from __future__ import annotations

import errno
import os
import stat

from zarrfs.errors import UnsupportedError
from zarrfs.storage.inodes.tree import InodeTree
from zarrfs.storage.tree import Entry, NodeId, Owner

_KEPT_TYPES = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


class WritableArchiveTree(InodeTree):
    def make(
        self,
        parent: NodeId,
        name: bytes,
        mode: int,
        owner: Owner,
        *,
        rdev: int = 0,
        target: bytes = b"",
    ) -> Entry:
        if stat.S_IFMT(mode) not in _KEPT_TYPES:
            # mknod(2): "the file system does not support the type of node requested".
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return super().make(parent, name, mode, owner, rdev=rdev, target=target)

    def set_xattr(self, nodeid: NodeId, name: bytes, value: bytes, flags: int) -> None:
        raise UnsupportedError(os.fsdecode(name), "an archive keeps no extended attributes")
