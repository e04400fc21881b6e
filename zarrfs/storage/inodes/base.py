"""What may lie beneath an inode tree: a tree that never changes.

Only what is touched is copied up, name by name and node by node, so a base of
a million entries costs nothing. Nodeids of the base stay what they are; new
nodes are numbered from `last_nodeid + 1`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from zarrfs.storage.tree import Buffer, Entry, NodeId


class Base(Protocol):
    """A static tree. All methods may be called from several threads at once."""

    @property
    def last_nodeid(self) -> int: ...

    def entry(self, nodeid: NodeId) -> Entry:
        """Raises: StaleError."""

    def find(self, parent: NodeId, name: bytes) -> NodeId | None:
        """Return the node under a name, or None; also when `parent` is no folder."""

    def children(self, parent: NodeId) -> Iterator[tuple[bytes, Entry]]: ...

    def place(self, nodeid: NodeId) -> tuple[NodeId, bytes]:
        """Return the parent and the name of a node that is not the root."""

    def read_link(self, nodeid: NodeId) -> bytes: ...

    def read(self, nodeid: NodeId, offset: int, size: int) -> Buffer:
        """Read a file's content. Raises: CorruptError, UnavailableError."""

    def read_archive(self, offset: int, size: int) -> Buffer:
        """Read the base's own file (`extents.IN_ARCHIVE`)."""
