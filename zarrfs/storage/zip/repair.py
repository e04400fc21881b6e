"""Finds out what is wrong with an archive as a whole, and puts right what can be.

Nothing that an archive holds is ever overwritten or cut off here. An archive
whose directory is lost gets a new one at its end, made of the entries that are
whole; the changes of a writer that was killed are completed from its journal.
One thread; the archive's lock keeps writers out.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from zarrfs.errors import BusyError, CorruptError, UnavailableError
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.archive_file import ArchiveFile
from zarrfs.storage.zip.end_record import locate_lost
from zarrfs.storage.zip.salvage import Salvaged, salvage
from zarrfs.storage.zip.writable_journal import JournalFile, journal_path, lock
from zarrfs.storage.zip.writable_records import central_record, end_records

_PROGRESS_ENTRIES: Final = 1000

OnEntry = Callable[[int], object]
"""Called now and then with the number of entries found so far."""


class Repaired(NamedTuple):
    """What was done, or would be done; one sentence each. Empty: nothing was wrong."""

    actions: list[str]
    remaining: list[str]
    """What is wrong still, and cannot be put right."""


def repair(path: str, *, dry_run: bool = False, on_entry: OnEntry = lambda n: None) -> Repaired:
    """Repair the archive at a path; with `dry_run` only say what that would be.

    Raises: BusyError (it is open for writing), PathNotFoundError, DeniedError,
    CorruptError (there is nothing to repair it from), NoSpaceError, UnavailableError.
    """
    path = os.path.realpath(path)
    actions: list[str] = []
    if os.path.exists(journal_path(path)):
        actions.append("complete the changes of a writer that was interrupted")
        if not dry_run:
            _finish_writing(path)
    if os.path.exists(path) and not _opens(path):
        actions += _rebuild(path, dry_run=dry_run, on_entry=on_entry)
        if dry_run:
            return Repaired(actions, [])
    return Repaired(actions, remaining_faults(path))


def remaining_faults(path: str) -> list[str]:
    """Return what is wrong with an archive that can be opened; [] where it is not there."""
    with suppress(FileNotFoundError):
        os.stat(path)
        archive = Archive.open(path, save_index=False, quiet=True)
        try:
            return [str(problem) for problem in archive.problems.kept]
        finally:
            archive.close()
    return []


def _finish_writing(path: str) -> None:
    from zarrfs.storage.zip.writable import WritableZip

    WritableZip(path).close()


def _opens(path: str) -> bool:
    try:
        Archive.open(path, save_index=False, quiet=True).close()
    except CorruptError:
        return False
    return True


def _rebuild(path: str, *, dry_run: bool, on_entry: OnEntry) -> list[str]:
    """Append a directory of the whole entries. Raises: CorruptError when there are none."""
    actions: list[str] = []
    file = ArchiveFile(path)
    try:
        end = locate_lost(file.fd, file.size_bytes, path)
        found = _find_entries(file, end.end if end else 0, on_entry)
        records = file.read(end.directory_start, end.directory_size) if end else b""
    finally:
        file.close()
    if end:
        actions.append(f"take the {end.entry_count} entries of an earlier directory")
    last = max([salvaged.stop for salvaged in found], default=end.end if end else 0)
    if found:
        actions.append(f"add the {len(found)} entries without a directory that are whole")
    if not actions:
        raise CorruptError(path, "no whole entry is in it: nothing to repair it from")
    if file.size_bytes > last:
        actions.append(f"leave out the {file.size_bytes - last} bytes behind them")
    # Replaced entries too: the last one wins, and 7-Zip takes the archive for a
    # shorter one when its first entry is not in the directory.
    records += b"".join(central_record(salvaged.entry) for salvaged in found)
    count = len(found) + (end.entry_count if end else 0)
    if not dry_run:
        _append_directory(path, file.size_bytes, records, count)
    return [*actions, "write a directory of them at the end"]


def _find_entries(file: ArchiveFile, start: int, on_entry: OnEntry) -> list[Salvaged]:
    if not file.size_bytes:
        return []
    found = []
    with mmap.mmap(file.fd, file.size_bytes, prot=mmap.PROT_READ) as data:
        for salvaged in salvage(data, start):
            found.append(salvaged)
            if len(found) % _PROGRESS_ENTRIES == 0:
                on_entry(len(found))
    return found


def _append_directory(path: str, position: int, directory: bytes, count: int) -> None:
    end = end_records(
        count=count,
        directory_offset=position,
        directory_size=len(directory),
        comment=b"",
        zip64=False,
    )
    journal_file = JournalFile(path)
    try:
        if os.fstat(journal_file.fd).st_size:
            raise BusyError(path, "another program wrote to it just now")
        _append(path, position, directory + end, journal_file)
        journal_file.remove()
    finally:
        journal_file.close()


def _append(path: str, position: int, data: bytes, journal_file: JournalFile) -> None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            lock(fd, path, journal_file.fd)
            if os.fstat(fd).st_size != position:
                raise BusyError(path, "another program wrote to it just now")
            written = 0
            while written < len(data):
                written += os.pwrite(fd, data[written:], position + written)
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise UnavailableError(path, os.strerror(error.errno or 0)) from error
