"""`Storage`: one store in terms of Zarr: metadata, attributes and chunks by index.

The facade that Python callers use, over the same backend that a mount serves.
Values pass through as they are stored: nothing is decoded here. All methods may
be called from several threads at once.

Source: Zarr v2 specification; Zarr v3 core.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from operator import index as as_int
from types import TracebackType
from typing import TYPE_CHECKING, Self

from zarrfs.errors import (
    BusyError,
    ChunkNotFoundError,
    DeniedError,
    ExistsError,
    InvalidArgumentError,
    InvalidMetadataError,
    KeyNotFoundError,
    ReadOnlyError,
    StaleError,
)
from zarrfs.storage import registry
from zarrfs.storage.backend import Backend, Buffer, Key
from zarrfs.storage.chunks import iter_chunks
from zarrfs.storage.hierarchy import BrokenNode, Hierarchy, Node
from zarrfs.zarr_format.documents import (
    NODE_DOCUMENTS,
    Document,
    Json,
    decode_document,
    encode_document,
)
from zarrfs.zarr_format.keys import ZATTRS, ChunkIndex, join_key, normalize_path
from zarrfs.zarr_format.layout import ArrayLayout

if TYPE_CHECKING:
    from zarrfs.zarr_format.models import Metadata, ParsedMetadata


class Storage:
    """A Zarr store of any kind.

    `path` names an array or group inside the hierarchy, in every method; the
    default is the root. Where a folder has documents of both formats, format 3
    is what counts.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._hierarchy = Hierarchy(backend)
        self._closed = False
        self._metadata_lock = threading.Lock()
        """Held while a document is read, changed and written."""

    @classmethod
    def init(cls, storage: str, path: str | os.PathLike[str] | None = None) -> Self:
        """Make a new store of a registered kind: `memory`, `directory`, `zip`, ...

        Raises: UnknownBackendError, PathRequiredError, ExistsError,
        CreateFailedError.
        """
        return cls(registry.get(storage).init(None if path is None else os.fsdecode(path)))

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        storage: str | None = None,
        *,
        read_only: bool | None = None,
    ) -> Self:
        """Open the store at a path; its kind is inferred unless `storage` names it.

        With `read_only=None` it is opened for writing where that is possible,
        and for reading where permissions or another writer forbid it.

        Raises: PathNotFoundError, UnknownBackendError, CannotOpenMemoryError;
        UnsupportedError when no backend recognises the path; CorruptError;
        with `read_only=False`, ReadOnlyError, DeniedError or BusyError.
        """
        location = os.fsdecode(path)
        factory = registry.get(storage if storage is not None else registry.infer(location))
        try:
            return cls(factory.open(location, read_only=bool(read_only)))
        except (ReadOnlyError, DeniedError, BusyError):
            if read_only is not None:
                raise
        return cls(factory.open(location, read_only=True))

    @property
    def backend(self) -> Backend:
        """The bytes beneath; the same object that a mount serves."""
        return self._backend

    @property
    def hierarchy(self) -> Hierarchy:
        """The nodes of this store."""
        return self._hierarchy

    @property
    def location(self) -> str:
        """What to call this store in messages."""
        return self._backend.location

    @property
    def read_only(self) -> bool:
        return self._backend.read_only

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Make everything durable and let go of the backend; a second call does nothing."""
        self._closed = True
        self._backend.close()

    def flush(self) -> None:
        """Make everything that was written durable and visible to other programs."""
        self._check_open()
        self._backend.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "read-only" if self.read_only else "read-write"
        return f"<Storage {self._backend.kind} {self.location!r} {state}>"

    # Chunks

    def read_chunk(self, index: Sequence[int], path: str = "") -> bytes:
        """Return a chunk's bytes as they are stored, still encoded.

        Raises: ChunkNotFoundError (readers take the fill value),
        InvalidChunkIndexError, MetadataNotFoundError, WrongKindError (a group).
        """
        index, key = self._chunk(index, path)
        try:
            return bytes(self._backend.get(key))
        except KeyNotFoundError:
            raise ChunkNotFoundError(key, index) from None

    def write_chunk(self, index: Sequence[int], data: Buffer, path: str = "") -> None:
        """Store a chunk's encoded bytes, replacing what was there at once.

        The array's metadata must be there first: it says how the key is spelled.

        Raises: InvalidChunkIndexError, MetadataNotFoundError, WrongKindError (a
        group), ReadOnlyError, NoSpaceError.
        """
        self._check_writable()
        _, key = self._chunk(index, path)
        self._backend.set(key, _flat_bytes(data))

    def delete_chunk(self, index: Sequence[int], path: str = "") -> bool:
        """Remove a chunk; return whether there was one.

        The index may lie outside the grid: an array that has shrunk leaves
        chunks there.

        Raises: InvalidChunkIndexError (another rank, or negative),
        MetadataNotFoundError, WrongKindError (a group), ReadOnlyError.
        """
        self._check_writable()
        path = normalize_path(path)
        layout = self._hierarchy.layout(path)
        index = _as_index(index)
        layout.check_rank(index, path or self.location)
        try:
            self._backend.delete(Key(join_key(path, layout.chunk_key(index))))
        except KeyNotFoundError:
            return False
        return True

    def list_chunks(self, path: str = "") -> list[ChunkIndex]:
        """Return the index of every chunk that was written, in any order.

        Raises: MetadataNotFoundError, WrongKindError (a group).
        """
        return list(self.iter_chunks(path))

    def iter_chunks(self, path: str = "") -> Iterator[ChunkIndex]:
        """Like `list_chunks`, one at a time.

        Raises: MetadataNotFoundError, WrongKindError (a group): at once.
        """
        self._check_open()
        path = normalize_path(path)
        return iter_chunks(self._backend, path, self._hierarchy.layout(path))

    def chunk_key(self, index: Sequence[int], path: str = "") -> Key:
        """Return the backend's key of a chunk. Raises: as `read_chunk`."""
        return self._chunk(index, path)[1]

    def layout(self, path: str = "") -> ArrayLayout:
        """Return an array's grid, key encoding, types and codecs.

        Raises: MetadataNotFoundError, InvalidMetadataError, UnsupportedError,
        WrongKindError (a group).
        """
        self._check_open()
        return self._hierarchy.layout(normalize_path(path))

    # Nodes

    def node(self, path: str = "") -> Node:
        """Return the array or group at a path.

        Raises: MetadataNotFoundError, InvalidMetadataError.
        """
        self._check_open()
        return self._hierarchy.node(normalize_path(path))

    def walk(self, path: str = "") -> Iterator[Node | BrokenNode]:
        """Yield the node at a path and all below it: parents first, siblings by name."""
        self._check_open()
        return self._hierarchy.walk(normalize_path(path))

    def read_metadata(self, path: str = "") -> Metadata:
        """Return the node's document as zarr-metadata's model, attributes included.

        What the strict reader has against a document is told by
        `inspect_metadata`; only one without a clear meaning is refused.

        Raises: MetadataNotFoundError, InvalidMetadataError.
        """
        return self.inspect_metadata(path).metadata

    def inspect_metadata(self, path: str = "") -> ParsedMetadata:
        """Return the model and every problem of the document.

        Raises: MetadataNotFoundError, InvalidMetadataError.
        """
        from zarrfs.zarr_format.models import ParsedMetadata, parse_metadata

        node = self.node(path)
        name = node.document_key.rpartition("/")[2]
        attributes, problems = self._zattrs(node)
        parsed = parse_metadata(name, node.document, attributes, node.document_key)
        return ParsedMetadata(parsed.metadata, (*problems, *parsed.problems))

    def write_metadata(self, metadata: Document | Metadata, path: str = "") -> None:
        """Store a document: a mapping or a zarr-metadata model, of an array or group.

        It is stored semantically unchanged. In format 2 its `attributes`, if it
        has any, go to `.zattrs`; otherwise those stored stay.

        Raises: InvalidMetadataError with every problem, ReadOnlyError;
        ExistsError when the path has a document of another kind or format.
        """
        from zarrfs.zarr_format.models import split_metadata

        self._check_writable()
        path = normalize_path(path)
        name, document, attributes = split_metadata(metadata, path or self.location)
        key = join_key(path, name)
        data = encode_document(document, key)
        with self._metadata_lock:
            self._check_no_other_document(path, name)
            if attributes is not None:
                self._set_document(join_key(path, ZATTRS), attributes)
            self._backend.set(Key(key), data)

    def delete_metadata(self, path: str = "") -> None:
        """Remove the node's document, and `.zattrs` in format 2. Chunks stay.

        Raises: MetadataNotFoundError, ReadOnlyError.
        """
        self._check_writable()
        node = self.node(path)
        with self._metadata_lock:
            self._backend.delete(node.document_key)
            if node.zarr_format == 2:
                try:
                    self._backend.delete(Key(join_key(node.path, ZATTRS)))
                except KeyNotFoundError:
                    pass

    def read_attributes(self, path: str = "") -> dict[str, Json]:
        """Return the node's attributes; empty when it has none.

        Raises: MetadataNotFoundError, InvalidMetadataError.
        """
        node = self.node(path)
        if node.zarr_format == 2:
            return self._read_zattrs(node) or {}
        attributes = node.document.get("attributes")
        return dict(attributes) if isinstance(attributes, Mapping) else {}

    def write_attributes(self, attributes: Mapping[str, Json], path: str = "") -> None:
        """Replace the node's attributes.

        Raises: MetadataNotFoundError, InvalidMetadataError, ReadOnlyError.
        """
        self._check_writable()
        with self._metadata_lock:
            node = self.node(path)
            if node.zarr_format == 2:
                self._set_document(join_key(node.path, ZATTRS), attributes)
            else:
                self._set_document(node.document_key, {**node.document, "attributes": attributes})

    def _chunk(self, index: Sequence[int], path: str) -> tuple[ChunkIndex, Key]:
        self._check_open()
        if path:
            path = normalize_path(path)
        layout = self._hierarchy.layout(path)
        index = _as_index(index)
        if not layout.contains(index):
            layout.check_index(index, path or self.location)
        return index, Key(join_key(path, layout.chunk_key(index)))

    def _read_zattrs(self, node: Node) -> dict[str, Json] | None:
        key = Key(join_key(node.path, ZATTRS))
        try:
            return decode_document(self._backend.get(key), key)
        except KeyNotFoundError:
            return None

    def _zattrs(self, node: Node) -> tuple[Document | None, tuple[str, ...]]:
        """Return v2's attributes for a model, or the problem with them."""
        if node.zarr_format == 3:
            return None, ()
        try:
            return self._read_zattrs(node), ()
        except InvalidMetadataError as error:
            return None, tuple(f"{ZATTRS}: {problem}" for problem in error.problems)

    def _set_document(self, key: str, document: Document) -> None:
        self._backend.set(Key(key), encode_document(document, key))

    def _check_no_other_document(self, path: str, name: str) -> None:
        for other in NODE_DOCUMENTS:
            if other == name:
                continue
            key = Key(join_key(path, other))
            try:
                self._backend.stat(key)
            except KeyNotFoundError:
                continue
            raise ExistsError(
                key,
                f"the node has this document, {name} would contradict it",
                remedy="delete_metadata first",
            )

    def _check_open(self) -> None:
        if self._closed:
            raise StaleError(self.location, "this Storage is closed")

    def _check_writable(self) -> None:
        self._check_open()
        if self._backend.read_only:
            raise ReadOnlyError(self.location)


def _as_index(index: Sequence[int]) -> ChunkIndex:
    """Accept any sequence of integers, NumPy's too."""
    try:
        return tuple(map(as_int, index))
    except TypeError as error:
        raise InvalidArgumentError("chunk index", f"{index!r}: {error}") from error


def _flat_bytes(data: Buffer) -> Buffer:
    """Give any contiguous buffer, an array's included, the form backends expect."""
    if isinstance(data, bytes):
        return data
    try:
        view = memoryview(data)
    except TypeError as error:
        raise InvalidArgumentError("chunk data", f"not bytes: {error}") from error
    try:
        return view.cast("B")
    except (TypeError, ValueError):  # strides, empty dimensions, foreign byte orders
        return view.tobytes()
