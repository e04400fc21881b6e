"""What the exit status of every `zarrfs` command means, and which error earns which."""

from __future__ import annotations

from enum import IntEnum

from zarrfs.errors import (
    CorruptError,
    ExistsError,
    InvalidArgumentError,
    InvalidMetadataError,
    InvalidNameError,
    MetadataNotFoundError,
    NotEmptyError,
    NotFoundError,
    WrongKindError,
    ZarrfsError,
)


class ExitCode(IntEnum):
    OK = 0
    CONTENT = 1
    USAGE = 2
    SYSTEM = 3
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.CONTENT: "the content is wrong: damaged, or not Zarr",
    ExitCode.USAGE: "the command line is wrong: an option, or a path that is not there",
    ExitCode.SYSTEM: "the mount or the system failed: busy, denied, no space, not supported",
    ExitCode.INTERRUPTED: "interrupted from the keyboard",
}

_CONTENT = (CorruptError, InvalidMetadataError, MetadataNotFoundError)
_USAGE = (
    InvalidArgumentError,
    InvalidNameError,
    NotFoundError,
    WrongKindError,
    ExistsError,
    NotEmptyError,
)


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit status that an error ends a command with."""
    if isinstance(error, _CONTENT):
        return ExitCode.CONTENT
    if isinstance(error, (*_USAGE, FileNotFoundError, NotADirectoryError)):
        return ExitCode.USAGE
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    assert isinstance(error, ZarrfsError | OSError)
    return ExitCode.SYSTEM
