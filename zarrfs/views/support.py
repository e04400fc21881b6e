"""Which views a store supports, and which reader could read what through them.

For `zarrfs info`. Every answer is found by applying the view: an array counts
when the view shows it, and for a reader when its rule says that it reads the
document shown. Functions only; safe from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from zarrfs.storage.backend import Backend, Key
from zarrfs.views.chunk_cache import ChunkCache
from zarrfs.views.nodes import SourceNodes
from zarrfs.views.readers import READERS
from zarrfs.views.registry import VIEWS, apply_views
from zarrfs.views.view import Hidden, HidesNodes
from zarrfs.zarr_format.documents import Json

AS_STORED: Final = ""
"""In place of a view's name: the store as it is."""

ZARR_VIEWS: Final = ("v2", "v3", "unsharded", "plain", "decoded")
ANY_PROGRAM: Final = {
    "flat": "numpy, C, R, Octave, ENVI and NRRD readers",
    "netcdf": "ncdump, NCO, CDO, Panoply, R, Octave, Fortran",
}


@dataclass(frozen=True, slots=True)
class ViewSupport:
    """What one view would show of a store."""

    name: str
    description: str
    shown: int
    """How many arrays."""
    hidden: tuple[Hidden, ...]


@dataclass(frozen=True, slots=True)
class ReaderSupport:
    """How many of a store's arrays a reader reads, by the view that it is given."""

    reader: str
    as_stored: int
    by_view: dict[str, int]

    @property
    def best_view(self) -> str:
        """The view through which it reads most, or "" when none helps."""
        best = max(self.by_view, key=lambda name: self.by_view[name], default=AS_STORED)
        return best if self.by_view.get(best, 0) > self.as_stored else AS_STORED


def supported_views(backend: Backend, path: str = "") -> list[ViewSupport]:
    """Return, for every view, what it would show of the arrays at and below a path."""
    total = sum(node.is_array for node in SourceNodes(backend).walk(path))
    found = []
    cache = ChunkCache(1 << 20)
    for kind in VIEWS.values():
        view = kind.make(backend, cache)
        hidden = tuple(view.hidden(Key(path))) if isinstance(view, HidesNodes) else ()
        arrays = {item.path for item in hidden}
        found.append(ViewSupport(kind.name, kind.description, total - len(arrays), hidden))
    cache.close()
    return found


def supported_readers(backend: Backend, path: str = "") -> list[ReaderSupport]:
    """Return what each well-known reader would read, as stored and through each view."""
    cache = ChunkCache(1 << 20)
    documents = {AS_STORED: _documents(backend, path)}
    for name in ZARR_VIEWS:
        documents[name] = _documents(apply_views(backend, [name], cache=cache), path)
    cache.close()
    found = []
    for reader in READERS:
        counts = {name: reader.count(shown) for name, shown in documents.items()}
        as_stored = counts.pop(AS_STORED)
        found.append(ReaderSupport(reader.name, as_stored, counts))
    return found


def _documents(backend: Backend, path: str) -> list[Mapping[str, Json]]:
    nodes = SourceNodes(backend).walk(path)
    return [node.document for node in nodes if node.is_array and node.problem is None]
