"""Zip archives as a store of keys.

This is the read-only half; the other is `writable`, imported when it is asked
for. A key is an entry's path, a prefix a folder of the archive. Any thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, NoReturn, overload

from zarrfs.errors import KeyNotFoundError, ReadOnlyError, UnsupportedError, ZarrfsError
from zarrfs.storage.backend import Buffer, CacheStats, Key, KeyStat, Listed
from zarrfs.storage.tree import Owner
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.archive_file import ArchiveFile
from zarrfs.storage.zip.content import DEFAULT_CACHE_BYTES
from zarrfs.storage.zip.end_record import locate
from zarrfs.storage.zip.index import NOT_A_FOLDER
from zarrfs.storage.zip.listing import names_in
from zarrfs.storage.zip.problems import Problem
from zarrfs.storage.zip.tree import ArchiveTree

if TYPE_CHECKING:
    from zarrfs.storage.zip.writable import WritableZip


_REMEMBERED_FOLDERS: Final = 4096


class ZipBackend:
    """A zip archive, read in place; `init` and `open` also make the one that writes."""

    kind = "zip"

    def __init__(
        self,
        archive: Archive,
        *,
        subpath: str = "",
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        self._archive = archive
        self._tree = ArchiveTree(archive, uid=uid, gid=gid, subpath=subpath)
        self._prefix = os.fsencode(subpath.strip("/"))
        self._folders: dict[str, int] = {}
        """Numbers of prefixes' folders, as `_folder` finds them. Single operations need no lock."""
        self.location = archive.path + (f":{subpath.strip('/')}" if self._prefix else "")

    @classmethod
    def init(cls, path: str | None) -> WritableZip:
        """Make a new archive for reading and writing.

        Raises: PathRequiredError, ExistsError, CreateFailedError.
        """
        from zarrfs.storage.zip.writable import WritableZip

        return WritableZip.init(path)

    @overload
    @classmethod
    def open(
        cls,
        path: str,
        *,
        read_only: Literal[True],
        subpath: str = "",
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        uid: int | None = None,
        gid: int | None = None,
    ) -> ZipBackend: ...
    @overload
    @classmethod
    def open(
        cls,
        path: str,
        *,
        read_only: bool,
        subpath: str = "",
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        uid: int | None = None,
        gid: int | None = None,
    ) -> ZipBackend | WritableZip: ...
    @classmethod
    def open(
        cls,
        path: str,
        *,
        read_only: bool,
        subpath: str = "",
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        uid: int | None = None,
        gid: int | None = None,
    ) -> ZipBackend | WritableZip:
        """Open the archive at a path.

        `subpath` makes one of its folders the root, for reading. `uid` and `gid`
        are whose everything is; by default this process's.

        Raises: PathNotFoundError, NotAFolderError (of `subpath`), WrongKindError,
        DeniedError, CorruptError, UnsupportedError, ReadOnlyError, BusyError
        (another process writes to it).
        """
        if not read_only:
            if subpath:
                raise UnsupportedError(
                    path, "one folder of an archive cannot be opened for writing"
                )
            return _open_writable(path, cache_bytes, uid, gid)
        archive = Archive.open(path, cache_bytes=cache_bytes)
        try:
            return cls(archive, subpath=subpath, uid=uid, gid=gid)
        except BaseException:
            archive.close()
            raise

    @classmethod
    def recognises(cls, path: str) -> bool:
        """Whether a path is a regular file that ends as an archive does."""
        with suppress(ZarrfsError):
            file = ArchiveFile(path)
            try:
                if path.lower().endswith((".zip", ".ozx")) and file.size_bytes:
                    return True
                locate(file.fd, file.size_bytes, path)
                return True
            finally:
                file.close()
        return False

    @property
    def read_only(self) -> bool:
        return True

    @property
    def static(self) -> bool:
        return True

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with entries that are hidden or cannot be read."""
        return self._archive.problems.kept

    @property
    def archive(self) -> Archive:
        return self._archive

    def cache_stats(self) -> CacheStats:
        return self._archive.content.cache_stats()

    def file_tree(self) -> ArchiveTree:
        return self._tree

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        row = self._row(key)
        end = self._archive.index.views["usize"][row]
        stop = end if stop is None else min(stop, end)
        return self._archive.content.read(row, start, max(stop - start, 0))

    def stat(self, key: Key) -> KeyStat:
        row = self._row(key)
        views = self._archive.index.views
        return KeyStat(views["usize"][row], views["mtime_ns"][row])

    def list_dir(self, prefix: Key) -> Iterator[Listed]:
        index = self._archive.index
        folder = self._folder(prefix)
        if folder == NOT_A_FOLDER:
            return
        folders = index.views["folder"]
        for row, name in names_in(index, index.children(folder - 1)):
            yield Listed(os.fsdecode(name), folders[row] != NOT_A_FOLDER)

    def list_keys(self, prefix: Key) -> Iterator[Key]:
        index = self._archive.index
        folders = index.views["folder"]
        waiting = [self._folder(prefix)]
        skip = len(self._prefix) + 1 if self._prefix else 0
        while waiting:
            folder = waiting.pop()
            if folder == NOT_A_FOLDER:
                continue
            for row in index.children(folder - 1):
                if folders[row] != NOT_A_FOLDER:
                    waiting.append(folders[row])
                else:
                    yield Key(os.fsdecode(index.path(row)[skip:]))

    def set(self, key: Key, data: Buffer) -> None:
        self._refuse()

    def delete(self, key: Key) -> None:
        self._refuse()

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._archive.close()

    def _refuse(self) -> NoReturn:
        raise ReadOnlyError(self.location)

    def _path(self, key: str) -> bytes:
        path = os.fsencode(key)
        return b"/".join(part for part in (self._prefix, path) if part)

    def _row(self, key: Key) -> int:
        index = self._archive.index
        prefix, _, name = key.rpartition("/")
        folder = self._folders.get(prefix)
        if folder is None:
            folder = self._folder(Key(prefix))
            if len(self._folders) < _REMEMBERED_FOLDERS:
                self._folders[prefix] = folder
        row = -1 if folder == NOT_A_FOLDER else index.find(folder - 1, os.fsencode(name))
        if row < 0 or index.views["folder"][row] != NOT_A_FOLDER:
            raise KeyNotFoundError(key)
        return row

    def _folder(self, prefix: Key) -> int:
        """Return the number of a prefix's folder plus one, or NOT_A_FOLDER."""
        row = self._archive.index.resolve(self._path(prefix))
        return NOT_A_FOLDER if row < 0 else int(self._archive.index.views["folder"][row])


def _open_writable(path: str, cache_bytes: int, uid: int | None, gid: int | None) -> WritableZip:
    from zarrfs.storage.zip.writable import WritableZip

    owner = Owner(
        os.geteuid() if uid is None else uid,
        os.getegid() if gid is None else gid,
    )
    return WritableZip(path, cache_bytes=cache_bytes, owner=owner)
