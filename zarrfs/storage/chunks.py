"""Which chunks of an array were written: a walk over its keys.

Works with any backend and for a million chunks: folders outside the grid are
not entered, and nothing is collected. Safe from any thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import getitem
from typing import Final

from zarrfs.errors import KeyNotFoundError
from zarrfs.storage.backend import Backend, Key
from zarrfs.zarr_format.documents import NODE_DOCUMENTS
from zarrfs.zarr_format.keys import ChunkIndex, join_key
from zarrfs.zarr_format.layout import ArrayLayout

_REMEMBERED_NUMBERS: Final = 1 << 16


def iter_chunks(backend: Backend, path: str, layout: ArrayLayout) -> Iterator[ChunkIndex]:
    """Yield the index of every chunk of the array at a path that has a value, in any order.

    Keys outside the grid, temporary names, and whatever belongs to another
    node below the array are left out.
    """
    encoding = layout.key_encoding
    axes = tuple(map(_Axis, layout.grid_shape))
    if not axes:
        return _scalar(backend, join_key(path, encoding.encode(())))
    if encoding.separator == "/":
        root = join_key(path, encoding.chunk_prefix())
        if root != path and _is_node(backend, root):
            return iter(())
        return _nested(backend, root, axes, ())
    return _flat(backend, path, ("c",) if encoding.name == "default" else (), axes)


class _Axis(dict[str, int]):
    """The numbers that chunks have along one dimension, by their spelling.

    A look-up checks, converts and limits at once; the spellings of long
    dimensions are not all remembered.
    """

    def __init__(self, length: int) -> None:
        self._length = length

    def __missing__(self, text: str) -> int:
        """Raises: KeyError or ValueError for what is no canonical decimal in range."""
        number = int(text)
        if not 0 <= number < self._length or str(number) != text:
            raise KeyError(text)
        if len(self) < _REMEMBERED_NUMBERS:
            self[text] = number
        return number


def _scalar(backend: Backend, key: str) -> Iterator[ChunkIndex]:
    try:
        backend.stat(Key(key))
    except KeyNotFoundError:
        return
    yield ()


def _flat(
    backend: Backend, path: str, lead: tuple[str, ...], axes: tuple[_Axis, ...]
) -> Iterator[ChunkIndex]:
    """Yield the chunks of a `.`-separated array, all of which are in its folder."""
    parts_wanted = len(lead) + len(axes)
    for name, is_prefix in backend.list_dir(Key(path)):
        parts = name.split(".")
        if is_prefix or len(parts) != parts_wanted or (lead and parts.pop(0) != "c"):
            continue
        try:
            index = tuple(map(getitem, axes, parts))
        except (KeyError, ValueError):
            continue
        yield index


def _nested(
    backend: Backend, prefix: str, axes: tuple[_Axis, ...], above: ChunkIndex
) -> Iterator[ChunkIndex]:
    """Yield the chunks below one folder; `above` is what its path says of the index."""
    axis = axes[len(above)]
    folders_wanted = len(above) + 1 < len(axes)
    for name, is_prefix in backend.list_dir(Key(prefix)):
        if is_prefix is not folders_wanted:
            continue
        try:
            index = (*above, axis[name])
        except (KeyError, ValueError):
            continue
        if not folders_wanted:
            yield index
            continue
        folder = join_key(prefix, name)
        if not _is_node(backend, folder):
            yield from _nested(backend, folder, axes, index)


def _is_node(backend: Backend, prefix: str) -> bool:
    """Whether a folder among the chunks is a node of its own (format 2, `/`)."""
    for name in NODE_DOCUMENTS:
        try:
            backend.stat(Key(join_key(prefix, name)))
        except KeyNotFoundError:
            continue
        return True
    return False
