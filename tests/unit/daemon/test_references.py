"""Finding out whether the kernel refers to any of some nodes."""

from __future__ import annotations

from zarrfs.daemon.references import Place, References
from zarrfs.storage.tree import NodeId


class Kernel:
    """Names that were looked up, and files that are open."""

    def __init__(self, remembered: set[int], opened: set[int]) -> None:
        self.remembered, self.opened = remembered, opened
        self.asked = 0

    def knows(self, nodeid: NodeId) -> bool:
        self.asked += 1
        return nodeid in self.remembered | self.opened

    def drop_name(self, parent: NodeId, name: bytes) -> None:
        self.remembered.discard(int(name))


def place_of(nodeid: NodeId) -> Place | None:
    return None if nodeid < 10 else (NodeId(1), b"%d" % nodeid)


def references(kernel: Kernel, count: int) -> References:
    return References(kernel, lambda: map(NodeId, range(2, count)), place_of)


def test_what_is_only_remembered_is_made_to_go() -> None:
    kernel = Kernel({10, 20, 30}, set())
    assert references(kernel, 40).are_gone()
    assert kernel.remembered == set()


def test_what_is_open_keeps_all_and_nothing_else_is_asked_about() -> None:
    kernel = Kernel({5, 11}, {20})
    asked = references(kernel, 40)
    assert not asked.are_gone()
    before = kernel.asked
    assert not asked.are_gone()
    assert kernel.asked == before + 1
    kernel.opened.clear()
    assert not asked.are_gone(), "the kernel remembers 5 by a name that is not ours to take"
    kernel.remembered.clear()
    assert asked.are_gone()


def test_many_nodes_are_asked_about_bit_by_bit() -> None:
    kernel = Kernel(set(), set())
    asked = references(kernel, 20_000)
    looks = 1
    while not asked.are_gone():
        looks += 1
    assert looks == kernel.asked // 5000 + 1 == 4
