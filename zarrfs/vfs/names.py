"""Which names a folder may hold.

POSIX allows any byte but NUL and `/`; Linux file systems stop at 255 bytes
(path_resolution(7), NAME_MAX). Pure functions; any thread may call them.
"""

from __future__ import annotations

import os

from zarrfs.errors import InvalidNameError, NameTooLongError

NAME_MAX = 255


def check_name(name: bytes) -> None:
    """Refuse what can never be the name of an entry.

    Raises: NameTooLongError, InvalidNameError.
    """
    if len(name) > NAME_MAX:
        raise NameTooLongError(os.fsdecode(name[:40]) + "...")
    if b"/" in name or b"\0" in name or name in (b"", b".", b".."):
        raise InvalidNameError(os.fsdecode(name), "not a name")
