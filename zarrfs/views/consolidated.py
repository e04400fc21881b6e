"""The view `consolidated`: one document with all of a group's metadata, always current.

`.zmetadata` for v2 groups, an inline `consolidated_metadata` in the `zarr.json`
of v3 groups. Nothing is kept that the source's documents do not confirm. All
methods may be called from several threads at once.

Source: zarr-python 2, "Consolidated metadata" (format 1); zarr-python 3,
`zarr.core.metadata.v3` / "Consolidated metadata" (kind `inline`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from zarrfs.errors import InvalidMetadataError, KeyNotFoundError
from zarrfs.storage.backend import Backend, Buffer, Key, KeyStat, Listed
from zarrfs.views.nodes import SourceNode, SourceNodes
from zarrfs.views.view import View
from zarrfs.zarr_format.documents import Json, decode_document, encode_document
from zarrfs.zarr_format.keys import (
    DOCUMENT_NAMES,
    ZARR_JSON,
    ZARRAY,
    ZATTRS,
    ZGROUP,
    ZMETADATA,
    join_key,
    split_key,
)

CONSOLIDATED_METADATA: Final = "consolidated_metadata"

_NAMES: Final = (ZMETADATA, ZARR_JSON)

Stamps: TypeAlias = tuple[tuple[Key, int, int], ...]
"""The documents a consolidated one was made of: key, size, time."""


def consolidated_like_source(view: Backend, nodes: SourceNodes) -> Backend:
    """Give a view consolidated metadata wherever its source has it.

    What the source holds was made of the source's documents, not of the view's.
    """

    def wanted(path: str) -> bool:
        node = nodes.node(path)
        if node is None or node.is_array:
            return False
        if node.zarr_format == 3:
            return isinstance(node.document.get(CONSOLIDATED_METADATA), Mapping)
        try:
            nodes.source.stat(Key(join_key(path, ZMETADATA)))
        except KeyNotFoundError:
            return False
        return True

    return ConsolidatedView(view, wanted)


class _Made(NamedTuple):
    stamps: Stamps
    data: bytes
    mtime_ns: int


class ConsolidatedView(View):
    """Adds consolidated metadata to the groups that `wanted` says, or to all."""

    name = "consolidated"

    def __init__(self, source: Backend, wanted: Callable[[str], bool] | None = None) -> None:
        super().__init__(source)
        self.nodes = SourceNodes(source)
        self._wanted = wanted
        self._made: dict[Key, _Made] = {}
        """By key. Single reads and writes need no lock."""

    @property
    def read_only(self) -> bool:
        return self.source.read_only

    def set(self, key: Key, data: Buffer) -> None:
        if self._made_anew(key):
            return
        self.source.set(key, data)
        self._written(key)

    def delete(self, key: Key) -> None:
        if self._made_anew(key):
            return
        self.source.delete(key)
        self._written(key)

    def _made_anew(self, key: Key) -> bool:
        """Whether a document is there in any case, whatever is written or deleted."""
        return self._wanted is None and split_key(key)[1] == ZMETADATA

    def _written(self, key: Key) -> None:
        prefix, name = split_key(key)
        if name in DOCUMENT_NAMES:
            self.nodes.forget(prefix)

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        # Each chunk passes here: most keys are told apart by their end alone.
        if not key.endswith(_NAMES) or self._group_of(key) is None:
            return self.source.get(key, start, stop)
        return self._document(key).data[start:stop]

    def stat(self, key: Key) -> KeyStat:
        if not key.endswith(_NAMES) or self._group_of(key) is None:
            return self.source.stat(key)
        made = self._document(key)
        return KeyStat(len(made.data), made.mtime_ns)

    def list_dir(self, prefix: Key) -> Iterator[Listed]:
        there = False
        for listed in self.source.list_dir(prefix):
            there = there or listed.name == ZMETADATA
            yield listed
        if not there and self._group_of(Key(join_key(prefix, ZMETADATA))) is not None:
            yield Listed(ZMETADATA, False)

    def _group_of(self, key: Key) -> SourceNode | None:
        """Return the group whose consolidated metadata a key holds, if any."""
        prefix, name = split_key(key)
        if name not in _NAMES:
            return None
        if self._wanted is not None and not self._wanted(prefix):
            return None
        node = self.nodes.node(prefix)
        if node is None or node.is_array or node.problem is not None:
            return None
        return node if (node.zarr_format == 3) == (name == ZARR_JSON) else None

    def _document(self, key: Key) -> _Made:
        group = self._group_of(key)
        if group is None:
            raise KeyNotFoundError(key)
        made = self._made.get(key)
        if made is not None and self.static:
            return made
        nodes = list(self.nodes.walk(group.path))
        stamps = tuple(self._stamps(nodes))
        if made is None or made.stamps != stamps:
            data = encode_document(self._consolidate(group, nodes))
            newest = max((mtime_ns for _key, _size, mtime_ns in stamps), default=0)
            if made is not None:  # a node that was deleted leaves no newer time behind
                newest = max(newest, made.mtime_ns + 1)
            made = self._made[key] = _Made(stamps, data, newest)
        return made

    def _stamps(self, nodes: list[SourceNode]) -> Iterator[tuple[Key, int, int]]:
        for node in nodes:
            for name in _names(node):
                key = Key(join_key(node.path, name))
                try:
                    stat = self.source.stat(key)
                except KeyNotFoundError:
                    continue
                yield key, stat.size_bytes, stat.mtime_ns

    def _consolidate(self, group: SourceNode, nodes: list[SourceNode]) -> dict[str, Json]:
        if group.zarr_format == 2:
            return {"zarr_consolidated_format": 1, "metadata": self._v2(group, nodes)}
        inline: Json = {"kind": "inline", "must_understand": False, "metadata": _v3(group, nodes)}
        return {**group.document, CONSOLIDATED_METADATA: inline}

    def _v2(self, group: SourceNode, nodes: list[SourceNode]) -> dict[str, Json]:
        documents: dict[str, Json] = {}
        for node in nodes:
            for name in _names(node):
                key = Key(join_key(node.path, name))
                try:
                    document = decode_document(self.source.get(key), key)
                except (KeyNotFoundError, InvalidMetadataError):
                    continue
                documents[_relative(key, group.path)] = document
        return documents


def _names(node: SourceNode) -> tuple[str, ...]:
    if node.zarr_format == 3:
        return (ZARR_JSON,)
    return (ZARRAY if node.is_array else ZGROUP, ZATTRS)


def _relative(path: str, above: str) -> str:
    return path[len(above) + 1 :] if above else path


def _v3(group: SourceNode, nodes: list[SourceNode]) -> dict[str, Json]:
    """All nodes below the group, by path; each as it is but for its own copy of others."""
    return {
        _relative(node.path, group.path): {
            name: member for name, member in node.document.items() if name != CONSOLIDATED_METADATA
        }
        for node in nodes
        if node is not group and node.zarr_format == 3 and node.problem is None
    }
