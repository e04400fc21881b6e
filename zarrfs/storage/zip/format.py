"""The records of a zip archive: signatures, layouts and field values.

Owns what both the reader and the writer need to know of the bytes; reads and
writes no file. Pure, any thread. Specification: PKWARE APPNOTE.TXT 6.3.10,
whose section is named at each record; all integers are little-endian.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final

LOCAL_SIGNATURE: Final = b"PK\x03\x04"
CENTRAL_SIGNATURE: Final = b"PK\x01\x02"
END_SIGNATURE: Final = b"PK\x05\x06"
ZIP64_END_SIGNATURE: Final = b"PK\x06\x06"
ZIP64_LOCATOR_SIGNATURE: Final = b"PK\x06\x07"
DESCRIPTOR_SIGNATURE: Final = b"PK\x07\x08"

LOCAL = Struct("<4s5H3L2H")
"""4.3.7, 30 bytes: signature, version needed, flags, method, DOS time, DOS date,
crc, compressed size, size, name length, extra length."""

CENTRAL = Struct("<4s2B5H3L5H2L")
"""4.3.12, 46 bytes: signature, version made by, host, version needed, flags,
method, DOS time, DOS date, crc, compressed size, size, name length, extra
length, comment length, disk, internal and external attributes, header offset."""

END = Struct("<4s4H2LH")
"""4.3.16, 22 bytes: signature, disk, directory's disk, entries here, entries,
directory size, directory offset, comment length."""

ZIP64_END = Struct("<4sQ2H2L4Q")
"""4.3.14, 56 bytes: signature, remaining size, version made by, version needed,
disk, directory's disk, entries here, entries, directory size, directory offset."""

ZIP64_LOCATOR = Struct("<4sLQL")
"""4.3.15, 20 bytes: signature, disk, offset of the ZIP64 end record, disks."""

MAX_16: Final = 0xFFFF
MAX_32: Final = 0xFFFFFFFF
"""In a field of its width: see the ZIP64 record (4.4.1.4)."""


class Method(IntEnum):
    """Compression methods (4.4.5) that zarrfs can read."""

    STORED = 0
    DEFLATED = 8
    BZIP2 = 12
    LZMA = 14
    ZSTD_OLD = 20
    ZSTD = 93


class Flag(IntFlag):
    """General purpose bits (4.4.4) that change how an entry is read."""

    ENCRYPTED = 1 << 0
    DESCRIPTOR = 1 << 3
    STRONG_ENCRYPTION = 1 << 6
    UTF8 = 1 << 11
    MASKED = 1 << 13


class Host(IntEnum):
    """Upper byte of "version made by" (4.4.2): whose attributes an entry has."""

    FAT = 0
    UNIX = 3
    NTFS = 10
    MVS = 11
    VFAT = 14
    OS_X = 19


UNIX_HOSTS: Final = (Host.UNIX, Host.OS_X)
DOS_HOSTS: Final = (Host.FAT, Host.NTFS, Host.VFAT)


class Extra(IntEnum):
    """Header IDs of extra fields (4.5.2, 4.6.1) that zarrfs understands."""

    ZIP64 = 0x0001
    NTFS = 0x000A
    TIMESTAMP = 0x5455
    UNICODE_PATH = 0x7075
    ALIGNMENT = 0xD935
    """Padding that aligns the content, as Android's zipalign writes it."""
