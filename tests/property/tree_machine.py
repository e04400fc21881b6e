"""A naive model of a file tree, and the machine that does the same to it and to a tree.

The model is what a reader of POSIX would write down first: dictionaries of
names, byte arrays of content. Every operation must succeed or fail in both
alike.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.unit.storage.inodes.journals import OWNER
from zarrfs.errors import ZarrfsError
from zarrfs.storage.backend import Key
from zarrfs.storage.inodes.keys import TreeKeys
from zarrfs.storage.inodes.tree import InodeTree
from zarrfs.storage.tree import ROOT, AttrChange, NodeId

NAMES = st.sampled_from([b"a", b"b", b"c"])
FOLDERS = st.lists(NAMES, max_size=2).map(tuple)
OFFSETS = st.integers(0, 10_000)
SIZES = st.integers(0, 10_000)


class ModelNode:
    def __init__(self, *, folder: bool, mode: int = 0o755) -> None:
        self.names: dict[bytes, ModelNode] | None = {} if folder else None
        self.content = bytearray()
        self.links = 1
        self.mode = mode

    def write(self, offset: int, data: bytes) -> None:
        if data:
            self.resize(max(len(self.content), offset + len(data)))
            self.content[offset : offset + len(data)] = data

    def resize(self, size: int) -> None:
        del self.content[size:]
        self.content += bytes(size - len(self.content))

    def holds(self, other: ModelNode) -> bool:
        return self is other or any(child.holds(other) for child in (self.names or {}).values())


class RefusedError(Exception):
    """The model says no."""


class Model:
    """Each method takes folders as tuples of names from the root."""

    def __init__(self) -> None:
        self.root = ModelNode(folder=True)

    def names(self, path: tuple[bytes, ...]) -> dict[bytes, ModelNode]:
        node = self.root
        for name in path:
            if node.names is None or name not in node.names:
                raise RefusedError
            node = node.names[name]
        if node.names is None:
            raise RefusedError
        return node.names

    def node(self, path: tuple[bytes, ...], name: bytes) -> ModelNode:
        names = self.names(path)
        if name not in names:
            raise RefusedError
        return names[name]

    def make(self, path: tuple[bytes, ...], name: bytes, folder: bool) -> None:
        if name in self.names(path):
            raise RefusedError
        self.names(path)[name] = ModelNode(folder=folder)

    def remove(self, path: tuple[bytes, ...], name: bytes, folder: bool) -> None:
        node = self.node(path, name)
        if (node.names is not None) != folder or node.names:
            raise RefusedError
        node.links -= 1
        del self.names(path)[name]

    def link(self, path: tuple[bytes, ...], name: bytes, to: tuple[bytes, ...], new: bytes) -> None:
        node = self.node(path, name)
        if node.names is not None or new in self.names(to):
            raise RefusedError
        node.links += 1
        self.names(to)[new] = node

    def rename(
        self, path: tuple[bytes, ...], name: bytes, to: tuple[bytes, ...], new: bytes, flags: int
    ) -> None:
        old_names, new_names = self.names(path), self.names(to)
        node, replaced = self.node(path, name), new_names.get(new)
        if (flags == 1 and replaced is not None) or (flags == 2 and replaced is None):
            raise RefusedError
        if node.names is not None and self._is_in(to, node):
            raise RefusedError
        if replaced is node:
            return
        if flags == 2:
            assert replaced is not None
            if replaced.names is not None and self._is_in(path, replaced):
                raise RefusedError
            old_names[name], new_names[new] = replaced, node
            return
        if replaced is not None:
            if (replaced.names is None) != (node.names is None) or replaced.names:
                raise RefusedError
            replaced.links -= 1
        del old_names[name]
        new_names[new] = node

    def _is_in(self, path: tuple[bytes, ...], node: ModelNode) -> bool:
        return any(node.names is self.names(path[:depth]) for depth in range(len(path) + 1))


class TreeMachine(RuleBasedStateMachine):
    """Subclasses set `tree` and `keys`."""

    tree: InodeTree
    keys: TreeKeys

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.bytes = count()

    def folder(self, path: tuple[bytes, ...]) -> NodeId:
        nodeid = ROOT
        for name in path:
            nodeid = self.find(nodeid, name)
        return nodeid

    def find(self, parent: NodeId, name: bytes) -> NodeId:
        nodeid = self.tree.lookup(parent, name).nodeid
        self.tree.forget(nodeid, 1)
        return nodeid

    def both(self, on_model: Callable[[], object], on_tree: Callable[[], object]) -> bool:
        """Do it in both; whether it succeeded, which must be the same."""
        try:
            on_model()
        except RefusedError:
            try:
                on_tree()
            except ZarrfsError:
                return False
            raise AssertionError("the model refuses this") from None
        on_tree()
        return True

    @rule(path=FOLDERS, name=NAMES, folder=st.booleans())
    def make(self, path: tuple[bytes, ...], name: bytes, folder: bool) -> None:
        def on_tree() -> None:
            mode = stat.S_IFDIR | 0o755 if folder else stat.S_IFREG | 0o755
            nodeid = self.tree.make(self.folder(path), name, mode, OWNER).nodeid
            self.tree.forget(nodeid, 1)

        self.both(lambda: self.model.make(path, name, folder), on_tree)

    @rule(path=FOLDERS, name=NAMES, folder=st.booleans())
    def remove(self, path: tuple[bytes, ...], name: bytes, folder: bool) -> None:
        remove = self.tree.remove_dir if folder else self.tree.unlink
        self.both(
            lambda: self.model.remove(path, name, folder),
            lambda: remove(self.folder(path), name),
        )

    @rule(path=FOLDERS, name=NAMES, to=FOLDERS, new=NAMES)
    def link(self, path: tuple[bytes, ...], name: bytes, to: tuple[bytes, ...], new: bytes) -> None:
        def on_tree() -> None:
            node = self.find(self.folder(path), name)
            self.tree.forget(self.tree.link(node, self.folder(to), new).nodeid, 1)

        self.both(lambda: self.model.link(path, name, to, new), on_tree)

    @rule(path=FOLDERS, name=NAMES, to=FOLDERS, new=NAMES, flags=st.sampled_from([0, 0, 1, 2]))
    def rename(
        self, path: tuple[bytes, ...], name: bytes, to: tuple[bytes, ...], new: bytes, flags: int
    ) -> None:
        self.both(
            lambda: self.model.rename(path, name, to, new, flags),
            lambda: self.tree.rename(self.folder(path), name, self.folder(to), new, flags),
        )

    @rule(
        path=FOLDERS,
        name=NAMES,
        edits=st.lists(
            st.tuples(st.sampled_from(["write", "truncate", "punch", "flush"]), OFFSETS, SIZES),
            min_size=1,
            max_size=4,
        ),
    )
    def edit(self, path: tuple[bytes, ...], name: bytes, edits: list[tuple[str, int, int]]) -> None:
        try:
            model = self.model.node(path, name)
        except RefusedError:
            return
        if model.names is not None:
            return
        opened = self.tree.open(self.find(self.folder(path), name), os.O_RDWR)
        for edit, offset, size in edits:
            if edit == "write":
                data = bytes([next(self.bytes) % 255 + 1]) * size
                model.write(offset, data)
                assert opened.write(offset, data) == size
            elif edit == "truncate":
                model.resize(size)
                opened.truncate(size)
            elif edit == "punch":
                stop = min(len(model.content), offset + size + 1)
                model.write(offset, bytes(max(0, stop - offset)))
                opened.allocate(3, offset, size + 1)
            else:
                opened.flush()
        opened.close()

    @rule(path=FOLDERS, name=NAMES, mode=st.integers(1, 0o777))
    def set_mode(self, path: tuple[bytes, ...], name: bytes, mode: int) -> None:
        def on_model() -> None:
            self.model.node(path, name).mode = mode

        self.both(
            on_model,
            lambda: self.tree.set_attr(
                self.find(self.folder(path), name), AttrChange(mode=mode)
            ),
        )  # fmt: skip

    @rule(path=FOLDERS, name=NAMES, size=SIZES)
    def set_key(self, path: tuple[bytes, ...], name: bytes, size: int) -> None:
        data = bytes([next(self.bytes) % 255 + 1]) * size

        def on_model() -> None:
            for depth, folder in enumerate(path):
                names = self.model.names(path[:depth])
                node = names.get(folder) or ModelNode(folder=True)
                if node.names is None:
                    raise RefusedError
                names[folder] = node
            node = self.model.names(path).get(name) or ModelNode(folder=False, mode=0o644)
            if node.names is not None:
                raise RefusedError
            self.model.names(path)[name] = node
            node.content[:] = data

        key = Key(os.fsdecode(b"/".join((*path, name))))
        self.both(on_model, lambda: self.keys.set(key, data))

    @invariant()
    def same_tree(self) -> None:
        self.compare(self.model.root, ROOT, ())

    def compare(self, model: ModelNode, nodeid: NodeId, path: tuple[bytes, ...]) -> None:
        attr = self.tree.attr(nodeid)
        if model.names is None:
            assert bytes(self.tree.read_node(nodeid, 0, 1 << 20)) == model.content
            assert attr.nlink == model.links
            self.compare_value(model, path)
        else:
            listed = {entry.name: entry.ino for entry in self.tree.list_dir(nodeid)}
            assert listed.keys() == model.names.keys()
            for name, child in model.names.items():
                self.compare(child, NodeId(listed[name]), (*path, name))
            folders = sum(child.names is not None for child in model.names.values())
            assert attr.nlink == 2 + folders
        assert stat.S_IMODE(attr.mode) == model.mode or nodeid == ROOT or not path

    def compare_value(self, model: ModelNode, path: tuple[bytes, ...]) -> None:
        """All handles are closed between rules, so the value is the content."""
        key = Key(os.fsdecode(b"/".join(path)))
        assert self.keys.get(key) == model.content
