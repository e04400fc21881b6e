"""An archive open for writing against the naive model, with commits and crashes between.

Begins with an archive of `zipfile`'s, compressed and with a duplicate. After
each commit `zipfile` must find exactly the model's files and empty folders.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path

from hypothesis import settings
from hypothesis.stateful import initialize, rule

from tests.property.tree_machine import ModelNode, TreeMachine
from zarrfs.storage.inodes.tree import InodeTree
from zarrfs.storage.zip.writable import WritableZip

INITIAL = {"a/a": b"1" * 3000, "a/b/c": b"2" * 20_000, "b": b"", "c/a/": b""}


class WritableZipMachine(TreeMachine):
    def __init__(self) -> None:
        super().__init__()
        where = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.place = Path(tempfile.mkdtemp(prefix="zarrfs-", dir=where))
        self.path = self.place / "a.zip"
        self.archive: WritableZip | None = None

    @initialize()
    def begin(self) -> None:
        with (
            zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED) as archive,
            warnings.catch_warnings(action="ignore"),
        ):
            archive.writestr("a/a", b"replaced")
            for name, content in INITIAL.items():
                archive.writestr(name, content)
        for name, content in INITIAL.items():
            *folders, last = name.encode().rstrip(b"/").split(b"/")
            names = self.model.root.names
            for folder in folders:
                assert names is not None
                names = names.setdefault(folder, ModelNode(folder=True)).names
            assert names is not None
            node = ModelNode(folder=name.endswith("/"), mode=0o775 if name[-1] == "/" else 0o600)
            node.content[:] = content
            names[last] = node
        self.open()

    def open(self) -> None:
        self.archive = WritableZip(str(self.path), commit_interval_s=0)
        self.keys = self.archive
        tree = self.archive.file_tree()
        assert isinstance(tree, InodeTree)
        self.tree = tree

    @rule()
    def commit(self) -> None:
        assert self.archive is not None
        self.archive.commit()
        self.compare_archive()

    @rule()
    def close_and_open(self) -> None:
        assert self.archive is not None
        self.archive.close()
        assert os.listdir(self.place) == [self.path.name]
        self.compare_archive()
        _separate_links(self.model.root)
        self.open()

    @rule()
    def crash_and_open(self) -> None:
        assert self.archive is not None
        self.archive._timer.stop()
        self.tree.close()
        self.archive._opened.close()
        self.open()

    def compare_archive(self) -> None:
        with zipfile.ZipFile(self.path) as archive:
            assert archive.testzip() is None
            found = {name: archive.read(name) for name in archive.namelist()}
        files = {name: content for name, content in found.items() if name[-1] != "/"}
        expected = dict(_files(self.model.root, ""))
        assert files == {name: content for name, content in expected.items() if name[-1] != "/"}
        assert expected.keys() <= found.keys(), "empty folders are kept"

    def teardown(self) -> None:
        try:
            if self.archive is not None:
                self.archive.close()
                self.compare_archive()
        finally:
            shutil.rmtree(self.place)


def _files(node: ModelNode, prefix: str) -> list[tuple[str, bytes]]:
    """Files with their content, and empty folders."""
    found: list[tuple[str, bytes]] = []
    for name, child in (node.names or {}).items():
        path = prefix + name.decode()
        if child.names is None:
            found.append((path, bytes(child.content)))
        else:
            found += _files(child, path + "/") or [(path + "/", b"")]
    return found


def _separate_links(node: ModelNode) -> None:
    """An archive keeps a file of two names as two files."""
    for name, child in (node.names or {}).items():
        if child.names is None and child.links > 1:
            assert node.names is not None
            alone = ModelNode(folder=False, mode=child.mode)
            alone.content[:] = child.content
            node.names[name] = alone
        else:
            _separate_links(child)


WritableZipMachine.TestCase.settings = settings(
    deadline=None, max_examples=25, stateful_step_count=40
)
TestWritableZip = WritableZipMachine.TestCase
