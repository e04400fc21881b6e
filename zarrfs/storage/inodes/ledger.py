"""The tree's state and its journal, kept in step; the only door to a change.

`commit` writes a record, then applies it: a change that the journal could not
take has not happened. Also here: when the journal is rewritten, and when a
node without a name is let go. `lock` guards the state and is the journal's; all methods but the
constructors expect it held.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from zarrfs.errors import NoSpaceError, ZarrfsError
from zarrfs.storage.inodes.base import Base
from zarrfs.storage.inodes.checkpoint import live_ranges, records_of
from zarrfs.storage.inodes.journal import Journal
from zarrfs.storage.inodes.node import Node
from zarrfs.storage.inodes.records import Drop, Link, Make, Publish, Record, SetXattr
from zarrfs.storage.inodes.state import TreeState

_LEAST_CHECKPOINT_BYTES = 8 << 20
_GROWING = (Make, Link, SetXattr)
"""Records that a full store refuses; deleting must stay possible."""


class Ledger:
    """A `TreeState`, and the `Journal` that it can be made from again."""

    def __init__(self, journal: Journal, base: Base | None = None) -> None:
        self.journal = journal
        self.space = journal.space
        self.lock = journal.lock
        self.state = TreeState(base)
        self.version = 0
        """Grows with every change. Guarded by: lock."""
        self.least_checkpoint_bytes = _LEAST_CHECKPOINT_BYTES
        """A journal with fewer bytes of records than this is not worth rewriting."""
        self._checkpoint_bytes = 0  # Guarded by: lock. Or fewer than this
        self.watermark_bytes: int | None = None
        """With more than this in use, `over_watermark` is called. Guarded by: lock."""
        self.over_watermark: Callable[[], None] = lambda: None

    @classmethod
    def replayed(cls, journal: Journal, base: Base | None = None) -> Ledger:
        """Make the state that an opened journal's records add up to."""
        ledger = cls(journal, base)
        for record in journal.replay():
            ledger.state.apply(record)
        for node in ledger.state.nodes.values():
            node.inherited = True
        ledger.state.dead.clear()
        journal.space.restore([*journal.segments, *live_ranges(ledger.state)])
        return ledger

    def commit(self, record: Record) -> None:
        """Make a change. Raises: NoSpaceError, UnavailableError; nothing changed then."""
        limit = self.space.limit_bytes
        if limit is not None and self.space.in_use_bytes >= limit and isinstance(record, _GROWING):
            raise NoSpaceError(reason=f"the limit of {limit} bytes is reached")
        self.journal.append(record)
        self.state.apply(record)
        self.version += 1
        if self.state.dead:
            self.journal.bury(self.state.dead)
            self.state.dead = []
        if self.watermark_bytes is not None and self.space.in_use_bytes > self.watermark_bytes:
            self.over_watermark()
        record_bytes = self.journal.record_bytes
        if record_bytes > self._checkpoint_bytes and record_bytes > self.least_checkpoint_bytes:
            with suppress(ZarrfsError):  # the long journal is as good as before
                self.checkpoint()
            self._checkpoint_bytes = 4 * self.journal.record_bytes

    def checkpoint(self) -> None:
        """Put the state as it is in place of how it came about."""
        self.journal.rewrite(records_of(self.state))

    # Nodes

    def publish(self, node: Node) -> None:
        """Let `Storage` see a file's content as it is now."""
        if node.is_file and node.unpublished:
            self.commit(Publish(node.nodeid))

    def drop_if_unused(self, node: Node) -> None:
        """Let go of a node that has neither a name nor anybody who refers to it."""
        if node.nlink or node.references or node.handles or node.inherited:
            return
        if node.nodeid in self.state.nodes:
            with suppress(ZarrfsError):  # it stays, nameless, until the next replay
                self.commit(Drop(node.nodeid))

    def drop_orphans(self) -> None:
        """Let go of all nameless nodes: no kernel refers to this tree."""
        for node in list(self.state.nodes.values()):
            node.inherited = False
            self.drop_if_unused(node)
