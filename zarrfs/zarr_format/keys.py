"""The names of a Zarr store: documents, chunk keys, and names that are not data.

Owns the spelling of keys and nothing else: no I/O, no documents. Pure and safe
from any thread.

Source: Zarr v2 specification, "Storage"; Zarr v3 core, "Stores" and "Chunk key
encodings" (`default` and `v2`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, TypeAlias

from zarrfs.errors import InvalidNameError, NameTooLongError

ZARRAY: Final = ".zarray"
ZGROUP: Final = ".zgroup"
ZATTRS: Final = ".zattrs"
ZMETADATA: Final = ".zmetadata"
ZARR_JSON: Final = "zarr.json"
DOCUMENT_NAMES: Final = frozenset((ZARRAY, ZGROUP, ZATTRS, ZMETADATA, ZARR_JSON))
"""Names that are metadata wherever they stand, never chunks."""

NAME_MAX_BYTES: Final = 255

ChunkIndex: TypeAlias = tuple[int, ...]
Separator: TypeAlias = Literal[".", "/"]
EncodingName: TypeAlias = Literal["default", "v2"]

_DECIMAL: Final = "(0|[1-9][0-9]{0,18})"
"""A canonical decimal that fits in 63 bits, or nearly: no signs, no leading zeros."""


@dataclass(frozen=True, slots=True)
class ChunkKeyEncoding:
    """How an array spells the keys of its chunks, relative to the array's own path.

    `default` is the v3 encoding with its leading `c`; `v2` serves format 2 and
    the v3 encoding of that name.

    >>> ChunkKeyEncoding("default", "/").encode((1, 23))
    'c/1/23'
    >>> ChunkKeyEncoding("v2", ".").decode("1.23", rank=2)
    (1, 23)
    """

    name: EncodingName
    separator: Separator

    def encode(self, index: ChunkIndex) -> str:
        """Return the key of a chunk; the index is not checked against any grid."""
        if self.name == "v2":
            return self.separator.join(map(str, index)) if index else "0"
        return self.separator.join(("c", *map(str, index)))

    def decode(self, key: str, rank: int) -> ChunkIndex | None:
        """Return the index a key stands for, or None when it is no chunk key.

        Strict: what `encode` would not write is not a chunk.
        """
        match = _pattern(self.name, self.separator, rank).fullmatch(key)
        return None if match is None else tuple(map(int, match.groups()))

    def chunk_prefix(self) -> str:
        """Return the folder, relative to the array, below which all chunks are."""
        return "c" if self.name == "default" and self.separator == "/" else ""


@cache
def _pattern(name: EncodingName, separator: Separator, rank: int) -> re.Pattern[str]:
    parts = ["c"] if name == "default" else []
    parts += [_DECIMAL] * rank
    if not parts:  # a 0-d array of format 2 has the single chunk "0"
        return re.compile("0")
    return re.compile(re.escape(separator).join(parts))


def join_key(prefix: str, name: str) -> str:
    """Return the key of `name` below a prefix, where `""` is the root.

    Either part may have several components, or be empty.
    """
    if not prefix:
        return name
    return f"{prefix}/{name}" if name else prefix


def split_key(key: str) -> tuple[str, str]:
    """Return the prefix above a key and its last name."""
    prefix, _, name = key.rpartition("/")
    return prefix, name


def normalize_path(path: str) -> str:
    """Return a node's path as a prefix: `/a/b/`, `a//b` and `a/b` are all `a/b`.

    Raises: InvalidNameError for `.`, `..`, NUL and names longer than 255 bytes.
    """
    prefix = "/".join(part for part in path.split("/") if part)
    if prefix:
        check_key(prefix)
    return prefix


def check_key(key: str) -> None:
    """Refuse a key that no file tree could show.

    Raises: InvalidNameError for an empty key, an empty name, `.`, `..` or NUL;
    NameTooLongError for a name over 255 bytes.
    """
    if "\0" in key:
        raise InvalidNameError(key, "a key cannot hold NUL")
    for name in key.split("/"):
        if name in ("", ".", ".."):
            raise InvalidNameError(key, f"a key cannot have {name!r} as one of its names")
        # A character takes at most four bytes: most names need not be encoded.
        if len(name) * 4 > NAME_MAX_BYTES and len(encode_name(name)) > NAME_MAX_BYTES:
            raise NameTooLongError(key, f"{name[:32]!r}... is longer than {NAME_MAX_BYTES} bytes")


def encode_name(name: str) -> bytes:
    """Return the bytes of a name, surrogate escapes included.

    Raises: InvalidNameError for a lone surrogate that escapes no byte.
    """
    try:
        return os.fsencode(name)
    except UnicodeEncodeError as error:
        raise InvalidNameError(name.encode("utf-8", "replace").decode(), str(error)) from error


_CHUNK_NAME: Final = r"(?:c\.)?[0-9]+(?:\.[0-9]+)*|c"
_DOCUMENT_NAME: Final = r"\.zarray|\.zgroup|\.zattrs|\.zmetadata|zarr\.json"
_TEMPORARY: Final = re.compile(
    "|".join(
        (
            # zarr-python 2 and 3: write beside the key, then rename over it.
            r".*\.[0-9a-f]{32}\.partial",
            # tensorstore: the lock of a key, which it writes and then renames.
            r".*\.__lock",
            # ExZarr: locks beside chunks, for readers too.
            rf"(?:{_CHUNK_NAME}|{_DOCUMENT_NAME})\.lock(?:\.read)?",
            # Zarr.jl: Julia's mktemp in the folder, then a forced move.
            r"jl_[0-9A-Za-z]{6,10}",
            # The object_store crate (zarrs, obstore): staged as `key#1`.
            rf"(?:{_CHUNK_NAME}|{_DOCUMENT_NAME})#[0-9]+",
            # rsync: `.name.XXXXXX`, then rename.
            rf"\.(?:{_CHUNK_NAME}|{_DOCUMENT_NAME})\.[0-9A-Za-z]{{6}}",
            # libfuse: an open file that was unlinked.
            r"\.fuse_hidden[0-9a-f]{16}",
        )
    ),
    re.DOTALL,
)


def is_temporary_name(name: str) -> bool:
    """Whether a *file* of this name is some known writer's lock or unfinished write.

    Such files are never data: no chunk, and nothing an archive should keep.
    Folders are never temporary. GDAL's `.gmac` files are data.

    >>> is_temporary_name("0.0123456789abcdef0123456789abcdef.partial")
    True
    """
    return _TEMPORARY.fullmatch(name) is not None
