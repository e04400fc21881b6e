"""`validate=warn`: documents and chunks that cannot be right are told of in the log.

A tree around another that looks at files when they become complete: when a
descriptor that wrote is closed, and when a file gets a Zarr name by rename or
link. Nothing is held back, so files are as fast as without it. Any thread may
call it.
"""

from __future__ import annotations

import logging
import os
import stat

from zarrfs.errors import ZarrfsError
from zarrfs.storage.tree import Attr, Entry, FileTree, NodeId, OpenFile, Owner
from zarrfs.vfs.delegating_tree import DelegatingFile, DelegatingTree
from zarrfs.vfs.validation import Validator
from zarrfs.vfs.zarr_nodes import DOCUMENT_NAME_BYTES, ZarrNodes, may_be_zarr, read_whole
from zarrfs.zarr_format.keys import join_key

logger = logging.getLogger(__name__)


class WarningTree(DelegatingTree):
    """Lets everything through."""

    def __init__(self, inner: FileTree, nodes: ZarrNodes) -> None:
        super().__init__(inner)
        self.nodes = nodes
        self.validator = Validator(nodes)

    def open(self, nodeid: NodeId, flags: int) -> OpenFile:
        file = self.inner.open(nodeid, flags)
        if flags & os.O_ACCMODE == os.O_RDONLY:
            return file
        return self._looked_after(nodeid, file)

    def create(
        self, parent: NodeId, name: bytes, mode: int, owner: Owner, flags: int
    ) -> tuple[Entry, OpenFile]:
        entry, file = super().create(parent, name, mode, owner, flags)
        if not may_be_zarr(name):  # most files of a busy store begin under another name
            return entry, file
        return entry, self._looked_after(entry.nodeid, file)

    def _looked_after(self, nodeid: NodeId, file: OpenFile) -> OpenFile:
        key = self.inner.key_of(nodeid)
        if key is None or not self.validator.concerns(key):
            return file
        return CompletingFile(self, nodeid, file)

    def check(self, nodeid: NodeId, attr: Attr) -> None:
        """Look at a file that is complete; what is wrong goes to the log."""
        try:
            key = self.inner.key_of(nodeid)
            if key is None:
                return
            problem = self.validator.problem(key, attr.size, lambda: read_whole(self.inner, nodeid))
        except (ZarrfsError, OSError) as error:
            logger.info("node %d cannot be looked at: %s", nodeid, error)
            return
        if problem is not None:
            logger.warning("%s: written, but wrong: %s", key, problem)

    def unlink(self, parent: NodeId, name: bytes) -> None:
        self.inner.unlink(parent, name)
        self._name_changed(parent, name)

    def remove_dir(self, parent: NodeId, name: bytes) -> None:
        self.inner.remove_dir(parent, name)
        self.nodes.clear()

    def rename(
        self, parent: NodeId, name: bytes, new_parent: NodeId, new_name: bytes, flags: int
    ) -> None:
        self.inner.rename(parent, name, new_parent, new_name, flags)
        self._name_changed(parent, name)
        self._arrived(new_parent, new_name)

    def link(self, nodeid: NodeId, parent: NodeId, name: bytes) -> Entry:
        entry = self.inner.link(nodeid, parent, name)
        self.check(entry.nodeid, entry.attr)
        return entry

    def _arrived(self, parent: NodeId, name: bytes) -> None:
        if not may_be_zarr(name):
            self.nodes.clear()  # for all we know, a folder
            return
        try:
            entry = self.inner.lookup(parent, name)
        except (ZarrfsError, OSError):
            return  # gone again
        try:
            if stat.S_ISREG(entry.attr.mode):
                self.check(entry.nodeid, entry.attr)
            else:
                self.nodes.clear()
        finally:
            self.inner.forget(entry.nodeid, 1)

    def _name_changed(self, parent: NodeId, name: bytes) -> None:
        if name in DOCUMENT_NAME_BYTES:
            prefix = self.inner.key_of(parent)
            self.nodes.changed(join_key(prefix or "", name.decode()))


class CompletingFile(DelegatingFile):
    """An open file that has its tree look at it when it was changed and is closed."""

    __slots__ = ("_before", "_nodeid", "_tree")

    def __init__(self, tree: WarningTree, nodeid: NodeId, file: OpenFile) -> None:
        super().__init__(file)
        self._tree = tree
        self._nodeid = nodeid
        self._before = self._signature(tree.inner.attr(nodeid))

    @staticmethod
    def _signature(attr: Attr) -> tuple[int, int]:
        return attr.mtime_ns, attr.size

    def close(self) -> None:
        self.file.close()
        try:
            attr = self._tree.inner.attr(self._nodeid)
        except (ZarrfsError, OSError):
            return  # removed meanwhile
        if self._signature(attr) != self._before:
            self._tree.check(self._nodeid, attr)
