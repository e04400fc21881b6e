"""A writable tree of files whose every change is an appended record.

Memory stores and read-write archives share it: `tree` is what `vfs` talks to,
`journal` is what a successor of a killed process reads. Layers, top to bottom:

    tree, files       what a call may do, POSIX's rules
    contents          bytes in and out
    ledger            journal first, then state
    state, checkpoint what records add up to, and back
    journal, records  a chain of records in a file
    space, windows    room in that file
"""

from zarrfs.storage.inodes.base import Base
from zarrfs.storage.inodes.journal import Journal
from zarrfs.storage.inodes.space import Space
from zarrfs.storage.inodes.tree import InodeTree

__all__ = ["Base", "InodeTree", "Journal", "Space"]
