"""The one table from exception to errno and log level; both frontends use it.

Every class of `zarrfs.errors` has a row of its own, so that adding a class
means deciding its errno (a test compares the two). An `OSError` answers with
its own errno. Whatever else arrives is a defect of ours: EIO, and a traceback
in the log.

`ENOSYS` never leaves here: the kernel takes it as "this opcode does not exist"
and never asks again, so that a single failing fsync would turn all later ones
into silent successes. Frontends answer it themselves for opcodes we lack.

Any thread may call this module. Errnos follow the man pages of section 2.
"""

from __future__ import annotations

import errno
import logging
from typing import NamedTuple

from zarrfs import errors

logger = logging.getLogger(__name__)

SILENT = 0
"""Not worth a line in the log: ordinary answers to ordinary questions."""

NO_ATTRIBUTE: int = getattr(errno, "ENOATTR", errno.ENODATA)


class Answer(NamedTuple):
    """What the client is told, and how loudly the operator is."""

    errno: int
    level: int


TABLE: dict[type[Exception], Answer] = {
    errors.ZarrfsError: Answer(errno.EIO, logging.ERROR),
    errors.NotFoundError: Answer(errno.ENOENT, SILENT),
    errors.PathNotFoundError: Answer(errno.ENOENT, SILENT),
    errors.KeyNotFoundError: Answer(errno.ENOENT, SILENT),
    errors.ChunkNotFoundError: Answer(errno.ENOENT, SILENT),
    errors.MetadataNotFoundError: Answer(errno.ENOENT, SILENT),
    errors.AttributeNotFoundError: Answer(NO_ATTRIBUTE, SILENT),
    errors.ExistsError: Answer(errno.EEXIST, SILENT),
    errors.WrongKindError: Answer(errno.EINVAL, SILENT),
    errors.NotAFolderError: Answer(errno.ENOTDIR, SILENT),
    errors.IsAFolderError: Answer(errno.EISDIR, SILENT),
    errors.NotEmptyError: Answer(errno.ENOTEMPTY, SILENT),
    errors.ReadOnlyError: Answer(errno.EROFS, SILENT),
    errors.InvalidNameError: Answer(errno.EINVAL, logging.INFO),
    errors.NameTooLongError: Answer(errno.ENAMETOOLONG, SILENT),
    errors.InvalidArgumentError: Answer(errno.EINVAL, SILENT),
    errors.PathRequiredError: Answer(errno.EINVAL, logging.WARNING),
    errors.UnknownBackendError: Answer(errno.EINVAL, logging.WARNING),
    errors.CannotOpenMemoryError: Answer(errno.EINVAL, logging.WARNING),
    errors.InvalidMetadataError: Answer(errno.EINVAL, logging.WARNING),
    errors.InvalidChunkIndexError: Answer(errno.EINVAL, logging.WARNING),
    errors.MalformedMessageError: Answer(errno.EINVAL, logging.WARNING),
    errors.MalformedMessageError: Answer(errno.EINVAL, logging.WARNING),
    errors.DeniedError: Answer(errno.EACCES, SILENT),
    errors.BusyError: Answer(errno.EBUSY, logging.INFO),
    errors.StaleError: Answer(errno.ESTALE, SILENT),
    errors.CorruptError: Answer(errno.EIO, logging.ERROR),
    errors.UnavailableError: Answer(errno.EIO, logging.ERROR),
    errors.CreateFailedError: Answer(errno.EIO, logging.ERROR),
    errors.NoSpaceError: Answer(errno.ENOSPC, logging.WARNING),
    errors.UnsupportedError: Answer(errno.EOPNOTSUPP, SILENT),
}

# An OSError of these says that the machine, not the client, is in trouble.
_TROUBLE = frozenset({errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC})


def answer_to(exc: BaseException) -> Answer:
    """Return the row for an exception without logging anything."""
    if isinstance(exc, OSError):
        return _answer_to_os_error(exc)
    for cls in type(exc).__mro__:
        row = TABLE.get(cls)
        if row is not None:
            return row
    return Answer(errno.EIO, logging.CRITICAL)


def errno_of(exc: BaseException, operation: str = "") -> int:
    """Return the errno that answers `exc`, after logging it at its level.

    `operation` names the opcode in the log.
    """
    row = answer_to(exc)
    if row.level == logging.CRITICAL:
        logger.error("%s: unexpected %s", operation or "request", type(exc).__name__, exc_info=exc)
    elif row.level:
        logger.log(row.level, "%s: %s", operation or "request", exc)
    return row.errno


def _answer_to_os_error(exc: OSError) -> Answer:
    code = exc.errno
    if not code:
        return Answer(errno.EIO, logging.CRITICAL)
    if code == errno.ENOSYS:
        return Answer(errno.EOPNOTSUPP, SILENT)
    return Answer(code, logging.WARNING if code in _TROUBLE else SILENT)
