"""Whether a complete document or chunk can be right.

Documents must parse and say what their name says. A chunk must have a possible
size: exactly the decoded size where nothing changes it, at least the index
where it is a shard, never nothing at all. Chunks are not decoded here: that is
`zarrfs verify`. Any thread may call this module.

Source: Zarr v2 specification, "Metadata" and "Chunks"; Zarr v3 core;
zarr-extensions, `sharding_indexed` and `crc32c`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from zarrfs.errors import ZarrfsError
from zarrfs.storage.tree import Buffer
from zarrfs.vfs.zarr_nodes import ZarrNodes
from zarrfs.zarr_format.documents import NODE_DOCUMENTS, NodeKind, decode_document, kind_under
from zarrfs.zarr_format.keys import DOCUMENT_NAMES, is_temporary_name, split_key
from zarrfs.zarr_format.layout import ArrayLayout, array_layout

_SIZE_ADDED: Final = {"bytes": 0, "transpose": 0, "crc32c": 4}
"""Codecs that change a chunk's size by a known number of bytes."""
_SHARD: Final = "sharding_indexed"
_INDEX_ENTRY_BYTES: Final = 16


class Validator:
    """Judges what is written into one tree's hierarchy."""

    def __init__(self, nodes: ZarrNodes) -> None:
        self._nodes = nodes

    def concerns(self, key: str) -> bool:
        """Whether a key is a document or a chunk."""
        return self._nodes.kind_of_key(key) is not None

    def problem(self, key: str, size: int, read: Callable[[], Buffer]) -> str | None:
        """Return what is wrong with a complete file, or None.

        `read` gives the content; it is only called for documents.
        """
        name = split_key(key)[1]
        if name in DOCUMENT_NAMES:
            self._nodes.changed(key)
            return _document_problem(key, name, read())
        if is_temporary_name(name):
            return None
        chunk = self._nodes.chunk_of(key)
        return None if chunk is None else chunk_size_problem(chunk.layout, size)

    def removed(self, key: str) -> None:
        """A key is gone, or another file has it now."""
        if split_key(key)[1] in DOCUMENT_NAMES:
            self._nodes.changed(key)


def _document_problem(key: str, name: str, data: Buffer) -> str | None:
    try:
        document = decode_document(data, key)
        if name in NODE_DOCUMENTS and kind_under(name, document, key) is NodeKind.ARRAY:
            array_layout(document, key)
    except ZarrfsError as error:
        return error.reason
    return None


def chunk_size_problem(layout: ArrayLayout, size: int) -> str | None:
    """Return why a chunk of an array cannot have this size, or None.

    Units: bytes, as stored.
    """
    exact = _exact_size(layout)
    if exact is not None:
        return None if size == exact else f"a chunk of {size} bytes, of {exact} by its array"
    least = _least_size(layout)
    if size < least:
        return f"a chunk of {size} bytes, of at least {least} by its array"
    return None


def _exact_size(layout: ArrayLayout) -> int | None:
    decoded = layout.chunk_size_bytes
    if decoded is None or layout.is_sharded:
        return None
    if layout.zarr_format == 2:
        return None if layout.codecs else decoded
    if any(codec not in _SIZE_ADDED for codec in layout.codecs):
        return None
    return decoded + sum(_SIZE_ADDED[codec] for codec in layout.codecs)


def _least_size(layout: ArrayLayout) -> int:
    inner = layout.inner_chunk_shape
    if inner is None or layout.chunk_runs is not None or not layout.codecs[-1].startswith(_SHARD):
        return 0 if layout.chunk_size_bytes == 0 else 1
    per_shard = math.prod(
        -(-outer // length) for outer, length in zip(layout.chunk_shape, inner, strict=True)
    )
    return per_shard * _INDEX_ENTRY_BYTES
