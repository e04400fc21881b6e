"""Where the log of a mount in the background goes: syslog, a file, or stderr.

Called once, in the serving process, before it serves.
"""

from __future__ import annotations

import logging
import os
import syslog

from zarrfs.daemon.logs import LogSettings, RepeatLimit, set_up_logging
from zarrfs.errors import DeniedError

SYSLOG = "syslog"
STDERR = "stderr"
_PRIORITIES = {
    logging.DEBUG: syslog.LOG_DEBUG,
    logging.INFO: syslog.LOG_INFO,
    logging.WARNING: syslog.LOG_WARNING,
    logging.ERROR: syslog.LOG_ERR,
    logging.CRITICAL: syslog.LOG_CRIT,
}


def log_to(destination: str, level: str = "info") -> None:
    """Send the log to `syslog`, to `stderr`, or to the end of a file.

    With a file, everything that is written to stderr goes there.

    Raises: DeniedError when the file cannot be opened.
    """
    if destination == SYSLOG:
        _to_syslog(level)
        return
    if destination != STDERR:
        _redirect_stderr(destination)
    set_up_logging(LogSettings(level=level))


def _redirect_stderr(path: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o640)
    except OSError as error:
        reason = f"cannot be opened for the log: {error.strerror}"
        raise DeniedError(path, reason) from error
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _to_syslog(level: str) -> None:
    logger = logging.getLogger("zarrfs")
    logger.handlers = [_Syslog()]
    logger.propagate = False
    logger.setLevel(level.upper())


class _Syslog(logging.Handler):
    """Source: syslog(3)."""

    def __init__(self) -> None:
        super().__init__()
        syslog.openlog("zarrfs", syslog.LOG_PID, syslog.LOG_DAEMON)
        self.addFilter(RepeatLimit())

    def emit(self, record: logging.LogRecord) -> None:
        syslog.syslog(_PRIORITIES.get(record.levelno, syslog.LOG_INFO), self.format(record))
