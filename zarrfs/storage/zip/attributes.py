"""Times, modes and faults of entries, a window of records at once.

What a record says of an entry's attributes is turned into what stat shows,
and into whether its content can be read at all. Pure apart from the time zone
of the process; any thread. Specification: APPNOTE.TXT 4.4.2 to 4.4.6, 4.4.15.
"""

from __future__ import annotations

import stat
import time
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zarrfs.storage.zip.central import NO_TIME, Records
from zarrfs.storage.zip.distinct import distinct
from zarrfs.storage.zip.format import UNIX_HOSTS, Flag, Method
from zarrfs.storage.zip.spans import Ints

DEFAULT_FILE: Final = stat.S_IFREG | 0o644
DEFAULT_FOLDER: Final = stat.S_IFDIR | 0o755
_DOS_READ_ONLY: Final = 0x01
_PERMISSIONS: Final = 0o777
_DEFLATE_RATIO: Final = 1032
"""One bit of deflate can stand for at most 258 bytes; so 8 x 129."""
_LINK_MAX: Final = 4095


class Fault(IntEnum):
    """Why the content of an entry that is shown cannot be read."""

    NONE = 0
    ENCRYPTED = 1
    METHOD = 2
    OUTSIDE = 3
    OVERLAP = 4
    SIZES = 5
    ZIP64 = 6
    VOLUME = 7


FAULT_REASONS: Final = {
    Fault.ENCRYPTED: "it is encrypted",
    Fault.METHOD: "its compression method is not supported",
    Fault.OUTSIDE: "its content lies outside the archive",
    Fault.OVERLAP: "its content overlaps another entry's",
    Fault.SIZES: "its sizes contradict each other",
    Fault.ZIP64: "its ZIP64 field is missing or too short",
    Fault.VOLUME: "its content is in another volume",
}


def modes(records: Records, is_file: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Return `st_mode`: regular files, folders and symbolic links only.

    Writers that keep no Unix mode, or one without type bits (zarr-python),
    mean files. Set-ID bits and device types are nothing an archive should
    bring along.
    """
    fields = records.fields
    unix = np.isin(fields["host"], UNIX_HOSTS)
    given = np.where(unix, fields["external"] >> 16, 0).astype(np.uint16)
    permissions = given & np.uint16(_PERMISSIONS)
    usual = np.where(is_file, DEFAULT_FILE & _PERMISSIONS, DEFAULT_FOLDER & _PERMISSIONS)
    read_only = ~unix & is_file & ((fields["external"] & _DOS_READ_ONLY) != 0)
    usual = np.where(read_only, 0o444, usual)
    permissions = np.where(permissions == 0, usual, permissions)
    is_link = is_file & ((given & 0o170000) == stat.S_IFLNK) & (records.usize <= _LINK_MAX)
    kind = np.where(is_file, stat.S_IFREG, stat.S_IFDIR)
    kind = np.where(is_link, stat.S_IFLNK, kind)
    mode: NDArray[np.uint16] = (kind | permissions).astype(np.uint16)
    return mode


def faults(records: Records) -> NDArray[np.uint8]:
    """Return a `Fault` for each record, apart from those of its position."""
    fields = records.fields
    fault = np.zeros(len(fields), np.uint8)
    method, csize, usize = fields["method"], records.csize, records.usize
    stored = method == Method.STORED
    impossible = stored & (csize != usize)
    impossible |= (method == Method.DEFLATED) & (usize > csize * _DEFLATE_RATIO)
    fault[impossible] = Fault.SIZES
    fault[~np.isin(method, list(Method))] = Fault.METHOD
    hidden_bits = Flag.ENCRYPTED | Flag.STRONG_ENCRYPTION | Flag.MASKED
    fault[(fields["flags"] & int(hidden_bits)) != 0] = Fault.ENCRYPTED
    fault[(fields["disk"] != 0) & (fields["disk"] != 0xFFFF)] = Fault.VOLUME
    fault[records.offset < 0] = Fault.ZIP64
    return fault


def mtimes_ns(records: Records) -> Ints:
    """Return modification times: the extra fields' where present, else DOS times."""
    exact = records.exact_mtime_ns
    known = exact != NO_TIME
    if known.all():
        return exact
    return np.where(known, exact, _dos_times_ns(records.fields))


def _dos_times_ns(fields: NDArray[Any]) -> Ints:
    """DOS times are local, of two seconds; absent and odd ones are made valid."""
    clock = fields["time"].astype(np.int64)
    hour = np.minimum(clock >> 11, 23)
    seconds = np.minimum((clock >> 5) & 63, 59) * 60 + np.minimum((clock & 31) * 2, 59)
    # Neighbours are mostly of one hour: the calendar is asked once for each run.
    days_and_hours = fields["date"].astype(np.int64) << 5 | hour
    changed = np.diff(days_and_hours, prepend=-1) != 0
    runs = np.flatnonzero(changed)
    hours, places = distinct(days_and_hours[runs])
    begins = _hours_utc_s(hours >> 5, hours & 31)[places]
    utc: Ints = np.repeat(begins, np.diff(runs, append=len(fields))) + seconds
    return utc * 1_000_000_000


def dos_time_ns(date: int, clock: int) -> int:
    """Return when a DOS date and time are, in nanoseconds since the epoch."""
    fields = np.array([(clock, date)], [("time", "<u2"), ("date", "<u2")])
    return int(_dos_times_ns(fields)[0])


def _hours_utc_s(date: Ints, hour: Ints) -> Ints:
    """When local hours of DOS dates begin, in seconds since the epoch."""
    year = (date >> 9) + 1980
    month = np.clip((date >> 5) & 15, 1, 12)
    day = np.clip(date & 31, 1, 31)
    local = (_days_from_civil(year, month, day) * 24 + hour) * 3600
    return np.array([_utc_s(second) for second in local.tolist()], np.int64)


def _days_from_civil(year: Ints, month: Ints, day: Ints) -> Ints:
    """Days from 1970-01-01 in the Gregorian calendar, years beginning in March."""
    year = year - (month <= 2)
    from_march = (month + 9) % 12
    day_of_year = (153 * from_march + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + day_of_year - 719468


def _utc_s(local_s: int) -> int:
    local = time.gmtime(local_s)
    return int(time.mktime((*local[:6], 0, 0, -1)))
