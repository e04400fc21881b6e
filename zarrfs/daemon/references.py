"""Whether the kernel still refers to an older state of a source.

Nobody counts that for trees which need no counting, so the kernel is asked: it
says of any nodeid whether it has an inode for it. What it knows only because it
once looked a name up is made to go: the name is taken away, which hurts nobody,
since no path leads to an older state. What is left then is open, or
somebody stands in it; one such node is remembered, and nothing else is asked
about until that is gone.

When all nodes were asked about and none is known, none will be again: paths begin
at the root, which is another state's, and what hangs below a node keeps that
node known. One thread calls it. Source: fuse_reverse_inval_inode and
fuse_reverse_inval_entry in fs/fuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeAlias, runtime_checkable

from zarrfs.storage.tree import NodeId

Place: TypeAlias = tuple[NodeId, bytes]
_ASKED_AT_ONCE: Final = 5000
"""About ten milliseconds of a processor."""


@runtime_checkable
class TellsReferences(Protocol):
    """A mount that can say what the kernel refers to."""

    def knows(self, nodeid: NodeId) -> bool:
        """Whether the kernel has an inode for a node."""

    def drop_name(self, parent: NodeId, name: bytes) -> None:
        """Have the kernel let go of what it remembers under a name."""


class References:
    """The kernel's references to the nodes of one state."""

    def __init__(
        self,
        mount: TellsReferences,
        nodeids: Callable[[], Iterator[NodeId]],
        place_of: Callable[[NodeId], Place | None],
    ) -> None:
        """`nodeids` yields all there may be, `place_of` says where one has its name."""
        self._mount = mount
        self._nodeids = nodeids
        self._place_of = place_of
        self._left = nodeids()
        self._known: NodeId | None = None
        """One that the kernel knew in this pass over all nodes."""
        self._waits = False
        """Whether the pass is over and `_known` has to go first."""

    def are_gone(self) -> bool:
        """Ask on; True when all nodes were asked about and none is known."""
        if self._waits and self._known is not None:
            if self._mount.knows(self._known):
                return False
            self._left, self._known, self._waits = self._nodeids(), None, False
        for _ in range(_ASKED_AT_ONCE):
            nodeid = next(self._left, None)
            if nodeid is None:
                self._waits = True
                return self._known is None
            if self._mount.knows(nodeid):
                self._meet(nodeid)
        return False

    def _meet(self, nodeid: NodeId) -> None:
        place = self._place_of(nodeid)
        if place is not None:
            self._mount.drop_name(*place)
        if self._mount.knows(nodeid):
            self._known = nodeid
