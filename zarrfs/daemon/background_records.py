"""Which process serves which mount, written down for `zarrfs unmount`.

Owns one small file for each mount, named by the mount's device number and the
process, in a folder that only this user can write. The number alone names nobody:
the kernel gives it to the next mount while who served the last one still writes.

Source: pidfd_open(2), proc_pid_stat(5).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
from dataclasses import asdict, dataclass

from zarrfs.daemon.mounting_table import Mounted
from zarrfs.daemon.runtime_folders import find_files, runtime_folder


@dataclass(frozen=True, slots=True)
class MountRecord:
    """A serving process. `started` tells it from a later one with the same pid."""

    pid: int
    started: str
    source: str
    target: str
    error: dict[str, str] | None = None
    """Why not everything that was written is in the source; left by who served."""

    @classmethod
    def of(cls, pid: int, source: str, target: str) -> MountRecord:
        """Return the record of a process that runs now."""
        return cls(pid, _started(pid), source, target)


def record_failure(path: str, error: dict[str, str]) -> None:
    """Let `take_failure` find out that a mount did not end well."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        values = json.load(file)
    _write(path, {**values, "error": error})


def take_failure(mounted: Mounted, record: MountRecord) -> dict[str, str] | None:
    """Return what a process that has ended left by `record_failure`, once."""
    for path in find_files(_name(mounted, record.pid)):
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                error = json.load(file).get("error")
            os.unlink(path)
        except (OSError, ValueError):
            continue
        if isinstance(error, dict):
            return error
    return None


def write_record(mounted: Mounted, source: str) -> str:
    """Record that this process serves a mount; return the record's path."""
    record = MountRecord.of(os.getpid(), source, mounted.target)
    path = os.path.join(runtime_folder(), _name(mounted, record.pid))
    _remove_left(mounted)
    _write(path, asdict(record))
    return path


def _remove_left(mounted: Mounted) -> None:
    """Remove records of this device number whose processes were killed."""
    for path in find_files(_name(mounted, "*")):
        left = _read(path)
        if left is not None and left.error is None and _started(left.pid) != left.started:
            with contextlib.suppress(OSError):
                os.unlink(path)


def read_record(mounted: Mounted) -> MountRecord | None:
    """Return who serves a mount, if that process lives and was recorded by this user."""
    for path in find_files(_name(mounted, "*")):
        record = _read(path)
        if record is None or record.target != mounted.target:
            continue
        if record.started and _started(record.pid) == record.started:
            return record
    return None


def _read(path: str) -> MountRecord | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return MountRecord(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None


def wait_until_gone(record: MountRecord, timeout_s: float | None = None) -> bool:
    """Wait until a recorded process has ended; False when time ran out first."""
    try:
        descriptor = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return True
    try:
        if _started(record.pid) != record.started:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
    finally:
        os.close(descriptor)


def _write(path: str, values: dict[str, object]) -> None:
    """Write a record whole: who reads it sees the old one or the new."""
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(values, file)
    os.replace(temporary, path)


def _name(mounted: Mounted, pid: int | str) -> str:
    return f"mount-{mounted.device}-{pid}.json"


def _started(pid: int) -> str:
    """Return a process's start time in clock ticks since boot; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
