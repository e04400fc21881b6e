"""What an archive as a whole is like: comment, ZIP64, order of entries.

Plain archives keep what they have. An `.ozx` follows OME-Zarr's RFC 9: ZIP64,
the root `zarr.json` first in the directory, the other `zarr.json` next, breadth
first, and a comment that names the version of OME-Zarr. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from zarrfs.errors import KeyNotFoundError
from zarrfs.storage.backend import Buffer, Key
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.writable_append import Style

_DOCUMENT: Final = b"zarr.json"
_DEFAULT_VERSION: Final = "0.5"


def style_of(path: str, archive: Archive | None, get: Callable[[Key], Buffer]) -> Style:
    """`get` returns the value of a key, for the version that the root names."""
    comment = archive.end.comment if archive else b""
    zip64 = archive.end.zip64 if archive else False
    if not path.lower().endswith(".ozx"):
        return Style(comment, zip64, None)
    return Style(comment or _ome_comment(get), True, _rank)


def _rank(path: bytes) -> tuple[int, ...]:
    """Sort documents before all else, those of outer groups first."""
    if path.rpartition(b"/")[2] != _DOCUMENT:
        return (1,)
    return (0, path.count(b"/"))


def _ome_comment(get: Callable[[Key], Buffer]) -> bytes:
    version = _DEFAULT_VERSION
    try:
        found = json.loads(bytes(get(Key("zarr.json"))))["attributes"]["ome"]["version"]
        if isinstance(found, str):
            version = found
    except (KeyNotFoundError, ValueError, KeyError, TypeError):
        pass
    return json.dumps({"ome": {"version": version}}).encode()
