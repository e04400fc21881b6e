"""What a view shows in an array's folder: other documents, and chunks by other keys.

    SameKeys      all but the documents straight from the source
    ShiftedKeys   v3's default keys without their leading `c`
    IndexedKeys   any `Chunks`, under the keys of any encoding
    FullGrid      the same, where no chunk of the grid is missing

Keys here are relative to the array. Owns names; what chunks hold is `chunks`'
business. All methods may be called from several threads at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from math import prod
from typing import Final

from zarrfs.errors import KeyNotFoundError, NotFoundError
from zarrfs.storage.backend import Backend, Buffer, Key, KeyStat, Listed
from zarrfs.views.chunks import Chunks, FilledChunks
from zarrfs.zarr_format.keys import DOCUMENT_NAMES, ChunkIndex, ChunkKeyEncoding, join_key
from zarrfs.zarr_format.layout import ArrayLayout

Documents = Mapping[str, bytes]
"""A node's documents by name, as the view shows them."""

MAX_LISTED: Final = 1_000_000


class Face(ABC):
    """An array's folder as a view shows it."""

    def __init__(self, documents: Documents, mtime_ns: int) -> None:
        self.documents = documents
        self.mtime_ns = mtime_ns

    def get(self, rest: str, start: int, stop: int | None) -> Buffer:
        document = self.documents.get(rest)
        if document is not None:
            return document[start:stop]
        if rest in DOCUMENT_NAMES:
            raise KeyNotFoundError(rest)
        return self.get_chunk(rest, start, stop)

    def stat(self, rest: str) -> KeyStat:
        document = self.documents.get(rest)
        if document is not None:
            return KeyStat(len(document), self.mtime_ns)
        if rest in DOCUMENT_NAMES:
            raise KeyNotFoundError(rest)
        return self.stat_chunk(rest)

    def list_dir(self, rest: str) -> Iterator[Listed]:
        if rest:
            yield from self.list_chunks(rest)
            return
        yield from (Listed(name, False) for name in self.documents)
        for listed in self.list_chunks(""):
            if listed.name not in DOCUMENT_NAMES:
                yield listed

    @abstractmethod
    def get_chunk(self, rest: str, start: int, stop: int | None) -> Buffer: ...

    @abstractmethod
    def stat_chunk(self, rest: str) -> KeyStat: ...

    @abstractmethod
    def list_chunks(self, rest: str) -> Iterator[Listed]: ...


class SameKeys(Face):
    """Whatever the source has in the array's folder, its documents excepted."""

    def __init__(self, documents: Documents, mtime_ns: int, source: Backend, path: str) -> None:
        super().__init__(documents, mtime_ns)
        self._source = source
        self._path = path
        self._prefix = f"{path}/" if path else ""

    def get_chunk(self, rest: str, start: int, stop: int | None) -> Buffer:
        return self._source.get(self._key(rest), start, stop)

    def stat_chunk(self, rest: str) -> KeyStat:
        return self._source.stat(self._key(rest))

    def list_chunks(self, rest: str) -> Iterator[Listed]:
        return self._source.list_dir(self._key(rest))

    def source_key(self, rest: str) -> Key:
        """Return where the source has what the view shows by a name."""
        return self._key(rest)

    def _key(self, rest: str) -> Key:
        return Key(self._prefix + rest if rest else self._path)


class ShiftedKeys(SameKeys):
    """`c/1/2` as `1/2`, or `c.1.2` as `1.2`; other files keep their names.

    The separator stays, so a folder stays a folder and is listed as it is.
    """

    def __init__(
        self, documents: Documents, mtime_ns: int, source: Backend, path: str, layout: ArrayLayout
    ) -> None:
        super().__init__(documents, mtime_ns, source, path)
        self._rank = layout.rank
        self._separator = layout.key_encoding.separator
        self._shown = ChunkKeyEncoding("v2", self._separator)
        self._folder = join_key(path, "c")
        self._shift = self._folder + self._separator

    def _key(self, rest: str) -> Key:
        if rest[:1].isdigit():  # a chunk, or some writer's temporary name for one
            return Key(self._shift + rest if self._rank else self._folder + rest[1:])
        if not rest:
            return Key(self._path)
        if rest == "c" or rest.startswith(("c/", "c.")):
            raise KeyNotFoundError(rest)  # that is how the source calls its chunks
        return Key(self._prefix + rest)

    def list_chunks(self, rest: str) -> Iterator[Listed]:
        if rest:
            yield from self._list_nested(rest)
            return
        for name, is_prefix in self._source.list_dir(Key(self._path)):
            if self._rank == 0 and name == "c":
                yield Listed("0", is_prefix)
            elif name == "c":
                yield from self._list_nested("")
            elif not name.startswith("c."):
                if not name[:1].isdigit():
                    yield Listed(name, is_prefix)
            elif self._shown.decode(name[2:], self._rank) is not None:
                yield Listed(name[2:], is_prefix)

    def _list_nested(self, rest: str) -> Iterator[Listed]:
        if self._separator != "/" or not self._rank:
            return
        depth = rest.count("/") + 1 if rest else 0
        folders = depth < self._rank - 1
        folder = self._shift + rest if rest else self._folder
        for name, is_prefix in self._source.list_dir(Key(folder)):
            if is_prefix == folders and self._shown.decode(name, 1) is not None:
                yield Listed(name, is_prefix)


class IndexedKeys(Face):
    """Chunks that need not be the source's, under the keys of an encoding."""

    def __init__(
        self,
        documents: Documents,
        mtime_ns: int,
        chunks: Chunks,
        grid: ChunkIndex,
        encoding: ChunkKeyEncoding,
    ) -> None:
        super().__init__(documents, mtime_ns)
        self.chunks = chunks
        self._grid = grid
        self._encoding = encoding

    def get_chunk(self, rest: str, start: int, stop: int | None) -> Buffer:
        try:
            return self.chunks.get(self._index(rest), start, stop)
        except NotFoundError as error:
            raise KeyNotFoundError(rest) from error

    def stat_chunk(self, rest: str) -> KeyStat:
        try:
            return self.chunks.stat(self._index(rest))
        except NotFoundError as error:
            raise KeyNotFoundError(rest) from error

    def _index(self, rest: str) -> ChunkIndex:
        index = self._encoding.decode(rest, len(self._grid))
        if index is None or any(i >= n for i, n in zip(index, self._grid, strict=True)):
            raise KeyNotFoundError(rest)
        return index

    def list_chunks(self, rest: str) -> Iterator[Listed]:
        if self._encoding.separator == "." or len(self._grid) == 0:
            if not rest:
                for index in self.chunks.indices():
                    yield Listed(self._encoding.encode(index), False)
            return
        yield from self._list_nested(rest)

    def _list_nested(self, rest: str) -> Iterator[Listed]:
        names = rest.split("/") if rest else []
        depth = len(self._grid) + (self._encoding.name == "default")
        if len(names) >= depth:
            return
        above = names[1:] if self._encoding.name == "default" else names
        if not all(name.isascii() and name.isdigit() for name in above):
            return
        seen: set[str] = set()
        for index in self.chunks.indices(tuple(map(int, above))):
            parts = self._encoding.encode(index).split("/")
            if parts[: len(names)] == names and parts[len(names)] not in seen:
                seen.add(parts[len(names)])
                yield Listed(parts[len(names)], len(names) < depth - 1)


class FullGrid(IndexedKeys):
    """All chunks of a grid, each of which is there; a folder is listed without a search.

    More than `MAX_LISTED` names are not generated: then only the chunks that
    the array has are listed, but every other one is still found by its name.
    """

    def list_chunks(self, rest: str) -> Iterator[Listed]:
        if self._encoding.separator == "/" and self._grid:
            yield from self._list_full(rest)
        elif not rest:
            chunks = self.chunks
            assert isinstance(chunks, FilledChunks)
            full = prod(self._grid) <= MAX_LISTED
            for index in chunks.indices() if full else chunks.chunks.indices():
                yield Listed(self._encoding.encode(index), False)

    def _list_full(self, rest: str) -> Iterator[Listed]:
        names = rest.split("/") if rest else []
        if self._encoding.name == "default":
            if not names:
                yield Listed("c", True)
                return
            names = names[1:]
        depth = len(names)
        if depth < len(self._grid) and 0 not in self._grid:
            listed = min(self._grid[depth], MAX_LISTED)
            yield from (Listed(str(i), depth < len(self._grid) - 1) for i in range(listed))
