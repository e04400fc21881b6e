"""A node of the tree, in memory.

Guarded by the tree's lock, all of it. `Node.entry` is what a lookup answers,
made once and thrown away (`touch`) whenever something that stat shows changes.

A file has two contents: `extents`, which every file handle sees at once, and
`published`, which `Storage` sees: the value as of the last close, fsync or
rename. They are the same list until somebody writes (`own_extents`).
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator

from zarrfs.storage.inodes.extents import Extent, journal_ranges
from zarrfs.storage.inodes.records import Settled
from zarrfs.storage.tree import Attr, Entry, NodeId

HIDDEN = 0
"""In `Node.names`: the base has this name, but it is gone."""

NO_PARENT = NodeId(0)


class Node:
    __slots__ = (
        "atime_ns",
        "ctime_ns",
        "data_bytes",
        "dirty_handles",
        "extents",
        "gid",
        "handles",
        "horizon",
        "in_base",
        "inherited",
        "kept_entry",
        "mode",
        "mtime_ns",
        "name",
        "names",
        "nlink",
        "nodeid",
        "other_names",
        "parent",
        "published",
        "published_mtime_ns",
        "published_size",
        "rdev",
        "references",
        "settled",
        "size",
        "target",
        "uid",
        "writers",
        "xattrs",
    )

    def __init__(self, nodeid: NodeId, mode: int, uid: int, gid: int, time_ns: int) -> None:
        self.nodeid = nodeid
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.rdev = 0
        self.nlink = 1
        self.size = 0
        self.atime_ns = self.mtime_ns = self.ctime_ns = time_ns
        self.target = b""
        self.parent = NO_PARENT
        """With `name`: one of the node's names, the latest that is known."""
        self.name = b""
        self.other_names: set[tuple[int, bytes]] | None = None
        self.in_base = False
        """Whether names not in `names` are to be looked for in the base."""
        self.names: dict[bytes, int] | None = {} if stat.S_ISDIR(mode) else None
        self.xattrs: dict[bytes, bytes] | None = None
        self.extents: list[Extent] = []
        self.data_bytes = 0
        """Invariant: the bytes of `extents`, holes left out."""
        self.published: list[Extent] | None = None
        self.published_size = 0
        self.published_mtime_ns = 0
        self.horizon = 0
        """Invariant: a journal offset below it in `extents` is also in `published`."""
        self.settled: dict[bytes, Settled] | None = None
        """Entries of what is published, by path. Invariant: gone when that changes."""
        # Not in the journal: who holds the node now.
        self.references = 0
        self.inherited = False
        """Whether a predecessor may have handed out references we do not know of."""
        self.handles = 0
        self.writers = 0
        self.dirty_handles = 0
        self.kept_entry: Entry | None = None

    @property
    def is_folder(self) -> bool:
        return self.names is not None

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def unpublished(self) -> bool:
        """Whether `Storage` does not see yet what file handles see."""
        return self.published is not self.extents or self.published_size != self.size

    def touch(self) -> None:
        self.kept_entry = None

    def entry(self) -> Entry:
        entry = self.kept_entry
        if entry is None:
            entry = self.kept_entry = Entry(self.nodeid, self.attr())
        return entry

    def attr(self) -> Attr:
        return Attr(
            self.nodeid,
            self.mode,
            self.nlink,
            self.uid,
            self.gid,
            self.rdev,
            self.size,
            (self.data_bytes + 511) // 512,
            self.atime_ns,
            self.mtime_ns,
            self.ctime_ns,
        )

    def own_extents(self) -> list[Extent]:
        """Return `extents` for changing; what is published stays as it is."""
        if self.extents is self.published:
            self.extents = self.extents.copy()
            self.horizon = max((end for _, end in journal_ranges(self.extents)), default=0)
        return self.extents

    def publish(self) -> None:
        self.published = self.extents
        self.published_size = self.size
        self.published_mtime_ns = self.mtime_ns

    def unshared(self, removed: Iterable[Extent]) -> Iterator[tuple[int, int]]:
        """Yield the journal ranges of extents cut from `extents` that nothing else uses.

        What lies below the horizon is published still, and is dealt with when
        the next publication replaces it.
        """
        horizon = self.horizon if self.published else 0
        for begin, end in journal_ranges(removed):
            if end > horizon:
                yield max(begin, horizon), end
