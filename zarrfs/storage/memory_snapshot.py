"""A memory store with an archive that it begins with and is saved to.

The archive is loaded when the store is made, and written anew, whole and at
once, by `flush` and `close`; what happened since the last of these is lost when
the machine goes down. Any thread may call.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from contextlib import suppress
from typing import Self

from zarrfs.errors import CreateFailedError, ZarrfsError
from zarrfs.storage.copying import copy_files
from zarrfs.storage.memory import MemoryBackend

_log = logging.getLogger(__name__)


class SnapshotBackend(MemoryBackend):
    """Keeps a store in memory, and a snapshot of it in an archive."""

    def __init__(self, archive: str, *, size_limit_bytes: int | None = None) -> None:
        """Load the archive if it is there.

        Raises: CreateFailedError (it could not be saved later), CorruptError,
        DeniedError, NoSpaceError (it is larger than the limit).
        """
        folder = os.path.dirname(archive) or "."
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CreateFailedError(archive, f"the folder {folder} cannot be written to")
        super().__init__(size_limit_bytes=size_limit_bytes)
        self._begin(archive)
        try:
            if os.path.lexists(archive):
                self._load()
        except BaseException:
            super().close()
            raise
        self._saved_version = self._ledger.version

    @classmethod
    def continued(cls, fd: int, archive: str, *, size_limit_bytes: int | None = None) -> Self:
        """Go on with the store in a memfd, as `from_memfd`; nothing is loaded."""
        backend = cls.from_memfd(fd, size_limit_bytes=size_limit_bytes)
        assert isinstance(backend, cls)
        backend._begin(archive)
        return backend

    def _begin(self, archive: str) -> None:
        self._archive = archive
        self._save_lock = threading.Lock()
        self._saved_version = -1
        """The tree's version that the archive has. Guarded by: `_save_lock`."""

    def _load(self) -> None:
        from zarrfs.storage.zip.backend import ZipBackend

        saved = ZipBackend.open(self._archive, read_only=True)
        try:
            copy_files(saved, saved.file_tree(), self._tree)
        finally:
            saved.close()

    def flush(self) -> None:
        """Save the snapshot. Raises: NoSpaceError, UnavailableError; the old one stays then."""
        with self._save_lock:
            version = self._ledger.version
            if version != self._saved_version or not os.path.lexists(self._archive):
                self._save(self._archive)
                self._saved_version = version

    def _save(self, path: str) -> None:
        from zarrfs.storage.zip.writable import WritableZip

        folder, name = os.path.split(path)
        new = os.path.join(folder, f".{name}.saving.zip")
        with suppress(FileNotFoundError):
            os.unlink(new)
        archive = WritableZip(new, create=True, commit_interval_s=0)
        try:
            copy_files(self, self._tree, archive.file_tree())
        finally:
            archive.close()
        os.replace(new, path)
        _sync_folder(folder or ".")

    def close(self) -> None:
        """Save the snapshot and let go.

        Raises: as `flush`; the snapshot is then in the folder for temporary
        files, if it can be saved there.
        """
        try:
            if not self._closed:
                self.flush()
        except ZarrfsError as error:
            if rescued := self._rescue():
                error.remedy = f"it was saved as {rescued} instead"
            raise
        finally:
            super().close()

    def _rescue(self) -> str | None:
        """Save elsewhere what will be gone with this process; return the path."""
        folder = tempfile.mkdtemp(prefix="zarrfs-snapshot-")
        path = os.path.join(folder, os.path.basename(self._archive))
        try:
            self._save(path)
        except (ZarrfsError, OSError):
            _log.exception("%s: cannot be saved anywhere", self._archive)
            return None
        return path


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
