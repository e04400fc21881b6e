"""`NodeFilesView`: views that show a node as generated files, not as a folder.

Owns names, and finding the node that a name stands for; subclasses make the
files. A folder shows the files of its arrays or groups, and the folders of
groups below it. All methods may be called from several threads at once.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from zarrfs.errors import InvalidMetadataError, KeyNotFoundError, ZarrfsError
from zarrfs.storage.backend import Backend, Buffer, Key, KeyStat, Listed
from zarrfs.views.chunk_cache import ChunkCache
from zarrfs.views.freshness import ContentTime
from zarrfs.views.nodes import SourceNode, SourceNodes
from zarrfs.views.view import ROOT_PREFIX, Hidden, View, is_empty
from zarrfs.zarr_format.keys import join_key, split_key

logger = logging.getLogger(__name__)

_REMEMBERED: Final = 16384


class NodeFile(Protocol):
    """The content of one generated file."""

    @property
    def size_bytes(self) -> int: ...

    def read(self, start: int, stop: int) -> Buffer:
        """Return bytes `[start, stop)`, cut at the end."""


class FixedFile:
    """A file whose bytes are at hand."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size_bytes = len(data)

    def read(self, start: int, stop: int) -> Buffer:
        return self._data[start:stop]


class JoinedFile:
    """Several contents, each at its own place; what lies between them reads as zeros."""

    def __init__(self, parts: Sequence[tuple[int, NodeFile]], size_bytes: int) -> None:
        self._begins = [begin for begin, _part in parts]
        self._parts = [part for _begin, part in parts]
        self.size_bytes = size_bytes

    def read(self, start: int, stop: int) -> Buffer:
        stop = min(stop, self.size_bytes)
        number = bisect_right(self._begins, start) - 1
        if number >= 0 and stop <= self._begins[number] + self._parts[number].size_bytes:
            begin = self._begins[number]
            return self._parts[number].read(start - begin, stop - begin)
        out = bytearray(max(0, stop - start))
        for begin, part in zip(
            self._begins[max(0, number) :], self._parts[max(0, number) :], strict=True
        ):
            if begin >= stop:
                break
            data = part.read(max(0, start - begin), max(0, stop - begin))
            at = max(begin, start) - start
            out[at : at + len(data)] = data
        return out


class _Made(NamedTuple):
    """The files of one state of a node; none and a reason when it is left out."""

    node: SourceNode
    files: Mapping[str, NodeFile]
    time: ContentTime | None
    reason: str


class MadeFiles(NamedTuple):
    """A node's files by suffix, and the time to show for them."""

    files: Mapping[str, NodeFile]
    time: ContentTime


class NodeFilesView(View):
    """Shows each node of one kind as files `name + suffix`."""

    suffixes: tuple[str, ...] = ()
    root_stem = "root"
    """What the files of the root itself are called."""

    def __init__(self, source: Backend, cache: ChunkCache) -> None:
        super().__init__(source)
        self.cache = cache
        self.nodes = SourceNodes(source)
        self._made: dict[str, _Made] = {}
        """By path. Single reads and writes need no lock."""

    @abstractmethod
    def shows(self, node: SourceNode) -> bool:
        """Whether a node is shown as files."""

    @abstractmethod
    def make_files(self, node: SourceNode) -> MadeFiles:
        """Raises: UnsupportedError, InvalidMetadataError with the reason to leave it out."""

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        content, _made = self._file(key)
        return content.read(start, content.size_bytes if stop is None else stop)

    def stat(self, key: Key) -> KeyStat:
        content, made = self._file(key)
        assert made.time is not None
        return KeyStat(content.size_bytes, made.time.mtime_ns())

    def list_dir(self, prefix: Key) -> Iterator[Listed]:
        if self.nodes.array_above(prefix) is None:
            yield from self._list_folder(prefix)
        elif not prefix:
            yield from self._list_files(prefix, self.root_stem)

    def _list_folder(self, prefix: Key) -> Iterator[Listed]:
        if not prefix:
            yield from self._list_files(prefix, self._root_name())
        for name, is_prefix in self.source.list_dir(prefix):
            if is_prefix:
                path = join_key(prefix, name)
                node = self.nodes.node(path)
                yield from self._list_files(path, name)
                if (node is None or not node.is_array) and not is_empty(self, path):
                    yield Listed(name, True)

    def _list_files(self, path: str, stem: str) -> Iterator[Listed]:
        node = self.nodes.node(path)
        if node is not None and self.shows(node):
            yield from (Listed(stem + suffix, False) for suffix in self._files(node).files)

    def _root_name(self) -> str:
        """A child of the same name keeps it."""
        name = self.root_stem
        while any(child.name == name for child in self.source.list_dir(ROOT_PREFIX)):
            name += "_"
        return name

    def _file(self, key: Key) -> tuple[NodeFile, _Made]:
        prefix, name = split_key(key)
        for suffix in self.suffixes:
            if name.endswith(suffix):
                node = self._node_called(prefix, name[: -len(suffix)])
                if node is not None and self.shows(node):
                    made = self._files(node)
                    if suffix in made.files:
                        return made.files[suffix], made
        raise KeyNotFoundError(key)

    def _node_called(self, prefix: str, stem: str) -> SourceNode | None:
        if not stem:
            return None
        node = self.nodes.node(join_key(prefix, stem))
        if node is None and not prefix and stem == self._root_name():
            return self.nodes.node("")
        return node

    def _files(self, node: SourceNode) -> _Made:
        made = self._made.get(node.path)
        if made is not None and made.node is node and self.is_current(made.node):
            return made
        made = self._make(node)
        if made.reason:
            logger.warning("%s: left out by view %s: %s", node.path, self.name, made.reason)
        if len(self._made) >= _REMEMBERED:
            self._made.clear()
        self._made[node.path] = made
        return made

    def is_current(self, node: SourceNode) -> bool:
        """Whether what else the files were made of is as it was."""
        return True

    def _make(self, node: SourceNode) -> _Made:
        try:
            if node.problem is not None:
                raise node.problem
            files, time = self.make_files(node)
            return _Made(node, files, time, "")
        except ZarrfsError as error:
            return _Made(node, {}, None, str(error))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            odd = InvalidMetadataError("document", [f"{type(error).__name__}: {error}"])
            return _Made(node, {}, None, str(odd))

    def hidden(self, prefix: Key = ROOT_PREFIX) -> Iterator[Hidden]:
        yield from super().hidden(prefix)
        for node in self.nodes.walk(prefix):
            if self.shows(node) and (reason := self._files(node).reason):
                yield Hidden(node.path, f"view {self.name}: {reason}")

    def left_out(self, prefix: Key) -> Mapping[str, str]:
        found = dict(super().left_out(prefix))
        for node in self.nodes.children(prefix):
            if self.shows(node) and (reason := self._files(node).reason):
                found[split_key(node.path)[1]] = reason
        return found
