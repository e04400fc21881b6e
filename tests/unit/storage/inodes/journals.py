"""Journals and trees for the tests of `zarrfs.storage.inodes`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zarrfs.storage.inodes.base import Base
from zarrfs.storage.inodes.journal import Journal
from zarrfs.storage.inodes.space import Space
from zarrfs.storage.inodes.tree import InodeTree
from zarrfs.storage.tree import Owner

OWNER = Owner(1000, 100)


@contextmanager
def memory_tree(*, limit_bytes: int | None = None) -> Iterator[InodeTree]:
    """A fresh tree in a memfd."""
    fd = os.memfd_create("test")
    journal = Journal.create(Space(fd, mapped=True, limit_bytes=limit_bytes), durable=False)
    tree = InodeTree.begin(journal, owner=OWNER)
    try:
        yield tree
    finally:
        tree.close()
        os.close(fd)


@contextmanager
def disk_tree(path: Path, base: Base | None = None) -> Iterator[InodeTree]:
    """A tree in a journal on the disk: begun when there is none, else continued."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    space = Space(fd, mapped=False)
    if os.fstat(fd).st_size:
        tree = InodeTree.replayed(Journal.open(space, durable=True), base, owner=OWNER)
    else:
        tree = InodeTree.begin(Journal.create(space, durable=True), base, owner=OWNER)
    try:
        yield tree
    finally:
        tree.close()
        os.close(fd)


@contextmanager
def successor_of(tree: InodeTree, base: Base | None = None) -> Iterator[InodeTree]:
    """The tree as a successor finds it in the same memfd, once `tree` is no longer used."""
    fd = os.dup(tree.ledger.space.fd)
    again = InodeTree.replayed(
        Journal.open(Space(fd, mapped=True), durable=False), base, owner=OWNER
    )
    try:
        yield again
    finally:
        again.close()
        os.close(fd)
