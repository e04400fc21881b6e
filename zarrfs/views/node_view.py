"""`NodeView`: a view that shows each array and group of its source by other documents.

Owns the way from a key to the array it belongs to, and what is left out.
Subclasses say what an array's folder looks like (`array_face`) and a group's
documents (`group_documents`). Files that are no part of a node pass through.
All methods may be called from several threads at once.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from zarrfs.errors import InvalidMetadataError, KeyNotFoundError, ZarrfsError
from zarrfs.storage.backend import Backend, Buffer, Key, KeyStat, Listed
from zarrfs.views.faces import Documents, Face
from zarrfs.views.nodes import SourceNode, SourceNodes
from zarrfs.views.view import ROOT_PREFIX, Hidden, View, is_empty
from zarrfs.zarr_format.documents import Document, encode_document
from zarrfs.zarr_format.keys import DOCUMENT_NAMES, join_key, split_key

logger = logging.getLogger(__name__)

_REMEMBERED: Final = 65536


class _Shown(NamedTuple):
    """What was made of one state of a node: a face, or the reason why there is none."""

    node: SourceNode
    face: Face | None
    reason: str


class _ShownGroup(NamedTuple):
    node: SourceNode
    documents: Documents


class NodeView(View):
    """Routes each key to the face of its array, to a group's documents, or to the source."""

    def __init__(self, source: Backend) -> None:
        super().__init__(source)
        self.nodes = SourceNodes(source)
        self._arrays: dict[str, _Shown] = {}
        """By path. Single reads and writes need no lock."""
        self._static = source.static
        self._settled: dict[str, Face] = {}
        """Faces that stay for good, by path. Single operations need no lock."""
        self._groups: dict[str, _ShownGroup] = {}
        """By path. Single reads and writes need no lock."""

    @abstractmethod
    def array_face(self, node: SourceNode) -> Face:
        """Return what an array's folder shows.

        Raises: UnsupportedError and InvalidMetadataError with the reason why
        the array cannot be shown; it is then hidden.
        """

    @abstractmethod
    def group_documents(self, node: SourceNode) -> Documents: ...

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        face, rest = self._face_above(key)
        if face is not None:
            return face.get(rest, start, stop)
        documents, _mtime_ns = self._documents_beside(key)
        if documents is None:
            return self.source.get(key, start, stop)
        return documents[rest][start:stop]

    def stat(self, key: Key) -> KeyStat:
        face, rest = self._face_above(key)
        if face is not None:
            return face.stat(rest)
        documents, mtime_ns = self._documents_beside(key)
        if documents is None:
            return self.source.stat(key)
        return KeyStat(len(documents[rest]), mtime_ns)

    def list_dir(self, prefix: Key) -> Iterator[Listed]:
        node = self.nodes.array_above(prefix)
        if node is not None:
            shown = self._shown(node)
            if shown.face is not None:
                rest = prefix[len(node.path) :].lstrip("/")
                yield from shown.face.list_dir(rest)
            return
        group = self.nodes.node(prefix)
        if group is not None:
            yield from (Listed(name, False) for name in self._group(group).documents)
        for listed in self.source.list_dir(prefix):
            if listed.name in DOCUMENT_NAMES and not listed.is_prefix:
                continue
            if not (listed.is_prefix and self._is_hidden(join_key(prefix, listed.name))):
                yield listed

    def hidden(self, prefix: Key = ROOT_PREFIX) -> Iterator[Hidden]:
        yield from super().hidden(prefix)
        for node in self.nodes.walk(prefix):
            reason = self._reason(node)
            if reason:
                yield Hidden(node.path, f"view {self.name}: {reason}")

    def left_out(self, prefix: Key) -> Mapping[str, str]:
        found = dict(super().left_out(prefix))
        for node in self.nodes.children(prefix):
            reason = self._reason(node)
            if reason:
                found[split_key(node.path)[1]] = reason
        return found

    def _reason(self, node: SourceNode) -> str:
        if node.is_array:
            return self._shown(node).reason
        return str(node.problem) if node.problem is not None else ""

    def _is_hidden(self, path: str) -> bool:
        node = self.nodes.node(path)
        if node is None:
            return is_empty(self, path)  # perhaps all arrays in it are hidden
        return node.is_array and self._shown(node).face is None

    def _face_above(self, key: Key) -> tuple[Face | None, str]:
        """Return the face of the array that a key lies in, and the key relative to it.

        Raises: KeyNotFoundError when that array is hidden.
        """
        if self._static:
            prefix: str = key
            while prefix:
                prefix = prefix.rpartition("/")[0]
                settled = self._settled.get(prefix)
                if settled is not None:
                    return settled, key[len(prefix) + 1 :] if prefix else key
        node = self.nodes.array_above(key)
        if node is None:
            return None, split_key(key)[1]
        face = self._shown(node).face
        if face is None:
            raise KeyNotFoundError(key, self._shown(node).reason)
        if self._static:
            self._settled[node.path] = face
        return face, key[len(node.path) + 1 :] if node.path else key

    def _documents_beside(self, key: Key) -> tuple[Documents | None, int]:
        """Return the documents of the group beside a key that is named like one.

        Raises: KeyNotFoundError when the view shows no document of that name.
        """
        prefix, name = split_key(key)
        if name not in DOCUMENT_NAMES:
            return None, 0
        node = self.nodes.node(prefix)
        documents = {} if node is None else self._group(node).documents
        if name not in documents:
            raise KeyNotFoundError(key)
        return documents, node.mtime_ns if node is not None else 0

    def _shown(self, node: SourceNode) -> _Shown:
        shown = self._arrays.get(node.path)
        if shown is not None and shown.node is node:
            return shown
        shown = self._show(node)
        if shown.reason:
            logger.warning("%s: hidden by view %s: %s", self._name(node), self.name, shown.reason)
        if len(self._arrays) >= _REMEMBERED:
            self._arrays.clear()
        self._arrays[node.path] = shown
        return shown

    def _show(self, node: SourceNode) -> _Shown:
        try:
            if node.problem is not None:
                raise node.problem
            return _Shown(node, self.array_face(node), "")
        except ZarrfsError as error:
            return _Shown(node, None, str(error))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            # A document that is no sense at all; the array is left out, not the mount lost.
            odd = InvalidMetadataError("document", [f"{type(error).__name__}: {error}"])
            return _Shown(node, None, str(odd))

    def _group(self, node: SourceNode) -> _ShownGroup:
        shown = self._groups.get(node.path)
        if shown is not None and shown.node is node:
            return shown
        documents = {} if node.problem is not None else self.group_documents(node)
        shown = _ShownGroup(node, documents)
        if len(self._groups) >= _REMEMBERED:
            self._groups.clear()
        self._groups[node.path] = shown
        return shown

    def _name(self, node: SourceNode) -> str:
        return join_key(self.location, node.path)


def encoded(documents: dict[str, Document]) -> Documents:
    """Serialise documents by name."""
    return {name: encode_document(document, name) for name, document in documents.items()}
