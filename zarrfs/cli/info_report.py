"""What `zarrfs info` tells of a hierarchy, as values; `info` prints them.

Reads documents and the sizes of chunks; decodes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zarrfs.errors import KeyNotFoundError, ZarrfsError
from zarrfs.storage.backend import Key
from zarrfs.zarr_format.keys import join_key

if TYPE_CHECKING:
    from zarrfs.storage.hierarchy import BrokenNode, Node
    from zarrfs.storage.storage import Storage


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One array or group. What does not apply, or was not asked for, is None."""

    path: str
    kind: str
    format: int | None = None
    attributes: int | None = None
    """How many there are; None when they cannot be read."""
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    chunks: tuple[int, ...] | None = None
    """The shape of the smallest unit that is read: the inner chunks of shards."""
    shards: tuple[int, ...] | None = None
    codecs: tuple[str, ...] | None = None
    chunks_present: int | None = None
    """Of a sharded array, shards."""
    chunks_total: int | None = None
    stored_bytes: int | None = None
    logical_bytes: int | None = None
    error: str | None = None
    """Why the document cannot be used."""


def report_nodes(storage: Storage, path: str = "", *, count_chunks: bool) -> Iterator[NodeReport]:
    """Report on the node at a path and all below it, parents first."""
    from zarrfs.storage.hierarchy import BrokenNode

    for node in storage.walk(path):
        if isinstance(node, BrokenNode):
            yield _broken(node)
        elif node.layout is not None:
            yield _array(storage, node, count_chunks=count_chunks)
        else:
            error = None if node.layout_error is None else str(node.layout_error)
            yield NodeReport(
                node.path,
                node.kind.value,
                node.zarr_format,
                _attribute_count(storage, node.path),
                error=error,
            )


def _broken(node: BrokenNode) -> NodeReport:
    return NodeReport(node.path, "broken", error=str(node.error))


def _array(storage: Storage, node: Node, *, count_chunks: bool) -> NodeReport:
    layout = node.layout
    assert layout is not None
    present, stored = _chunks(storage, node) if count_chunks else (None, None)
    return NodeReport(
        path=node.path,
        kind=node.kind.value,
        format=node.zarr_format,
        attributes=_attribute_count(storage, node.path),
        shape=layout.shape,
        dtype=layout.dtype,
        chunks=layout.inner_chunk_shape or layout.chunk_shape,
        shards=layout.chunk_shape if layout.is_sharded else None,
        codecs=layout.codecs,
        chunks_present=present,
        chunks_total=layout.chunk_count,
        stored_bytes=stored,
        logical_bytes=layout.size_bytes,
    )


def _chunks(storage: Storage, node: Node) -> tuple[int, int]:
    """Return how many chunks of an array are stored, and their bytes altogether."""
    assert node.layout is not None
    chunk_key, stat, path = node.layout.chunk_key, storage.backend.stat, node.path
    present = stored = 0
    for index in storage.iter_chunks(path):
        try:
            stored += stat(Key(join_key(path, chunk_key(index)))).size_bytes
        except KeyNotFoundError:
            continue  # deleted since it was listed
        present += 1
    return present, stored


def _attribute_count(storage: Storage, path: str) -> int | None:
    try:
        return len(storage.read_attributes(path))
    except ZarrfsError:
        return None
