"""The callbacks of libfuse that make, remove and rename names.

Signatures are those of fusepy's `Operations`. libfuse calls from several
threads at once. Source: `struct fuse_operations` (libfuse's fuse.h).
"""

from __future__ import annotations

from zarrfs.frontends.fusepy_callbacks import ENCODING, Callbacks, answered, as_bytes
from zarrfs.frontends.fusepy_paths import split
from zarrfs.vfs.operations import Caller


class NameCallbacks(Callbacks):
    """Everything that changes what a folder lists."""

    @answered
    def mknod(self, path: str, mode: int, dev: int) -> int:
        caller = self._caller()
        folder, name = split(as_bytes(path))
        with self._node(caller, folder) as parent:
            entry = self._fs.mknod(caller, parent, name, mode, dev, 0)
        self._paths.unpin(self._paths.remember(as_bytes(path), entry))
        return 0

    @answered
    def mkdir(self, path: str, mode: int) -> int:
        caller = self._caller()
        folder, name = split(as_bytes(path))
        with self._node(caller, folder) as parent:
            entry = self._fs.mkdir(caller, parent, name, mode, 0)
        self._paths.unpin(self._paths.remember(as_bytes(path), entry))
        return 0

    @answered
    def symlink(self, target: str, source: str) -> int:
        """Make a symbolic link at `target` that holds the text `source`."""
        caller = self._caller()
        folder, name = split(as_bytes(target))
        with self._node(caller, folder) as parent:
            entry = self._fs.symlink(caller, parent, name, as_bytes(source))
        self._paths.unpin(self._paths.remember(as_bytes(target), entry))
        return 0

    @answered
    def readlink(self, path: str) -> str:
        caller = self._caller()
        with self._node(caller, path) as nodeid:
            return self._fs.readlink(caller, nodeid).decode(ENCODING)

    @answered
    def link(self, target: str, source: str) -> int:
        """Give the file at `source` the further name `target`."""
        caller = self._caller()
        folder, name = split(as_bytes(target))
        with self._node(caller, source) as nodeid, self._node(caller, folder) as parent:
            entry = self._fs.link(caller, nodeid, parent, name)
        self._paths.unpin(self._paths.remember(as_bytes(target), entry))
        return 0

    @answered
    def unlink(self, path: str) -> int:
        caller = self._caller()
        if (hidden := self._departures.show_out(as_bytes(path))) is not None:
            self._paths.unpin(hidden)
            return 0
        self._unlink(caller, as_bytes(path))
        return 0

    def _unlink(self, caller: Caller, path: bytes) -> None:
        folder, name = split(path)
        parent = self._paths.pin(caller, folder)
        try:
            self._fs.unlink(caller, parent.nodeid, name)
        finally:
            self._paths.unpin(parent)
        self._paths.drop(path)

    @answered
    def rmdir(self, path: str) -> int:
        caller = self._caller()
        folder, name = split(as_bytes(path))
        with self._node(caller, folder) as parent:
            self._fs.rmdir(caller, parent, name)
        self._paths.drop(as_bytes(path))
        return 0

    @answered
    def rename(self, old: str, new: str, flags: int = 0) -> int:
        caller = self._caller()
        if (
            flags == 0
            and self._departures.is_hiding(as_bytes(old), as_bytes(new))
            and self._hide(caller, as_bytes(old), as_bytes(new))
        ):
            return 0
        self._departures.claim(as_bytes(new))
        old_folder, old_name = split(as_bytes(old))
        new_folder, new_name = split(as_bytes(new))
        with (
            self._node(caller, old_folder) as parent,
            self._node(caller, new_folder) as new_parent,
        ):
            self._fs.rename(caller, parent, old_name, new_parent, new_name, flags)
        self._paths.drop(as_bytes(old))
        self._paths.drop(as_bytes(new))
        return 0

    def _hide(self, caller: Caller, old: bytes, new: bytes) -> bool:
        """Do what libfuse means by this rename, if it is libfuse's: the file is open."""
        node = self._pin(caller, old)
        if not self._is_open(node.nodeid):
            self._paths.unpin(node)
            return False
        self._departures.hide(old, new, node, lambda: self._unlink(caller, old))
        return True
