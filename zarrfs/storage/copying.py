"""One store's files copied into another: folders, symlinks, modes, owners and times.

Contents are read as values by key, so that a file which is being written is
copied as it was last published. What an archive cannot hold (devices, further
hard links) is left out or becomes a file of its own. One thread.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from zarrfs.errors import KeyNotFoundError
from zarrfs.storage.backend import Backend, Key
from zarrfs.storage.tree import (
    ROOT,
    Attr,
    AttrChange,
    Buffer,
    Entry,
    FileTree,
    NodeId,
    Owner,
)
from zarrfs.zarr_format.keys import join_key


class _Folder(NamedTuple):
    """A folder and its copy; both are referred to until the copy is complete."""

    key: str
    source: NodeId
    copy: NodeId
    attr: Attr


def copy_files(source: Backend, tree: FileTree, target: FileTree) -> None:
    """Copy everything below the root of `source`, whose tree is `tree`, into an empty tree.

    Raises: what reading and writing raise, NoSpaceError above all.
    """
    folders = [_Folder("", ROOT, ROOT, tree.attr(ROOT))]
    for folder in folders:  # grows while it is walked
        for name, _, _ in tree.list_dir(folder.source):
            found = tree.lookup(folder.source, name)
            kind = stat.S_IFMT(found.attr.mode)
            if kind == stat.S_IFDIR:
                key = join_key(folder.key, os.fsdecode(name))
                copy = target.make(folder.copy, name, found.attr.mode, _owner(found.attr))
                folders.append(_Folder(key, found.nodeid, copy.nodeid, found.attr))
                continue
            if kind == stat.S_IFREG:
                _copy_file(source, folder, name, found, target)
            elif kind == stat.S_IFLNK:
                link = tree.read_link(found.nodeid)
                copy = target.make(
                    folder.copy, name, found.attr.mode, _owner(found.attr), target=link
                )
                target.forget(copy.nodeid, 1)
            tree.forget(found.nodeid, 1)
    for folder in reversed(folders):
        # Last, because whatever is made in a folder changes its times.
        target.set_attr(folder.copy, _attributes(folder.attr))
        if folder.source != ROOT:
            tree.forget(folder.source, 1)
            target.forget(folder.copy, 1)


def _copy_file(
    source: Backend, folder: _Folder, name: bytes, found: Entry, target: FileTree
) -> None:
    try:
        data = source.get(Key(join_key(folder.key, os.fsdecode(name))))
    except KeyNotFoundError:
        return  # never published, or gone by now
    copy = target.make(folder.copy, name, found.attr.mode, _owner(found.attr))
    try:
        _write(target, copy.nodeid, data)
        target.set_attr(copy.nodeid, _attributes(found.attr))
    finally:
        target.forget(copy.nodeid, 1)


def _write(tree: FileTree, nodeid: NodeId, data: Buffer) -> None:
    file = tree.open(nodeid, os.O_WRONLY)
    try:
        view = memoryview(data)
        offset = 0
        while offset < len(view):
            offset += file.write(offset, view[offset:])
        file.flush()
    finally:
        file.close()


def _owner(attr: Attr) -> Owner:
    return Owner(attr.uid, attr.gid)


def _attributes(attr: Attr) -> AttrChange:
    return AttrChange(
        mode=stat.S_IMODE(attr.mode),
        uid=attr.uid,
        gid=attr.gid,
        atime_ns=attr.atime_ns,
        mtime_ns=attr.mtime_ns,
    )
