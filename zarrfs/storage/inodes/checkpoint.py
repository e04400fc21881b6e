"""A tree's state as records: what replaces a journal that has grown too long.

Applied to an empty state in this order they give the same tree. Reads the
state only; the caller holds the tree's lock.
"""

from __future__ import annotations

from collections.abc import Iterator

from zarrfs.storage.inodes.extents import journal_ranges, pack
from zarrfs.storage.inodes.node import Node
from zarrfs.storage.inodes.records import (
    NOT_RELOCATED,
    Name,
    NextNode,
    Record,
    SetXattr,
    Whole,
)
from zarrfs.storage.inodes.state import PUBLISHED_OTHER, PUBLISHED_SAME, TreeState


def records_of(state: TreeState) -> Iterator[Record]:
    """Yield the records that make an equal state.

    Nodes come before names: a name that is not its node's chief one is known
    for a further one by that.
    """
    yield NextNode(state.next_nodeid)
    for node in state.nodes.values():
        yield _whole(node)
        for name, value in (node.xattrs or {}).items():
            yield SetXattr(node.nodeid, node.ctime_ns, name, value)
        for settled in (node.settled or {}).values():
            yield settled._replace(source=NOT_RELOCATED)
    for node in state.nodes.values():
        for name, child in (node.names or {}).items():
            yield Name(node.nodeid, child, name)


def live_ranges(state: TreeState) -> Iterator[tuple[int, int]]:
    """Yield the journal ranges of every content; a range may come more than once."""
    for node in state.nodes.values():
        yield from journal_ranges(node.extents)
        if node.published and node.published is not node.extents:
            yield from journal_ranges(node.published)


def _whole(node: Node) -> Whole:
    if node.published is None:
        publication, published = 0, b""
    elif node.published is node.extents:
        publication, published = PUBLISHED_SAME, b""
    else:
        publication, published = PUBLISHED_OTHER, pack(node.published)
    return Whole(
        nodeid=node.nodeid,
        mode=node.mode,
        uid=node.uid,
        gid=node.gid,
        rdev=node.rdev,
        nlink=node.nlink,
        size=node.size,
        atime_ns=node.atime_ns,
        mtime_ns=node.mtime_ns,
        ctime_ns=node.ctime_ns,
        parent=node.parent,
        in_base=node.in_base,
        publication=publication,
        published_size=node.published_size,
        published_mtime_ns=node.published_mtime_ns,
        name=node.name,
        target=node.target,
        extents=pack(node.extents),
        published=published,
    )
