"""READDIR and READDIRPLUS: the names of a folder at offsets that stay put.

POSIX wants each name that was there all the time exactly once, whatever is
made and removed between two calls. So an open folder keeps the names it had
when it was last read from the start (rewinddir(3) reads anew). A static tree
needs no such copy: its order is its own.

Offset 0 is the start; 1 follows `.`, 2 follows `..`, n + 3 follows name n.
Any thread may call this module.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence

from zarrfs.errors import NotFoundError, StaleError, WrongKindError
from zarrfs.storage.tree import DirEntry, FileTree, ListsEntries, NodeId
from zarrfs.vfs.handles import FolderSession
from zarrfs.vfs.operations import Listing

DOTS = 2
NAMES_ONLY_FROM = 32_768
"""Larger folders whose attributes are remembered for half a second only are listed without:
by the time that the last names are sent, what was said of the first is forgotten."""
_TYPE_BITS = stat.S_IFMT(0xFFFF)
_tuple = tuple.__new__


def list_folder(
    tree: FileTree,
    nodeid: NodeId,
    session: FolderSession | None,
    offset: int,
    resolver: ListsEntries | None,
    *,
    expires: bool = False,
) -> Iterator[Listing]:
    """Yield the names of a folder from `offset` on; with a resolver, their entries too.

    `expires` says that the kernel forgets them soon.
    An entry that is yielded counts as a reference to its node, as one of LOOKUP does.
    """
    if offset < DOTS:
        yield from _dots(tree, nodeid, offset)
        offset = DOTS
    start = offset - DOTS
    if resolver is not None and tree.static:
        yield from _resolved_by_tree(resolver, nodeid, start)
        return
    names = _names(tree, nodeid, session, start)
    if resolver is not None and not (expires and len(names) >= NAMES_ONLY_FROM):
        yield from _resolved_by_name(tree, nodeid, names, start)
        return
    for position in range(start, len(names)):
        found = names[position]
        yield Listing(found.name, found.ino, found.type_bits, position + DOTS + 1, None)


def _dots(tree: FileTree, nodeid: NodeId, offset: int) -> Iterator[Listing]:
    # The kernel knows the parent and shows its number itself; 1 stands for it.
    if offset == 0:
        yield Listing(b".", tree.attr(nodeid).ino, stat.S_IFDIR, 1, None)
    yield Listing(b"..", 1, stat.S_IFDIR, DOTS, None)


def _names(
    tree: FileTree, nodeid: NodeId, session: FolderSession | None, start: int
) -> Sequence[DirEntry]:
    if session is None:
        return tree.list_dir(nodeid)
    if start == 0 or session.names is None:
        session.names = tree.list_dir(nodeid)
    return session.names


def _resolved_by_tree(tree: ListsEntries, nodeid: NodeId, start: int) -> Iterator[Listing]:
    for position, (name, entry) in enumerate(tree.list_entries(nodeid, start), start):
        tree.count_reference(entry.nodeid)
        attr = entry.attr
        yield Listing(name, attr.ino, stat.S_IFMT(attr.mode), position + DOTS + 1, entry)


def _resolved_by_name(
    tree: FileTree, nodeid: NodeId, names: Sequence[DirEntry], start: int
) -> Iterator[Listing]:
    lookup = tree.lookup
    for position in range(start, len(names)):
        name, ino, type_bits = names[position]
        following = position + DOTS + 1
        try:
            entry = lookup(nodeid, name)
        except (NotFoundError, StaleError, WrongKindError, OSError):
            yield Listing(name, ino, type_bits, following, None)
            continue
        shown = entry[1]
        # Twice as quick as Listing(...), once for each name that is listed.
        yield _tuple(Listing, (name, shown[0], shown[1] & _TYPE_BITS, following, entry))
