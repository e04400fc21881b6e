"""The nodes of a view's source, with their attributes, as current as the source.

Owns what a view remembers of the source's documents. A static source is read
once; any other is asked for its documents' times again after `TRUST_S`: views
are stacked, and each asks the one below it several times. All methods may be
called from several threads at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from zarrfs.errors import KeyNotFoundError, MetadataNotFoundError, ZarrfsError
from zarrfs.storage.backend import Backend, Key, KeyStat
from zarrfs.storage.hierarchy import BrokenNode, Hierarchy, Node
from zarrfs.zarr_format.documents import Json, NodeKind, decode_document
from zarrfs.zarr_format.keys import ZARRAY, ZATTRS, join_key, split_key
from zarrfs.zarr_format.layout import ArrayLayout

TRUST_S: Final = 0.05
_REMEMBERED: Final = 65536
_RACY_NS: Final = 50_000_000
"""A document changed this recently may change again without a new time."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceNode:
    """An array or group of the source. One object stands for one state of its documents."""

    path: str
    kind: NodeKind
    zarr_format: int
    document: Mapping[str, Json]
    """Shapes are lists of int in it, whatever the writer's JSON library made of them."""
    attributes: Mapping[str, Json]
    layout: ArrayLayout | None
    mtime_ns: int
    problem: ZarrfsError | None = None
    """Why the node cannot be read; its other fields then mean little."""

    @property
    def is_array(self) -> bool:
        return self.kind is NodeKind.ARRAY

    @property
    def array_layout(self) -> ArrayLayout:
        """The layout of an array without a problem."""
        assert self.layout is not None, self.path
        return self.layout


class _Known(NamedTuple):
    """What was at a path (None: no node), and when that was looked at."""

    node: SourceNode | None
    at_s: float


class SourceNodes:
    """The nodes of one backend."""

    def __init__(self, source: Backend) -> None:
        self.source = source
        self._static = source.static
        self._hierarchy = Hierarchy(source)
        self._nodes: dict[str, _Known] = {}
        """What was found at a path. Single reads and writes need no lock."""
        self._parsed: dict[str, tuple[KeyStat, Mapping[str, Json]]] = {}
        """Attributes by key. Single reads and writes need no lock."""

    def node(self, path: str) -> SourceNode | None:
        """Return the node at a path, or None where there is none."""
        known = self._nodes.get(path)
        if known is not None and (self._static or time.monotonic() - known.at_s < TRUST_S):
            return known.node
        at_s = time.monotonic()
        found = self._find(path)
        if known is not None and known.node is not None and found is not None:
            found = known.node if _same(known.node, found) else found
        if len(self._nodes) >= _REMEMBERED:
            self._nodes.clear()
        self._nodes[path] = _Known(found, at_s)
        return found

    def forget(self, path: str) -> None:
        """Look at a node again when it is asked for next: it was written."""
        self._nodes.pop(path, None)

    def array_above(self, key: str) -> SourceNode | None:
        """Return the array whose folder is, or holds, a key."""
        prefix = key
        while True:  # most keys are chunks of arrays that are known
            known = self._nodes.get(prefix)
            if known is not None and known.node is not None and known.node.is_array:
                current = self.node(prefix)
                if current is not None and current.is_array:
                    return current
            if not prefix:
                break
            prefix = split_key(prefix)[0]
        return self._array_from_root(key)

    def _array_from_root(self, key: str) -> SourceNode | None:
        names = key.split("/")
        for depth in range(len(names) + 1):
            node = self.node("/".join(names[:depth]))
            if node is not None and node.is_array:
                return node
        return None

    def walk(self, path: str = "") -> Iterator[SourceNode]:
        """Yield the node at a path and all below it, parents first, siblings by name."""
        pending = [path]
        while pending:
            path = pending.pop()
            node = self.node(path)
            if node is not None:
                yield node
                if node.is_array:
                    continue
            children = (c.name for c in self.source.list_dir(Key(path)) if c.is_prefix)
            pending += sorted((join_key(path, name) for name in children), reverse=True)

    def children(self, path: str) -> Iterator[SourceNode]:
        """Yield the nodes directly below a path, by name; none below an array."""
        if self.array_above(path) is not None:
            return
        names = sorted(c.name for c in self.source.list_dir(Key(path)) if c.is_prefix)
        for name in names:
            node = self.node(join_key(path, name))
            if node is not None:
                yield node

    def _find(self, path: str) -> SourceNode | None:
        try:
            node = self._hierarchy.node(path)
        except MetadataNotFoundError:
            return None
        except ZarrfsError as error:
            return self._broken(path, error)
        try:
            mtime_ns = self.source.stat(node.document_key).mtime_ns
            attributes, mtime_ns = self._attributes(node, mtime_ns)
        except KeyNotFoundError:  # deleted since it was found
            return None
        except ZarrfsError as error:
            return self._broken(path, error)
        document = node.document if node.layout is None else _whole_numbers(node)
        return SourceNode(
            path,
            node.kind,
            node.zarr_format,
            document,
            attributes,
            node.layout,
            mtime_ns,
            node.layout_error,
        )

    def _attributes(self, node: Node, mtime_ns: int) -> tuple[Mapping[str, Json], int]:
        if node.zarr_format == 3:
            attributes = node.document.get("attributes")
            return attributes if isinstance(attributes, Mapping) else {}, mtime_ns
        key = Key(join_key(node.path, ZATTRS))
        try:
            stat = self.source.stat(key)
            return self._zattrs(key, stat), max(mtime_ns, stat.mtime_ns)
        except KeyNotFoundError:
            return {}, mtime_ns

    def _zattrs(self, key: Key, stat: KeyStat) -> Mapping[str, Json]:
        """Parse a `.zattrs`, unless it is as it was when it was parsed last."""
        parsed = self._parsed.get(key)
        if parsed is not None and parsed[0] == stat:
            return parsed[1]
        attributes = decode_document(self.source.get(key), key)
        if time.time_ns() - stat.mtime_ns > _RACY_NS:
            if len(self._parsed) >= _REMEMBERED:
                self._parsed.clear()
            self._parsed[key] = (stat, attributes)
        return attributes

    def _broken(self, path: str, error: ZarrfsError) -> SourceNode:
        """A folder whose document is wrong counts as an array when it looks like one."""
        kind = NodeKind.GROUP
        for broken in self._hierarchy.walk(path):
            if isinstance(broken, BrokenNode) and broken.document_key.endswith(ZARRAY):
                kind = NodeKind.ARRAY
            break
        return SourceNode(path, kind, 0, {}, {}, None, 0, error)


def _same(known: SourceNode, found: SourceNode) -> bool:
    """Whether two readings found the same state.

    The times alone would not do: some file systems' clocks are coarse.
    """
    return (
        known.mtime_ns == found.mtime_ns
        and known.document == found.document
        and known.attributes == found.attributes
        and (known.problem is None) == (found.problem is None)
    )


def _whole_numbers(node: Node) -> Mapping[str, Json]:
    """Return the document with the layout's lengths: some writers spell them as floats."""
    layout, document = node.layout, node.document
    assert layout is not None
    shape: Json = list(layout.shape)
    chunks: Json = list(layout.chunk_shape)
    if node.zarr_format == 2:
        return {**document, "shape": shape, "chunks": chunks}
    if layout.chunk_runs is not None:
        return {**document, "shape": shape}
    grid: Json = {"name": "regular", "configuration": {"chunk_shape": chunks}}
    return {**document, "shape": shape, "chunk_grid": grid}
