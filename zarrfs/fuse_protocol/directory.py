"""READDIR and READDIRPLUS replies: names, and names with their entries.

Pure and fast: a folder of 100,000 names is packed name by name, so that each
length of name has one precompiled struct for the whole record. Records are
padded to 8 bytes (FUSE_DIRENT_ALIGN). Any thread may call this module.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from struct import Struct

from zarrfs.fuse_protocol import structs

NAME_OFFSET = structs.DIRENT.size
PLUS_NAME_OFFSET = structs.ENTRY_OUT.size + NAME_OFFSET


@cache
def dirent_packer(name_length: int) -> Callable[..., bytes]:
    """Return the packer of a fuse_dirent: ino, off, namelen, type, name."""
    padding = -name_length % 8
    return Struct(f"{structs.DIRENT.format}{name_length}s{padding}x").pack


@cache
def direntplus_packer(name_length: int) -> Callable[..., bytes]:
    """Return the packer of a fuse_direntplus: fuse_entry_out, then a dirent."""
    padding = -name_length % 8
    dirent = structs.DIRENT.format.removeprefix("=")
    return Struct(f"{structs.ENTRY_OUT.format}{dirent}{name_length}s{padding}x").pack


def dirent_size(name_length: int) -> int:
    """Return the size of a fuse_dirent in bytes."""
    return NAME_OFFSET + name_length + -name_length % 8


def direntplus_size(name_length: int) -> int:
    """Return the size of a fuse_direntplus in bytes."""
    return PLUS_NAME_OFFSET + name_length + -name_length % 8
