"""An archive, open for reading: its file, its index and its content together.

Any thread.
"""

from __future__ import annotations

import logging
import os

from zarrfs.errors import ZarrfsError
from zarrfs.storage.zip.archive_file import JOURNAL_SUFFIX, ArchiveFile
from zarrfs.storage.zip.content import DEFAULT_CACHE_BYTES, Content
from zarrfs.storage.zip.directory import read_directory
from zarrfs.storage.zip.end_record import EndRecord, locate, locate_before_cut
from zarrfs.storage.zip.format import CENTRAL
from zarrfs.storage.zip.hierarchy import build_index
from zarrfs.storage.zip.index import ZipIndex
from zarrfs.storage.zip.index_cache import WORTH_SAVING, IndexCache, Saved
from zarrfs.storage.zip.problems import Problem, Problems

log = logging.getLogger(__name__)


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
        index_folder: str | None = None,
        size_bytes: int | None = None,
        shown_as: str | None = None,
        quiet: bool = False,
    ) -> Archive:
        """Open the archive at a path.

        `save_index` lets the index of a large archive be kept in the user's
        cache folder (or in `index_folder`), and used from there. With
        `size_bytes` the archive ends there, whatever was appended since. `shown_as`
        is its name in messages, where `path` is that of a descriptor.

        Raises: PathNotFoundError, WrongKindError, DeniedError, CorruptError,
        UnsupportedError.
        """
        file = ArchiveFile(path, size_bytes, shown_as=shown_as)
        try:
            end = _locate(file)
            saved = _read_index(file, end, IndexCache(index_folder) if save_index else None)
        except BaseException:
            file.close()
            raise
        behind = file.size_bytes - end.end
        if behind:
            reason = f"{behind} bytes follow the archive and are no part of it"
            saved.problems.add(Problem(b"", reason))
        if not quiet:
            saved.problems.log(file.path)
        return cls(file, end, saved.index, saved.problems, cache_bytes)

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


def committed_before(path: str) -> int:
    """Return where the last commit ended that the journal beside an archive knows of;
    0 without a journal."""
    try:
        fd = os.open(os.path.realpath(path) + JOURNAL_SUFFIX, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    # Only now: what reads journals takes longer to import than an archive to open.
    from zarrfs.storage.inodes.journal import read_header
    from zarrfs.storage.zip.writable_journal import JournalContext

    try:
        return JournalContext.decode(read_header(fd).context).committed.archive_bytes
    except (ZarrfsError, OSError, ValueError, TypeError, KeyError):
        return 0
    finally:
        os.close(fd)


def _locate(file: ArchiveFile) -> EndRecord:
    """Find the archive's end; that of the last whole commit, if a later one is being
    written just now, or was cut short."""
    whole_bytes = committed_before(file.path)
    if not 0 < whole_bytes < file.size_bytes:
        return locate(file.fd, file.size_bytes, file.path)
    end = locate_before_cut(file.fd, file.size_bytes, whole_bytes, file.path)
    if end.end != file.size_bytes:
        log.warning("%s: an unfinished commit is left out", file.path)
    return end


def _read_index(file: ArchiveFile, end: EndRecord, cache: IndexCache | None) -> Saved:
    worth_saving = end.directory_size >= WORTH_SAVING * CENTRAL.size
    if cache is not None and worth_saving:
        found = cache.load(file, end)
        if found is not None:
            return found
    directory = read_directory(file.fd, end, file.path)
    saved = Saved(build_index(directory), directory.problems)
    if cache is not None and worth_saving:
        cache.save(file, end, saved)
    return saved
