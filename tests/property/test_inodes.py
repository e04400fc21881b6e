"""The inode tree against a naive model, and its journal against itself.

At the end the journal is replayed record by record and must give, at every
prefix, the state the tree was in when that record was its last.
"""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import settings
from hypothesis.stateful import initialize, rule

from tests.property.tree_machine import TreeMachine
from tests.unit.storage.inodes.journals import OWNER, memory_tree, successor_of
from zarrfs.storage.inodes.journal import Journal
from zarrfs.storage.inodes.keys import TreeKeys
from zarrfs.storage.inodes.records import Record
from zarrfs.storage.inodes.space import Space
from zarrfs.storage.inodes.state import TreeState
from zarrfs.storage.inodes.tree import InodeTree

Dump = dict[int, tuple[object, ...]]


def dump(state: TreeState) -> Dump:
    """Everything of a state that its journal must give again."""
    return {
        node.nodeid: (
            node.attr(),
            dict(node.names or {}),
            dict(node.xattrs or {}),
            node.target,
            list(node.extents),
            None if node.published is None else list(node.published),
            node.published_size,
            node.published_mtime_ns,
        )
        for node in state.nodes.values()
    }  # fmt: skip


class InodeTreeMachine(TreeMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.tree = self.stack.enter_context(memory_tree())
        self.keys = TreeKeys(self.tree, OWNER)
        self.dumps: dict[int, Dump] = {}
        """State after so many records since the last checkpoint."""
        self.records = 0
        real_append = self.tree.ledger.journal.append

        def counted(record: Record) -> None:
            self.dumps.setdefault(self.records, dump(self.tree.ledger.state))
            real_append(record)
            self.records += 1

        self.tree.ledger.journal.append = counted  # type: ignore[method-assign] # to look on

    @initialize()
    def begin(self) -> None:
        self.records = len(list(recorded(self.tree)))

    @rule()
    def checkpoint(self) -> None:
        self.dumps.clear()
        self.records = 0
        self.tree.ledger.checkpoint()
        self.dumps.clear()

    def teardown(self) -> None:
        try:
            state = TreeState()
            self.dumps[self.records] = dump(self.tree.ledger.state)
            for number, record in enumerate(recorded(self.tree)):
                if number in self.dumps:
                    assert dump(state) == self.dumps[number]
                state.apply(record)
            assert dump(state) == dump(self.tree.ledger.state)
            with successor_of(self.tree) as again:
                assert dump(again.ledger.state) == dump(state)
                used = again.ledger.space.in_use_bytes
                assert used == self.tree.ledger.space.in_use_bytes
        finally:
            self.stack.close()


def recorded(tree: InodeTree) -> list[Record]:
    """Return the records in a tree's journal, which stays as it is."""
    journal = Journal.open(Space(tree.ledger.space.fd, mapped=False), durable=False)
    return list(journal.replay())


InodeTreeMachine.TestCase.settings = settings(
    deadline=None, max_examples=60, stateful_step_count=40
)
TestInodeTree = InodeTreeMachine.TestCase
