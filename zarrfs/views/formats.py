"""The views `v2`, `v3`, `unsharded` and `plain`: a hierarchy by other documents and keys.

Documents are translated by `zarr_format.translate`; chunks keep their bytes
and come straight from the source. Where the other format has no words for how
chunks are stored they are decoded on the way. Nodes that are in the wanted
format already stay as they are. All methods may be called from several threads
at once.
"""

from __future__ import annotations

from zarrfs.errors import UnsupportedError
from zarrfs.storage.backend import Backend
from zarrfs.views.arrays import (
    ChunkedArray,
    decodable_array,
    plain_chunks,
    stored_array,
    unsharded_array,
)
from zarrfs.views.checksums import CheckedChunks, ends_with_checksum
from zarrfs.views.chunk_cache import ChunkCache
from zarrfs.views.chunks import SourceChunks
from zarrfs.views.faces import Documents, Face, IndexedKeys, SameKeys, ShiftedKeys
from zarrfs.views.node_view import NodeView, encoded
from zarrfs.views.nodes import SourceNode
from zarrfs.zarr_format import translate
from zarrfs.zarr_format.codecs import Pipeline
from zarrfs.zarr_format.documents import encode_document
from zarrfs.zarr_format.keys import ZARR_JSON, ZARRAY, ZATTRS, ZGROUP, ChunkKeyEncoding
from zarrfs.zarr_format.translate_shards import is_sharded


class CachedView(NodeView):
    """A view that may have to decode chunks."""

    def __init__(self, source: Backend, cache: ChunkCache) -> None:
        super().__init__(source)
        self.cache = cache


def own_documents(node: SourceNode) -> Documents:
    """Return a node's documents in its own format."""
    if node.zarr_format == 3:
        return encoded({ZARR_JSON: node.document})
    documents = {ZARRAY if node.is_array else ZGROUP: node.document}
    if node.attributes:
        documents[ZATTRS] = node.attributes
    return encoded(documents)


def v2_documents(translated: translate.V2Array) -> Documents:
    documents = {ZARRAY: encode_document(translated.zarray)}
    if translated.zattrs:
        documents[ZATTRS] = encode_document(translated.zattrs)
    return documents


class V2View(CachedView):
    """A v3 hierarchy as v2. Shards are shown as their inner chunks, checksums are checked."""

    name = "v2"

    def array_face(self, node: SourceNode) -> Face:
        if node.zarr_format == 2:
            return SameKeys(own_documents(node), node.mtime_ns, self.source, node.path)
        try:
            return self._with_stored_bytes(node)
        except UnsupportedError as error:
            return self._with_plain_values(node, error)

    def _with_stored_bytes(self, node: SourceNode) -> Face:
        array = unsharded_array(self.source, node)
        codecs = array.document.get("codecs")
        checked = ends_with_checksum(codecs)
        if checked:
            document = {**array.document, "codecs": list(codecs)[:-1]}  # type: ignore[arg-type]  # a list, or `ends_with_checksum` had said no
            array = ChunkedArray(document, array.layout, CheckedChunks(array.chunks))
        documents = v2_documents(translate.array_to_v2(array.document))
        if checked or is_sharded(node.document):
            return _indexed(documents, node, array)
        if array.layout.key_encoding.name == "v2":
            return SameKeys(documents, node.mtime_ns, self.source, node.path)
        return ShiftedKeys(documents, node.mtime_ns, self.source, node.path, array.layout)

    def _with_plain_values(self, node: SourceNode, reason: UnsupportedError) -> Face:
        array, pipeline = decodable_array(self.source, node)
        try:
            translated = translate.plain_array_to_v2(array.document, pipeline.spec.data_type)
        except UnsupportedError:
            raise reason from None
        chunks = plain_chunks(array, pipeline, self.cache, static=self.static)
        plain = ChunkedArray(array.document, array.layout, chunks)
        return _indexed(v2_documents(translated), node, plain)

    def group_documents(self, node: SourceNode) -> Documents:
        if node.zarr_format == 2:
            return own_documents(node)
        zgroup, zattrs = translate.group_to_v2(node.document)
        return encoded({ZGROUP: zgroup, ZATTRS: zattrs} if zattrs else {ZGROUP: zgroup})


def _indexed(documents: Documents, node: SourceNode, array: ChunkedArray) -> IndexedKeys:
    encoding = ChunkKeyEncoding("v2", array.layout.key_encoding.separator)
    return IndexedKeys(documents, node.mtime_ns, array.chunks, array.layout.grid_shape, encoding)


class V3View(CachedView):
    """A v2 hierarchy as v3."""

    name = "v3"

    def array_face(self, node: SourceNode) -> Face:
        if node.zarr_format == 3:
            return SameKeys(own_documents(node), node.mtime_ns, self.source, node.path)
        stored_array(self.source, node)
        try:
            document = translate.array_to_v3(node.document, node.attributes)
        except UnsupportedError as error:
            return self._with_plain_values(node, error)
        documents = encoded({ZARR_JSON: document})
        return SameKeys(documents, node.mtime_ns, self.source, node.path)

    def _with_plain_values(self, node: SourceNode, reason: UnsupportedError) -> Face:
        array, pipeline = decodable_array(self.source, node)
        try:
            document = translate.plain_array_to_v3(node.document, node.attributes, pipeline.spec)
        except UnsupportedError:
            raise reason from None
        chunks = plain_chunks(array, pipeline, self.cache, static=self.static)
        plain = ChunkedArray(array.document, array.layout, chunks)
        return _indexed(encoded({ZARR_JSON: document}), node, plain)

    def group_documents(self, node: SourceNode) -> Documents:
        if node.zarr_format == 3:
            return own_documents(node)
        return encoded({ZARR_JSON: translate.group_to_v3(node.attributes)})


class UnshardedView(NodeView):
    """Each inner chunk of a shard as a chunk of its own: a range of the shard's bytes."""

    name = "unsharded"

    def array_face(self, node: SourceNode) -> Face:
        if node.zarr_format == 2 or not is_sharded(node.document):
            return SameKeys(own_documents(node), node.mtime_ns, self.source, node.path)
        array = unsharded_array(self.source, node)
        assert not isinstance(array.chunks, SourceChunks)
        documents = encoded({ZARR_JSON: array.document})
        encoding = array.layout.key_encoding
        return IndexedKeys(
            documents, node.mtime_ns, array.chunks, array.layout.grid_shape, encoding
        )

    def group_documents(self, node: SourceNode) -> Documents:
        return own_documents(node)


class PlainView(V2View):
    """v2 without any codec: little-endian, C order, no shards, keys with dots."""

    name = "plain"

    def array_face(self, node: SourceNode) -> Face:
        array, pipeline = decodable_array(self.source, node)
        documents = v2_documents(plain_v2_array(node, array, pipeline))
        chunks = plain_chunks(array, pipeline, self.cache, static=self.static)
        encoding = ChunkKeyEncoding("v2", ".")
        return IndexedKeys(documents, node.mtime_ns, chunks, array.layout.grid_shape, encoding)


def plain_v2_array(node: SourceNode, array: ChunkedArray, pipeline: Pipeline) -> translate.V2Array:
    """Return the documents of an array, of either format, as v2 without codecs."""
    if node.zarr_format == 2:
        zarray = translate.plain_zarray(node.document, pipeline.spec)
        zattrs = dict(node.attributes)
    else:
        zarray, zattrs = translate.plain_array_to_v2(array.document, pipeline.spec.data_type)
    zarray["dimension_separator"] = "."
    return translate.V2Array(zarray, zattrs)
