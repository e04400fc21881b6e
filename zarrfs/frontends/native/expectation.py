"""What will be asked next: who looked up a chunk and read it does so again.

After the answer to a LOOKUP the client needs some twenty microseconds before
it sends the READ. Where the last node that was looked up was also read, that
time is used to do the part of the read that needs no request (find the entry,
check its CRC). Clients that only stat files are recognised by what they did
last, and nothing is done for them in vain.

Any thread may call this module: a race costs a check too few or too many.
"""

from __future__ import annotations

from zarrfs.storage.tree import Buffer, Entry, NodeId
from zarrfs.vfs.operations import Caller, ExpectsReads, FileHandle, FileSystem


class Expectation:
    """Watches LOOKUP and READ of a file system, and acts between them."""

    def __init__(self, filesystem: FileSystem, expecting: ExpectsReads) -> None:
        self._lookup = filesystem.lookup
        self._read = filesystem.read
        self._expect_read = expecting.expect_read
        self._looked_up = NodeId(0)
        self._is_read = False
        self.is_due = False
        """Whether `act` has something to do."""

    def lookup(self, caller: Caller, parent: NodeId, name: bytes) -> Entry:
        entry = self._lookup(caller, parent, name)
        self._looked_up = entry[0]
        self.is_due, self._is_read = self._is_read, False
        return entry

    def read(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, offset: int, size: int
    ) -> Buffer:
        if nodeid == self._looked_up:
            self._is_read = True
        return self._read(caller, nodeid, handle, offset, size)

    def act(self) -> None:
        """Call it when a request was answered and there is time."""
        self.is_due = False
        self._expect_read(self._looked_up)


def expectation_of(filesystem: FileSystem) -> Expectation | None:
    """Return an expectation where the file system can use one."""
    if isinstance(filesystem, ExpectsReads) and filesystem.can_expect_reads:
        return Expectation(filesystem, filesystem)
    return None
