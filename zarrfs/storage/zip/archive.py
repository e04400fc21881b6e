"""An archive, open for reading: its file, its index and its content together.

Any thread.
"""

from __future__ import annotations

from zarrfs.storage.zip.archive_file import ArchiveFile
from zarrfs.storage.zip.content import DEFAULT_CACHE_BYTES, Content
from zarrfs.storage.zip.directory import read_directory
from zarrfs.storage.zip.end_record import EndRecord, locate
from zarrfs.storage.zip.hierarchy import build_index
from zarrfs.storage.zip.index import ZipIndex
from zarrfs.storage.zip.problems import Problems


class Archive:
    """What an archive holds and how to read it."""

    def __init__(
        self,
        file: ArchiveFile,
        end: EndRecord,
        index: ZipIndex,
        problems: Problems,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self.file = file
        self.end = end
        self.index = index
        self.problems = problems
        self.content = Content(file, index, cache_bytes)

    @classmethod
    def open(
        cls,
        path: str,
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        save_index: bool = True,
    ) -> Archive:
        """Open the archive at a path.

        `save_index` lets the index of a large archive be kept in the user's
        cache folder, and used from there.

        Raises: PathNotFoundError, WrongKindError, DeniedError, CorruptError,
        UnsupportedError.
        """
        file = ArchiveFile(path)
        try:
            end = locate(file.fd, file.size_bytes, path)
            directory = read_directory(file.fd, end, path)
            index = build_index(directory)
        except BaseException:
            file.close()
            raise
        directory.problems.log(path)
        return cls(file, end, index, directory.problems, cache_bytes)

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def size_bytes(self) -> int:
        return self.file.size_bytes

    @property
    def mtime_ns(self) -> int:
        return self.file.status.st_mtime_ns

    def close(self) -> None:
        self.file.close()
