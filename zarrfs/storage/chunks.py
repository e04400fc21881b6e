"""Which chunks of an array were written: a walk over its keys.

Works with any backend and for a million chunks: folders outside the grid are
not entered, and nothing is collected. Safe from any thread.
"""

from __future__ import annotations

from collections.abc import Iterator

from zarrfs.errors import KeyNotFoundError
from zarrfs.storage.backend import Backend, Key
from zarrfs.zarr_format.documents import NODE_DOCUMENTS
from zarrfs.zarr_format.keys import ChunkIndex, join_key
from zarrfs.zarr_format.layout import ArrayLayout


def iter_chunks(backend: Backend, path: str, layout: ArrayLayout) -> Iterator[ChunkIndex]:
    """Yield the index of every chunk of the array at a path that has a value, in any order.

    Keys outside the grid, temporary names, and whatever belongs to another
    node below the array are left out.
    """
    encoding = layout.key_encoding
    if encoding.separator == "/" and layout.rank > (0 if encoding.name == "default" else 1):
        root = join_key(path, encoding.chunk_prefix())
        if root != path and _is_node(backend, root):
            return
        yield from _nested(backend, root, layout.grid_shape, ())
    else:
        yield from _flat(backend, path, layout)


def _flat(backend: Backend, path: str, layout: ArrayLayout) -> Iterator[ChunkIndex]:
    chunk_index = layout.chunk_index
    for name, is_prefix in backend.list_dir(Key(path)):
        if is_prefix:
            continue
        index = chunk_index(name)
        if index is not None:
            yield index


def _nested(
    backend: Backend, prefix: str, grid_shape: tuple[int, ...], above: ChunkIndex
) -> Iterator[ChunkIndex]:
    """Yield the chunks below one folder; `above` is what its path says of the index."""
    limit = grid_shape[len(above)]
    folders_wanted = len(above) + 1 < len(grid_shape)
    for name, is_prefix in backend.list_dir(Key(prefix)):
        if is_prefix is not folders_wanted or not _is_canonical(name):
            continue
        number = int(name)
        if number >= limit:
            continue
        if not folders_wanted:
            yield (*above, number)
            continue
        folder = join_key(prefix, name)
        if not _is_node(backend, folder):
            yield from _nested(backend, folder, grid_shape, (*above, number))


def _is_canonical(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 20 and (name[0] != "0" or name == "0")


def _is_node(backend: Backend, prefix: str) -> bool:
    """Whether a folder among the chunks is a node of its own (format 2, `/`)."""
    for name in NODE_DOCUMENTS:
        try:
            backend.stat(Key(join_key(prefix, name)))
        except KeyNotFoundError:
            continue
        return True
    return False
