"""Whether the kernel's pages of a file are still right when it is opened again.

For content that changes underneath without notice. At each open the file's
size and mtime are compared with those of the open before: equal means that
FOPEN_KEEP_CACHE may be answered. Any thread may call this; each method is one
or two dictionary operations, and losing a race only costs a cache.
"""

from __future__ import annotations

from zarrfs.storage.tree import Attr, NodeId

_MOST_FILES = 65536


class ContentSignatures:
    """The last seen (mtime, size) of files that were opened."""

    def __init__(self) -> None:
        self._seen: dict[NodeId, tuple[int, int]] = {}

    def unchanged(self, nodeid: NodeId, attr: Attr) -> bool:
        """Remember a file's state; return whether it is the one seen before."""
        signature = (attr.mtime_ns, attr.size)
        before = self._seen.get(nodeid)
        if before != signature:
            if len(self._seen) >= _MOST_FILES:
                self._seen.clear()
            self._seen[nodeid] = signature
        return before == signature

    def forget(self, nodeid: NodeId) -> None:
        self._seen.pop(nodeid, None)
