"""The nodes of a store: which folders are arrays and groups, and what a key is.

Owns finding and remembering documents; it decodes no chunk and changes nothing.
All methods may be called from several threads at once.

Source: Zarr v2 specification, "Hierarchies"; Zarr v3 core, "Hierarchy".
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from zarrfs.errors import (
    KeyNotFoundError,
    MetadataNotFoundError,
    WrongKindError,
    ZarrfsError,
)
from zarrfs.storage.backend import Backend, Key, KeyStat
from zarrfs.zarr_format.documents import (
    NODE_DOCUMENTS,
    Document,
    NodeKind,
    ZarrFormat,
    decode_document,
    format_of,
    kind_under,
)
from zarrfs.zarr_format.keys import (
    DOCUMENT_NAMES,
    ZARRAY,
    ChunkIndex,
    is_temporary_name,
    join_key,
    split_key,
)
from zarrfs.zarr_format.layout import ArrayLayout, array_layout

_REMEMBERED_NODES: Final = 4096
_RACY_NS: Final = 50_000_000
"""A document changed twice within one tick of a file system's clock looks the
same by size and time. One read this soon after its mtime is not trusted again."""


@dataclass(frozen=True, slots=True)
class Node:
    """An array or group of the hierarchy."""

    path: str
    kind: NodeKind
    zarr_format: ZarrFormat
    document_key: Key
    document: Document
    """As stored; of format 2 without the attributes."""
    layout: ArrayLayout | None
    """Of an array, unless `layout_error` says why there is none."""
    layout_error: ZarrfsError | None = None


@dataclass(frozen=True, slots=True)
class BrokenNode:
    """A folder whose document cannot be read."""

    path: str
    document_key: Key
    error: ZarrfsError


Role: TypeAlias = Literal["group", "array", "metadata", "chunk", "folder", "temporary", "other"]


class Located(NamedTuple):
    """What a key or prefix is in terms of Zarr."""

    role: Role
    node: Node | None
    """The node it is, or belongs to."""
    chunk: ChunkIndex | None = None
    """The index of a chunk."""


class _Remembered(NamedTuple):
    node: Node
    name: str
    stat: KeyStat
    settled: bool


class Hierarchy:
    """The nodes of one backend, remembered for as long as their documents stay the same."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._static = backend.static
        self._lock = threading.Lock()
        self._nodes: dict[str, _Remembered] = {}
        """Guarded by: `_lock` for writing; single reads need no lock."""
        self._no_nodes: set[str] = set()
        """Paths of a static backend that are no nodes. Guarded by: as `_nodes`."""

    def node(self, path: str) -> Node:
        """Return the node at a path (no leading or trailing slash; `""` is the root).

        Raises: MetadataNotFoundError, InvalidMetadataError.
        """
        remembered = self._nodes.get(path)
        if self._static:
            if remembered is not None:
                return remembered.node
            if path in self._no_nodes:
                raise MetadataNotFoundError(self._subject(path))
        name, stat = self._document(path)
        if (
            remembered is not None
            and remembered.settled
            and remembered.name == name
            and remembered.stat == stat
        ):
            return remembered.node
        settled = time.time_ns() - stat.mtime_ns > _RACY_NS
        node = self._read(path, name)
        self._remember(path, _Remembered(node, name, stat, settled))
        return node

    def layout(self, path: str) -> ArrayLayout:
        """Return the layout of the array at a path.

        Raises: MetadataNotFoundError, InvalidMetadataError, UnsupportedError;
        WrongKindError when a group is there.
        """
        node = self.node(path)
        if node.layout is not None:
            return node.layout
        if node.layout_error is not None:
            raise node.layout_error
        raise WrongKindError(self._subject(path), "a group, not an array")

    def walk(self, path: str = "") -> Iterator[Node | BrokenNode]:
        """Yield the node at a path and all below it: parents first, siblings by name.

        Folders that are no nodes are walked through; arrays' folders are not
        entered, since an array has no children.
        """
        pending = [path]
        while pending:
            path = pending.pop()
            try:
                node: Node | BrokenNode | None = self.node(path)
            except MetadataNotFoundError:
                node = None
            except ZarrfsError as error:
                node = self._broken(path, error)
            if node is not None:
                yield node
            if not _is_array(node):
                pending += sorted(self._folders(path), reverse=True)

    def locate(self, key: str) -> Located:
        """Return what a key or a prefix is, by the nearest node at or above it."""
        prefix, name = split_key(key)
        if name in DOCUMENT_NAMES:
            return Located("metadata", self._node_or_none(prefix))
        if not self._is_key(key):
            node = self._node_or_none(key)
            if node is not None:
                return Located("array" if node.kind is NodeKind.ARRAY else "group", node)
            return Located("folder", self._owner(prefix) if key else None)
        if is_temporary_name(name):
            return Located("temporary", None)
        owner = self._owner(prefix)
        chunk = None
        if owner is not None and owner.layout is not None:
            chunk = owner.layout.chunk_index(key[len(owner.path) :].lstrip("/"))
        return Located("other" if chunk is None else "chunk", owner, chunk)

    def _owner(self, prefix: str) -> Node | None:
        """Return the node at a prefix or nearest above it."""
        while True:
            node = self._node_or_none(prefix)
            if node is not None or not prefix:
                return node
            prefix = split_key(prefix)[0]

    def _node_or_none(self, path: str) -> Node | None:
        try:
            return self.node(path)
        except ZarrfsError:
            return None

    def _document(self, path: str) -> tuple[str, KeyStat]:
        """Return the name and stat of the document that makes a folder a node."""
        for name in NODE_DOCUMENTS:
            try:
                return name, self._backend.stat(Key(join_key(path, name)))
            except KeyNotFoundError:
                continue
        if self._static:
            self._remember_no_node(path)
        raise MetadataNotFoundError(self._subject(path))

    def _broken(self, path: str, error: ZarrfsError) -> BrokenNode:
        try:
            name = self._document(path)[0]
        except ZarrfsError:  # not even its document can be looked at
            name = ""
        return BrokenNode(path, Key(join_key(path, name)), error)

    def _read(self, path: str, name: str) -> Node:
        key = Key(join_key(path, name))
        try:
            data = self._backend.get(key)
        except KeyNotFoundError:  # deleted since it was found
            raise MetadataNotFoundError(self._subject(path)) from None
        document = decode_document(data, key)
        kind = kind_under(name, document, key)
        layout, layout_error = None, None
        if kind is NodeKind.ARRAY:
            try:
                layout = array_layout(
                    document,
                    key,
                )
            except ZarrfsError as error:
                layout_error = error
        zarr_format = format_of(document, key)
        return Node(path, kind, zarr_format, key, document, layout, layout_error)

    def _remember(self, path: str, remembered: _Remembered) -> None:
        with self._lock:
            if len(self._nodes) >= _REMEMBERED_NODES:
                self._nodes.clear()
            self._nodes[path] = remembered

    def _remember_no_node(self, path: str) -> None:
        with self._lock:
            if len(self._no_nodes) >= _REMEMBERED_NODES:
                self._no_nodes.clear()
            self._no_nodes.add(path)

    def _folders(self, path: str) -> Iterator[str]:
        for child in self._backend.list_dir(Key(path)):
            if child.is_prefix:
                yield join_key(path, child.name)

    def _is_key(self, key: str) -> bool:
        try:
            self._backend.stat(Key(key))
        except KeyNotFoundError:
            return False
        return True

    def _subject(self, path: str) -> str:
        return path or self._backend.location


def _is_array(node: Node | BrokenNode | None) -> bool:
    if isinstance(node, BrokenNode):
        return split_key(node.document_key)[1] == ZARRAY
    return node is not None and node.kind is NodeKind.ARRAY
