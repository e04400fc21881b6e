"""Writing through `v2` and `v3`, where the translation is one of metadata alone.

A program that knows one format updates a store of the other: documents are
translated the other way when they are written, chunks go to the source as they
are, under the source's keys. What cannot be said in the source's format is
refused, and nothing is changed: chunks of shards, chunks that are decoded on
the way, documents with codecs that the source's format lacks.

All methods may be called from several threads at once; two writers of one
node's documents must agree among themselves, as on any store.

Lock order: `_lock` only, held while a document is read, changed and written.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from zarrfs.errors import KeyNotFoundError, ReadOnlyError, UnsupportedError
from zarrfs.storage.backend import Backend, Buffer, Key
from zarrfs.views.chunk_cache import ChunkCache
from zarrfs.views.consolidated import CONSOLIDATED_METADATA, ConsolidatedView
from zarrfs.views.faces import SameKeys
from zarrfs.views.formats import V2View, V3View
from zarrfs.views.node_view import NodeView
from zarrfs.views.nodes import SourceNode
from zarrfs.zarr_format import translate
from zarrfs.zarr_format.documents import Json, decode_document, encode_document
from zarrfs.zarr_format.dtypes import named
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
from zarrfs.zarr_format.translate_shards import is_sharded

Document = dict[str, Json]

_V2_NAMES: Final = (ZARRAY, ZGROUP, ZATTRS)


class WritableNodeView(NodeView):
    """Sends chunks and other files to the source; documents are the subclasses' business."""

    def __init__(self, source: Backend) -> None:
        super().__init__(source)
        self._lock = threading.RLock()

    @property
    def read_only(self) -> bool:
        return False

    def set(self, key: Key, data: Buffer) -> None:
        prefix, name = split_key(key)
        if name in DOCUMENT_NAMES:
            with self._lock:
                self.set_document(prefix, name, decode_document(data, key))
            return
        self.source.set(self._source_key(key), data)

    def delete(self, key: Key) -> None:
        prefix, name = split_key(key)
        if name in DOCUMENT_NAMES:
            if name != ZMETADATA:
                self.stat(key)  # raises when the view shows no such document
            with self._lock:
                self.delete_document(prefix, name)
            return
        self.source.delete(self._source_key(key))

    def set_document(self, path: str, name: str, document: Document) -> None:
        raise NotImplementedError

    def delete_document(self, path: str, name: str) -> None:
        raise NotImplementedError

    def _source_key(self, key: Key) -> Key:
        face, rest = self._face_above(key)
        if face is None:
            return key
        if not isinstance(face, SameKeys):
            raise ReadOnlyError(key, f"through view {self.name} this array's chunks are made anew")
        return face.source_key(rest)

    def current(self, path: str) -> SourceNode | None:
        """Return the node at a path as it is now, whatever was remembered."""
        self.nodes.forget(path)
        return self.nodes.node(path)

    def write(self, path: str, name: str, document: Mapping[str, Json]) -> None:
        self.source.set(Key(join_key(path, name)), encode_document(document, name))
        self.nodes.forget(path)

    def remove(self, path: str, name: str) -> None:
        """Delete a document of the source, if it is there."""
        try:
            self.source.delete(Key(join_key(path, name)))
        except KeyNotFoundError:
            pass
        self.nodes.forget(path)


class WritableV2View(WritableNodeView, V2View):
    """A v3 store for programs that write v2."""

    def __init__(self, source: Backend, cache: ChunkCache) -> None:
        V2View.__init__(self, source, cache)
        self._lock = threading.RLock()

    def set_document(self, path: str, name: str, document: Document) -> None:
        node = self.current(path)
        if name == ZARR_JSON:
            raise UnsupportedError(path, "a v3 document, where only v2 is written")
        if node is not None and node.zarr_format == 2:
            self.write(path, name, document)
        elif name == ZMETADATA:
            self._consolidate(path)
        elif name == ZATTRS:
            self._set_attributes(path, node, document)
        elif name == ZGROUP:
            attributes = {} if node is None or node.is_array else dict(node.attributes)
            kept = {} if node is None or node.is_array else dict(node.document)
            self.write(path, ZARR_JSON, {**kept, **translate.group_to_v3(attributes)})
        else:
            self.write(path, ZARR_JSON, self._array_document(path, node, document))

    def _consolidate(self, path: str) -> None:
        """Consolidate the source, from its own documents; the view shows it from then on."""
        key = Key(join_key(path, ZARR_JSON))
        self.source.set(key, ConsolidatedView(self.source).get(key))
        self.nodes.forget(path)

    def _set_attributes(self, path: str, node: SourceNode | None, zattrs: Document) -> None:
        if node is None:
            raise UnsupportedError(path, "attributes before there is an array or group")
        document = dict(node.document)
        attributes, names = zattrs, None
        if node.is_array:
            attributes, names = translate.split_dimensions(zattrs, len(node.document["shape"]))  # type: ignore[arg-type]  # a list, as every SourceNode has it
        document["attributes"] = attributes
        if node.is_array:
            document.pop("dimension_names", None)
        if names is not None:
            document["dimension_names"] = names
        self.write(path, ZARR_JSON, document)

    def _array_document(
        self, path: str, node: SourceNode | None, zarray: Document
    ) -> Mapping[str, Json]:
        zattrs = {} if node is None else translate.attributes_to_v2(node.document)
        new = translate.array_to_v3(zarray, zattrs)
        if node is None or not node.is_array:
            return new
        shown = decode_document(self.get(Key(join_key(path, ZARRAY))), path)
        if all(shown.get(k) == zarray.get(k) for k in {*shown, *zarray} - {"shape"}):
            return {**node.document, "shape": zarray["shape"]}
        if is_sharded(node.document):
            raise UnsupportedError(path, "an array of shards can only change its shape here")
        encoding = node.array_layout.key_encoding
        if encoding.separator == (zarray.get("dimension_separator") or "."):
            # The chunks that are there stay where they are.
            new["chunk_key_encoding"] = node.document["chunk_key_encoding"]
        return new

    def delete_document(self, path: str, name: str) -> None:
        node = self.current(path)
        if node is not None and node.zarr_format == 2:
            self.remove(path, name)
        elif name == ZMETADATA:
            self._remove_consolidated(path, node)
        elif name == ZATTRS:
            self._set_attributes(path, node, {})
        elif name in (ZARRAY, ZGROUP):
            self.remove(path, ZARR_JSON)

    def _remove_consolidated(self, path: str, node: SourceNode | None) -> None:
        if node is None or CONSOLIDATED_METADATA not in node.document:
            raise KeyNotFoundError(join_key(path, ZMETADATA))
        kept = {k: v for k, v in node.document.items() if k != CONSOLIDATED_METADATA}
        self.write(path, ZARR_JSON, kept)


class WritableV3View(WritableNodeView, V3View):
    """A v2 store for programs that write v3."""

    def __init__(self, source: Backend, cache: ChunkCache) -> None:
        V3View.__init__(self, source, cache)
        self._lock = threading.RLock()

    def set_document(self, path: str, name: str, document: Document) -> None:
        node = self.current(path)
        if name != ZARR_JSON:
            raise UnsupportedError(path, "a v2 document, where only v3 is written")
        if node is not None and node.zarr_format == 3:
            self.write(path, name, document)
            return
        consolidated = document.pop(CONSOLIDATED_METADATA, None) is not None
        if document.get("node_type") == "group":
            zgroup, zattrs = translate.group_to_v2(document)
            self._write_v2(path, ZGROUP, zgroup, zattrs)
            key = Key(join_key(path, ZMETADATA))
            if consolidated:  # from the source's own documents
                self.source.set(key, ConsolidatedView(self.source).get(key))
            else:
                self.remove(path, ZMETADATA)
            return
        encoding, _ = named(document.get("chunk_key_encoding"), "chunk_key_encoding")
        if encoding != "v2":
            reason = "a v2 store has no chunk keys with a leading c"
            remedy = 'create the array with chunk_key_encoding "v2"'
            raise UnsupportedError(path, reason, remedy=remedy)
        zarray, zattrs = translate.array_to_v2(document)
        self._write_v2(path, ZARRAY, zarray, zattrs)

    def _write_v2(
        self, path: str, name: str, document: Mapping[str, Json], zattrs: Mapping[str, Json]
    ) -> None:
        """Attributes first: a reader never sees the node without them."""
        self.remove(path, ZGROUP if name == ZARRAY else ZARRAY)
        if zattrs:
            self.write(path, ZATTRS, zattrs)
        else:
            self.remove(path, ZATTRS)
        self.write(path, name, document)

    def delete_document(self, path: str, name: str) -> None:
        node = self.current(path)
        if node is not None and node.zarr_format == 3:
            self.remove(path, name)
            return
        for v2_name in _V2_NAMES:
            self.remove(path, v2_name)
