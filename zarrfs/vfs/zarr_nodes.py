"""What a path of the tree is to Zarr: group, array, metadata, chunk, or nothing.

Reads documents through the tree itself, so that it sees what a client sees,
and remembers each folder's answer for a second; then one lookup tells whether
the document is still the one that was parsed. Any thread may call it.

Source: Zarr v2 specification, "Storage"; Zarr v3 core, "Stores".
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from zarrfs.errors import ZarrfsError
from zarrfs.storage.tree import ROOT, Entry, FileTree, NodeId
from zarrfs.zarr_format.documents import (
    NODE_DOCUMENTS,
    NodeKind,
    decode_document,
    format_of,
    kind_under,
)
from zarrfs.zarr_format.keys import DOCUMENT_NAMES, is_temporary_name, join_key, split_key
from zarrfs.zarr_format.layout import ArrayLayout, array_layout

ZarrKind: TypeAlias = Literal["group", "array", "metadata", "chunk"]

TRUST_S: Final = 1.0
LARGEST_DOCUMENT_BYTES: Final = 64 << 20
_MOST_FOLDERS: Final = 4096
DOCUMENT_NAME_BYTES: Final = frozenset(name.encode() for name in DOCUMENT_NAMES)


class ZarrNode(NamedTuple):
    """A group or array, as far as its document says."""

    kind: NodeKind
    zarr_format: int
    layout: ArrayLayout | None
    """None for groups, and for arrays whose layout is not understood."""


_Signature: TypeAlias = tuple[str, int, int] | None
"""A document's name, mtime and size; None where there is none."""


class _Known(NamedTuple):
    checked_at_s: float
    signature: _Signature
    node: ZarrNode | None


@dataclass(frozen=True, slots=True)
class ArrayChunk:
    """A key that is a chunk of an array."""

    array_path: str
    layout: ArrayLayout
    index: tuple[int, ...]


class ZarrNodes:
    """The nodes of one tree's hierarchy."""

    def __init__(self, tree: FileTree) -> None:
        self._tree = tree
        self._known: dict[str, _Known] = {}
        """By folder. Each use is one dictionary operation; losing a race reparses."""

    def kind(self, nodeid: NodeId) -> ZarrKind | None:
        """Return what a node of the tree is, or None when it is not Zarr's."""
        key = self._tree.key_of(nodeid)
        if key is None:
            return None
        if stat.S_ISDIR(self._tree.attr(nodeid).mode):
            node = self.node_at(key)
            return None if node is None else node.kind.value
        return self.kind_of_key(key)

    def kind_of_key(self, key: str) -> Literal["metadata", "chunk"] | None:
        """Return what a file of this key is, going by its name and the arrays above it."""
        name = split_key(key)[1]
        if name in DOCUMENT_NAMES:
            return "metadata"
        if not _may_be_chunk(name) or is_temporary_name(name):
            return None
        return "chunk" if self.chunk_of(key) is not None else None

    def chunk_of(self, key: str) -> ArrayChunk | None:
        """Return the chunk that a key is, searching upward for its array."""
        if not _may_be_chunk(split_key(key)[1]):
            return None
        known = self._chunk_of_known(key)
        if known is not None:
            return known
        prefix = key
        while prefix:
            prefix = split_key(prefix)[0]
            node = self.node_at(prefix)
            if node is None:
                continue
            return None if node.layout is None else _chunk_in(prefix, node.layout, key)
        return None

    def _chunk_of_known(self, key: str) -> ArrayChunk | None:
        """Return the chunk that a key is to an array which is known already.

        An array has no nodes beneath it, so the folders between need no look:
        who writes chunks makes a new one for each.
        """
        newest_s = time.monotonic() - TRUST_S
        prefix = key
        while prefix:
            prefix = split_key(prefix)[0]
            known = self._known.get(prefix)
            if known is None or known.node is None or known.checked_at_s <= newest_s:
                continue
            layout = known.node.layout
            return None if layout is None else _chunk_in(prefix, layout, key)
        return None

    def node_at(self, prefix: str) -> ZarrNode | None:
        """Return the node whose documents a folder holds."""
        known = self._known.get(prefix)
        now_s = time.monotonic()
        if known is not None and now_s - known.checked_at_s < TRUST_S:
            return known.node
        signature, node = self._look(prefix, known)
        if len(self._known) >= _MOST_FOLDERS:
            self._known.clear()
        self._known[prefix] = _Known(now_s, signature, node)
        return node

    def changed(self, key: str) -> None:
        """Forget what was known of the folder of a document that was written or removed."""
        self._known.pop(split_key(key)[0], None)

    def clear(self) -> None:
        """Forget everything: folders moved."""
        self._known.clear()

    def _look(self, prefix: str, known: _Known | None) -> tuple[_Signature, ZarrNode | None]:
        """Find a folder's document, and parse it unless it is the one that is known."""
        try:
            folder = self._walk(prefix)
        except (ZarrfsError, OSError):
            return None, None
        try:
            for name in NODE_DOCUMENTS:
                found = self._look_at(folder, prefix, name, known)
                if found is not None:
                    return found
        finally:
            self._let_go(folder)
        return None, None

    def _look_at(
        self, folder: NodeId, prefix: str, name: str, known: _Known | None
    ) -> tuple[_Signature, ZarrNode | None] | None:
        """Do `_look` for one document's name; None when there is no such file."""
        try:
            entry = self._tree.lookup(folder, name.encode())
        except (ZarrfsError, OSError):
            return None
        try:
            if not stat.S_ISREG(entry.attr.mode):
                return None
            signature = (name, entry.attr.mtime_ns, entry.attr.size)
            if known is not None and known.signature == signature:
                return signature, known.node
            return signature, self._parse(prefix, name, entry)
        finally:
            self._let_go(entry.nodeid)

    def _walk(self, prefix: str) -> NodeId:
        """Return the folder of a prefix with one reference counted (none for the root)."""
        nodeid = ROOT
        for name in filter(None, os.fsencode(prefix).split(b"/")):
            try:
                entry = self._tree.lookup(nodeid, name)
            finally:
                self._let_go(nodeid)
            nodeid = entry.nodeid
        return nodeid

    def _let_go(self, nodeid: NodeId) -> None:
        if nodeid != ROOT:
            self._tree.forget(nodeid, 1)

    def _parse(self, prefix: str, name: str, entry: Entry) -> ZarrNode | None:
        subject = join_key(prefix, name)
        try:
            document = decode_document(read_whole(self._tree, entry.nodeid), subject)
            kind = kind_under(name, document, subject)
            zarr_format = format_of(document, subject)
        except (ZarrfsError, OSError):
            return None
        layout = None
        if kind is NodeKind.ARRAY:
            try:
                layout = array_layout(document, subject)
            except ZarrfsError:
                pass  # an array all the same; only its chunks cannot be told
        return ZarrNode(kind, zarr_format, layout)


def _chunk_in(prefix: str, layout: ArrayLayout, key: str) -> ArrayChunk | None:
    index = layout.chunk_index(key[len(prefix) :].lstrip("/"))
    return None if index is None else ArrayChunk(prefix, layout, index)


def read_whole(tree: FileTree, nodeid: NodeId) -> bytes:
    """Return a small file's content. Raises: what the tree raises."""
    file = tree.open(nodeid, os.O_RDONLY)
    try:
        return bytes(file.read(0, LARGEST_DOCUMENT_BYTES))
    finally:
        file.close()


def _may_be_chunk(name: str) -> bool:
    """Cheaply sort out what no chunk key ends in."""
    return name[-1:].isdecimal() or name == "c"


def may_be_zarr(name: bytes) -> bool:
    """Cheaply sort out names that neither a document nor a chunk has."""
    return name[-1:].isdigit() or name == b"c" or name in DOCUMENT_NAME_BYTES
