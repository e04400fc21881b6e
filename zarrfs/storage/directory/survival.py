"""What a directory tree leaves to the process that takes over when it dies.

The node log, and descriptors of files that have no name left but are open or
may be: their content can be reached in no other way.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, Protocol

from zarrfs.storage.directory.node_log import NodeLog
from zarrfs.storage.tree import NodeId

_LOG: Final = "nodes"
_ORPHAN: Final = "orphan-"


class Keeps(Protocol):
    """Keeps descriptors by name until a successor asks for them. Any thread."""

    @property
    def names(self) -> Mapping[str, int]:
        """What a predecessor left."""

    def keep(self, name: str, descriptor: int) -> None:
        """Returns when the descriptor is certain to be kept."""

    def forget(self, name: str) -> None: ...


class Survival:
    """One tree's share of what is kept."""

    def __init__(self, keeper: Keeps) -> None:
        self._keeper = keeper
        left = keeper.names
        self.inherited = _LOG in left
        """Whether a predecessor served this mount."""
        self.orphans: dict[NodeId, int] = {
            NodeId(int(name.removeprefix(_ORPHAN))): descriptor
            for name, descriptor in left.items()
            if name.startswith(_ORPHAN)
        }
        if self.inherited:
            memory = left[_LOG]
        else:
            memory = os.memfd_create("zarrfs-nodes", os.MFD_CLOEXEC)
            keeper.keep(_LOG, memory)
        self.log = NodeLog(memory, replaced=self._replaced)
        if not self.inherited:
            os.close(memory)

    def _replaced(self, memory: int) -> None:
        self._keeper.keep(_LOG, memory)

    def keep_orphan(self, nodeid: NodeId, descriptor: int) -> None:
        if nodeid not in self.orphans:
            self.orphans[nodeid] = descriptor
            self._keeper.keep(f"{_ORPHAN}{nodeid}", descriptor)

    def forget_orphan(self, nodeid: NodeId) -> None:
        if self.orphans.pop(nodeid, None) is not None:
            self._keeper.forget(f"{_ORPHAN}{nodeid}")
