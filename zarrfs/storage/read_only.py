"""What trees and files that nobody can change answer to changes: one refusal.

Any thread may call it.
"""

from __future__ import annotations

from typing import NoReturn

from zarrfs.storage.tree import Attr, AttrChange, Buffer, Entry, NodeId, Owner


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


class ReadsOnly:
    """All of `OpenFile` but reading, where nothing is held that must be let go.

    Whoever inherits it says what is refused.
    """

    __slots__ = ()

    def write(self, offset: int, data: Buffer) -> int:
        self._refuse()

    def truncate(self, size: int) -> None:
        self._refuse()

    def allocate(self, mode: int, offset: int, length: int) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        """Raises: what is refused."""
        raise NotImplementedError

    def sync(self, *, data_only: bool) -> None:
        pass

    def flush(self) -> None:
        pass

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        pass
