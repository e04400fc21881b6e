"""The views there are, by name, and how they are stacked on a backend.

    apply_views(backend, ["unsharded", "filled"])      # the first is nearest the store
    subfolders({"v3": v3_backend, "nc": nc_backend})   # several at once

Owns the names users write (`-o view=NAME[+NAME]`). Safe from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from zarrfs.errors import InvalidArgumentError
from zarrfs.storage.backend import Backend
from zarrfs.views.chunk_cache import ChunkCache
from zarrfs.views.closing import ClosesCache
from zarrfs.views.subfolders import Subfolders

Make = Callable[[Backend, ChunkCache], Backend]


@dataclass(frozen=True, slots=True)
class ViewKind:
    """A view as users know it."""

    name: str
    description: str
    """One line: what it shows, and for whom."""
    decodes: bool
    """Whether it decodes chunks, and so has use for the cache."""
    make: Make


def _v2(source: Backend, cache: ChunkCache) -> Backend:
    from zarrfs.views.consolidated import consolidated_like_source
    from zarrfs.views.formats import V2View

    if not source.read_only:
        from zarrfs.views.writing import WritableV2View

        view: V2View = WritableV2View(source, cache)
    else:
        view = V2View(source, cache)
    return consolidated_like_source(view, view.nodes)


def _v3(source: Backend, cache: ChunkCache) -> Backend:
    from zarrfs.views.consolidated import consolidated_like_source
    from zarrfs.views.formats import V3View

    if not source.read_only:
        from zarrfs.views.writing import WritableV3View

        view: V3View = WritableV3View(source, cache)
    else:
        view = V3View(source, cache)
    return consolidated_like_source(view, view.nodes)


def _unsharded(source: Backend, cache: ChunkCache) -> Backend:
    from zarrfs.views.consolidated import consolidated_like_source
    from zarrfs.views.formats import UnshardedView

    view = UnshardedView(source)
    return consolidated_like_source(view, view.nodes)


def _plain(source: Backend, cache: ChunkCache) -> Backend:
    from zarrfs.views.consolidated import consolidated_like_source
    from zarrfs.views.formats import PlainView

    view = PlainView(source, cache)
    return consolidated_like_source(view, view.nodes)


def _decoded(source: Backend, cache: ChunkCache) -> Backend:
    from zarrfs.views.consolidated import consolidated_like_source
    from zarrfs.views.decoded import DecodedView

    view = DecodedView(source, cache)
    return consolidated_like_source(view, view.nodes)


def _filled(source: Backend, cache: ChunkCache) -> Backend:
    from zarrfs.views.filled import FilledView

    return FilledView(source)


def _consolidated(source: Backend, cache: ChunkCache) -> Backend:
    from zarrfs.views.consolidated import ConsolidatedView

    return ConsolidatedView(source)


def _flat(source: Backend, cache: ChunkCache) -> Backend:
    from zarrfs.views.flat import FlatView

    return FlatView(source, cache)


def _netcdf(source: Backend, cache: ChunkCache) -> Backend:
    from zarrfs.views.netcdf import NetcdfView

    return NetcdfView(source, cache)


_KINDS: Final = (
    ViewKind("v2", "v3 arrays and groups as v2, for tools that know only v2", False, _v2),
    ViewKind("v3", "v2 arrays and groups as v3, for tools that know only v3", False, _v3),
    ViewKind(
        "unsharded",
        "each inner chunk of a shard as a chunk, for tools without sharding",
        False,
        _unsharded,
    ),
    ViewKind(
        "plain",
        "v2 without any codec, little-endian, C order, for tools that lack codecs",
        True,
        _plain,
    ),
    ViewKind(
        "decoded",
        "plain, and only numbers of the types that C programs have, for netCDF-C",
        True,
        _decoded,
    ),
    ViewKind(
        "filled",
        "absent chunks made of the fill value, for tools that need every file",
        False,
        _filled,
    ),
    ViewKind(
        "consolidated",
        "consolidated metadata, always current, in every group",
        False,
        _consolidated,
    ),
    ViewKind(
        "flat",
        "each array as one file: raw values with headers, and .npy",
        True,
        _flat,
    ),
    ViewKind("netcdf", "each group as one netCDF file, for tools that know no Zarr", True, _netcdf),
)
VIEWS: Final[Mapping[str, ViewKind]] = {kind.name: kind for kind in _KINDS}


def view_names() -> tuple[str, ...]:
    return tuple(VIEWS)


def view_kind(name: str) -> ViewKind:
    """Raises: InvalidArgumentError for a name that is no view's."""
    try:
        return VIEWS[name]
    except KeyError:
        known = ", ".join(VIEWS)
        raise InvalidArgumentError(name, "no such view", remedy=f"one of: {known}") from None


def apply_views(
    backend: Backend, names: Sequence[str], *, cache: ChunkCache | None = None
) -> Backend:
    """Show a backend through views, the first nearest to it.

    `cache` may be shared by several calls; without one, the views get their
    own. Closing what is returned closes the backend.

    Raises: InvalidArgumentError.
    """
    kinds = [view_kind(name) for name in names]
    if not kinds:
        return backend
    shared = cache or ChunkCache()
    for kind in kinds:
        backend = kind.make(backend, shared)
    return backend if cache is not None else ClosesCache(backend, shared)


def subfolders(
    backend: Backend, views: Mapping[str, Sequence[str]], *, cache: ChunkCache | None = None
) -> Backend:
    """Show a backend through several views at once, each in a folder of its own.

    An empty sequence of views shows the store as it is.
    """
    for name in views:
        if not name or "/" in name or name in (".", ".."):
            raise InvalidArgumentError(name, "cannot be the name of a folder")
    shared = cache or ChunkCache()
    shown = {name: apply_views(backend, names, cache=shared) for name, names in views.items()}
    folders = Subfolders(shown, backend)
    return folders if cache is not None else ClosesCache(folders, shared)
