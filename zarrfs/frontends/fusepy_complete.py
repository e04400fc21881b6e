"""What mfusepy's `FUSE` class leaves out of libfuse 3's calls, added.

As of 3.1 it drops the flags of rename, so that RENAME_NOREPLACE would replace;
it drops the open file of chmod, chown, truncate and utimens; and it has no
lseek. Pure translation of ctypes arguments; libfuse's threads call it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any


def complete(binding: ModuleType) -> type[Any]:
    """Return the binding's `FUSE` class with the missing calls."""

    class Complete(binding.FUSE):  # type: ignore[name-defined,misc]  # known at run time only
        def _text(self, path: bytes | None) -> str | None:
            return None if path is None else path.decode(self.encoding)

        def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> Any:
            return self.operations.rename(self._text(old), self._text(new), flags)

        def chmod_fuse_3(self, path: bytes | None, mode: int, fip: Any) -> Any:
            return self.operations.chmod(self._text(path), mode, _file_info(fip))

        def chown_fuse_3(self, path: bytes | None, uid: int, gid: int, fip: Any) -> Any:
            owner = (_id_or_minus_one(uid), _id_or_minus_one(gid))
            return self.operations.chown(self._text(path), *owner, _file_info(fip))

        def truncate_fuse_3(self, path: bytes | None, length: int, fip: Any) -> Any:
            return self.operations.truncate(self._text(path), length, _file_info(fip))

        def utimens_fuse_3(self, path: bytes | None, times: Any, fip: Any) -> Any:
            chosen = None
            if times:
                both = (times.contents.actime, times.contents.modtime)
                chosen = tuple(part.tv_sec * 10**9 + part.tv_nsec for part in both)
            return self.operations.utimens(self._text(path), chosen, _file_info(fip))

        def lseek(self, path: bytes | None, offset: int, whence: int, fip: Any) -> Any:
            return self.operations.lseek(self._text(path), offset, whence, _file_info(fip))

    return Complete


def _file_info(fip: Any) -> Any:
    return fip.contents if fip else None


def _id_or_minus_one(number: int) -> int:
    """chown(2) leaves an owner alone when its number is -1, seen unsigned here."""
    return -1 if number in (-1, 0xFFFFFFFF) else number
