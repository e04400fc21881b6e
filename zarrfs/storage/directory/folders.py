"""Descriptors of folders, through which everything in a tree is reached.

Every operation names one component below a folder's descriptor, so a path is
never walked again and a folder swapped for a symbolic link in the meantime
leads nowhere. Descriptors are O_PATH; a bounded number is kept, and a missing
one is opened anew beneath the root with openat2(2), or name by name with
O_NOFOLLOW where the kernel has no openat2, and checked to be the folder meant.

Any thread may call this; see `descriptors` for why eviction is safe.
"""

from __future__ import annotations

import errno
import os
import threading

from zarrfs.errors import StaleError
from zarrfs.storage.directory import syscalls
from zarrfs.storage.directory.descriptors import Descriptor
from zarrfs.storage.directory.node_table import NodeTable
from zarrfs.storage.tree import ROOT, NodeId

_KEPT = 256
FOLDER_FLAGS = syscalls.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ASK_STEPWISE = (errno.ENOSYS, errno.ENAMETOOLONG, errno.EAGAIN, errno.EPERM)
"""openat2 missing, forbidden (seccomp), raced, or the path beyond PATH_MAX."""


class RootFolder:
    """The folder that nothing may leave, and how paths below it are opened."""

    def __init__(self, path: str, *, follow_symlinks: bool) -> None:
        """Raises: OSError."""
        self.descriptor = Descriptor(os.open(path, FOLDER_FLAGS))
        self.follow_symlinks = follow_symlinks
        self.no_follow = 0 if follow_symlinks else os.O_NOFOLLOW

    def open(self, path: bytes, flags: int, mode: int = 0o666) -> int:
        """Open a relative path of any length. Raises: OSError."""
        if self.follow_symlinks:
            return os.open(path or b".", flags | os.O_CLOEXEC, mode, dir_fd=self.descriptor.fd)
        resolve = (
            syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
        )
        created_mode = mode if flags & os.O_CREAT else 0
        try:
            return syscalls.openat2(self.descriptor.fd, path or b".", flags, resolve, created_mode)
        except OSError as error:
            if error.errno not in _ASK_STEPWISE:
                raise
        return self._open_stepwise(path, flags, mode)

    def _open_stepwise(self, path: bytes, flags: int, mode: int) -> int:
        folder = self.descriptor
        *above, last = path.split(b"/") if path else [b"."]
        for name in above:
            folder = open_folder(folder, name, self.no_follow)
        return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder.fd)


def open_folder(parent: Descriptor, name: bytes, no_follow: int = os.O_NOFOLLOW) -> Descriptor:
    return Descriptor(os.open(name, FOLDER_FLAGS | no_follow, dir_fd=parent.fd))


class FolderDescriptors:
    """The folders of one tree by nodeid."""

    def __init__(self, root: RootFolder, nodes: NodeTable) -> None:
        self._root = root
        self._nodes = nodes
        self._lock = threading.Lock()
        self._kept: dict[NodeId, Descriptor] = {}
        """Guarded by: `_lock`; single reads need no lock."""

    def get(self, nodeid: NodeId) -> Descriptor:
        """Raises: StaleError when it is gone; OSError ENOTDIR."""
        if nodeid == ROOT:
            return self._root.descriptor
        descriptor = self._kept.get(nodeid)
        return self._open(nodeid) if descriptor is None else descriptor

    def kept(self, nodeid: NodeId) -> Descriptor | None:
        """Return the descriptor only if it is at hand."""
        return self._root.descriptor if nodeid == ROOT else self._kept.get(nodeid)

    def _open(self, nodeid: NodeId) -> Descriptor:
        node = self._nodes.get(nodeid)
        names = self._nodes.names_to(nodeid)
        if names is None:
            if node.descriptors:  # removed, and kept for whoever stands in it
                return node.descriptors[-1]
            raise StaleError(f"node {nodeid}", "the folder is gone")
        try:
            descriptor = Descriptor(
                self._root.open(b"/".join(names), FOLDER_FLAGS | self._root.no_follow)
            )
        except FileNotFoundError as error:
            raise StaleError(f"node {nodeid}", "the folder is gone") from error
        if not node.is_of(os.fstat(descriptor.fd)):
            raise StaleError(f"node {nodeid}", "another folder took its place")
        self.keep(nodeid, descriptor)
        return descriptor

    def keep(self, nodeid: NodeId, descriptor: Descriptor) -> None:
        """Have a folder's descriptor at hand; who made a folder will use it next."""
        with self._lock:
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[nodeid] = descriptor

    def drop(self, nodeid: NodeId) -> None:
        with self._lock:
            self._kept.pop(nodeid, None)

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
