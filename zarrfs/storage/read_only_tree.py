"""What a tree that nobody can change answers to changes: always the same refusal.

Any thread may call it.
"""

from __future__ import annotations

from typing import NoReturn

from zarrfs.storage.tree import Attr, AttrChange, Entry, NodeId, Owner


class RefusesChanges:
    """The changing half of `FileTree`; whoever inherits it says what is refused."""

    def set_attr(self, nodeid: NodeId, change: AttrChange) -> Attr:
        self._refuse()

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
        self._refuse()

    def link(self, nodeid: NodeId, parent: NodeId, name: bytes) -> Entry:
        self._refuse()

    def unlink(self, parent: NodeId, name: bytes) -> None:
        self._refuse()

    def remove_dir(self, parent: NodeId, name: bytes) -> None:
        self._refuse()

    def rename(
        self, parent: NodeId, name: bytes, new_parent: NodeId, new_name: bytes, flags: int
    ) -> None:
        self._refuse()

    def set_xattr(self, nodeid: NodeId, name: bytes, value: bytes, flags: int) -> None:
        self._refuse()

    def remove_xattr(self, nodeid: NodeId, name: bytes) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        """Raises: ReadOnlyError."""
        raise NotImplementedError
