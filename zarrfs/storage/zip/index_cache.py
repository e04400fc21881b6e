"""Keeps the indexes of large archives, so that opening one again is quick.

A saved index lies in a cache folder, never beside its archive: that of the
systemd service, or the user's (`$XDG_CACHE_HOME`, or `~/.cache`). It is used only
if the archive's path, size, mtime and the checksum of its directory are those
it was made of, and its own checksum is right; otherwise it is made again. It
is mapped, not read: processes that open one archive share its memory.

Nothing here ever fails towards the caller: a folder that cannot be written
means that nothing is saved. The folder must belong to this user alone, because
what is in it is believed. Any thread, any number of processes: files only
appear by rename and go by unlink.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import pwd
import stat
import time
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zarrfs.storage.zip.archive_file import ArchiveFile
from zarrfs.storage.zip.checksums import crc32
from zarrfs.storage.zip.end_record import EndRecord
from zarrfs.storage.zip.index import COLUMNS, ZipIndex
from zarrfs.storage.zip.problems import Problem, Problems

WORTH_SAVING: Final = 20_000
"""Entries below which an archive is read as quickly as a saved index."""
LIMIT_BYTES: Final = 1 << 30
"""Of all saved indexes; those not used for longest go first."""

_MAGIC: Final = b"zarrfs index 1\n"
_HEADER: Final = Struct("<2Q")
"""Size and CRC-32 of the JSON that follows."""
_SUFFIX: Final = ".index"
_WINDOW_BYTES: Final = 4 << 20
_STALE_TEMPORARY_S: Final = 3600

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved index, and the problems found when it was made."""

    index: ZipIndex
    problems: Problems


def default_folder() -> str:
    """Return where this user's indexes are kept.

    Source: systemd.exec(5), CacheDirectory=; the XDG base directory specification.
    """
    of_service = os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    if os.path.isabs(of_service):
        return os.path.join(of_service, "zip")
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        # Not $HOME: sudo leaves there whose it was, and root's files would end up in it.
        base = os.path.join(_home(), ".cache")
    return os.path.join(base, "zarrfs", "zip")


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return os.path.expanduser("~")


class IndexCache:
    """The indexes saved in one folder."""

    def __init__(self, folder: str | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = default_folder() if folder is None else folder
        self.limit_bytes = limit_bytes

    def load(self, file: ArchiveFile, end: EndRecord) -> Saved | None:
        """Return the index of an archive, if a right one is saved."""
        path = self._path(file)
        try:
            # Before the directory is read for its checksum.
            if not self._is_ours() or not os.path.exists(path):
                return None
            saved = _read(path, _identity(file, end))
            if saved is not None:
                os.utime(path)
            return saved
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            log.info("saved index %s is not used: %s", path, error)
            return None

    def save(self, file: ArchiveFile, end: EndRecord, saved: Saved) -> None:
        """Keep an index; a failure to do so is only logged."""
        if saved.index.nbytes() > self.limit_bytes // 2:
            return
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            if self._is_ours():
                _write(self._path(file), _identity(file, end), saved)
                self._evict()
        except OSError as error:
            log.info("the index of %s is not saved: %s", file.path, error)

    def _path(self, file: ArchiveFile) -> str:
        place = os.fsencode(os.path.realpath(file.path))
        return os.path.join(self.folder, blake2b(place, digest_size=16).hexdigest() + _SUFFIX)

    def _is_ours(self) -> bool:
        status = os.lstat(self.folder)
        ours = status.st_uid == os.geteuid() and not status.st_mode & 0o022
        return stat.S_ISDIR(status.st_mode) and ours

    def _evict(self) -> None:
        found = []
        with os.scandir(self.folder) as listing:
            for item in listing:
                status = item.stat(follow_symlinks=False)
                if item.name.endswith(_SUFFIX):
                    found.append((status.st_mtime_ns, status.st_size, item.path))
                elif time.time() - status.st_mtime > _STALE_TEMPORARY_S:
                    os.unlink(item.path)
        excess = sum(size for _, size, _ in found) - self.limit_bytes
        for _, size, path in sorted(found):
            if excess <= 0:
                break
            os.unlink(path)
            excess -= size


def _identity(file: ArchiveFile, end: EndRecord) -> dict[str, Any]:
    """What an archive must have in common with the one an index was made of."""
    checksum = 0
    position, stop = end.directory_start, end.directory_start + end.directory_size
    while position < stop:
        size = min(_WINDOW_BYTES, stop - position)
        checksum = crc32(file.read(position, size), checksum)
        position += size
    return {
        "size": file.size_bytes,
        "mtime_ns": file.status.st_mtime_ns,
        "directory": [end.directory_start, end.directory_size, end.base, checksum],
        # DOS times are local times.
        "zone": [time.timezone, time.altzone, *time.tzname],
    }


def _write(path: str, identity: dict[str, Any], saved: Saved) -> None:
    index = saved.index
    parts = {"text": index.text} | index.columns
    layout: dict[str, list[int]] = {}
    position = checksum = 0
    for name, part in parts.items():
        layout[name] = [position, len(part)]
        checksum = crc32(memoryview(part).cast("B"), checksum)
        padding = -part.nbytes % 8
        checksum = crc32(bytes(padding), checksum)
        position += part.nbytes + padding
    header = json.dumps(
        {
            "archive": identity,
            "prime": index.prime,
            "superseded": index.superseded,
            "layout": layout,
            "payload": [position, checksum],
            "problem_count": saved.problems.count,
            "problems": [
                [os.fsdecode(problem.name), problem.reason, problem.hidden]
                for problem in saved.problems.kept
            ],
        }
    ).encode("ascii")
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "xb") as out:
            out.write(_MAGIC + _HEADER.pack(len(header), crc32(header, 0)) + header)
            out.write(b" " * (-out.tell() % 8))
            for part in parts.values():
                out.write(memoryview(part))
                out.write(bytes(-part.nbytes % 8))
        os.replace(temporary, path)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise


def _read(path: str, identity: dict[str, Any]) -> Saved | None:
    """Raises: what goes wrong with a file of any content."""
    with open(path, "rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    header_start = len(_MAGIC) + _HEADER.size
    if len(data) < header_start or bytes(data[: len(_MAGIC)]) != _MAGIC:
        raise ValueError("it is of another version")
    header_size, header_checksum = _HEADER.unpack_from(data, len(_MAGIC))
    header_stop = header_start + header_size
    header_bytes = bytes(data[header_start:header_stop])
    if crc32(header_bytes, 0) != header_checksum:
        raise ValueError("it is damaged")
    header = json.loads(header_bytes)
    if header["archive"] != identity:
        return None
    payload = data[header_stop + -header_stop % 8 :]
    size, checksum = header["payload"]
    if len(payload) != size or crc32(payload, 0) != checksum:
        raise ValueError("it is damaged")
    dtypes = {"text": "u1"} | COLUMNS
    parts: dict[str, NDArray[Any]] = {
        name: np.frombuffer(payload, dtype, header["layout"][name][1], header["layout"][name][0])
        for name, dtype in dtypes.items()
    }
    text = parts.pop("text")
    problems = Problems()
    problems.count = header["problem_count"]
    problems.kept = [
        Problem(os.fsencode(name), reason, hidden) for name, reason, hidden in header["problems"]
    ]
    return Saved(ZipIndex(text, header["prime"], parts, header["superseded"]), problems)
