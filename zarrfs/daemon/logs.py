"""The log: text or JSON lines, the journal's priorities, repeats held back.

Owns handlers and formats; what is logged, and how loudly, is each module's own
business. Loggers are named `zarrfs.PART`, those of one mount
`zarrfs.mount.NAME`; all that a worker logs is its mount's. Any thread.

Source: sd-daemon(3), "SD_EMERG ..." for the priority prefixes.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TextIO, TypeAlias

_PRIORITIES: Final = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}
_MOUNT_PREFIX: Final = "zarrfs.mount."
_UNLIMITED: Final = frozenset({"zarrfs.service", "zarrfs.supervisor"})
"""They speak once for each mount or problem, and never for each request."""
_CONTROL_CHARACTERS: Final = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}
"""Names come from clients; a terminal must not obey what is in them."""
LogTarget: TypeAlias = Literal["stderr", "journal"]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How to log. `mount_levels` gives single mounts a level of their own."""

    level: str = "info"
    format: Literal["text", "json"] = "text"
    to: LogTarget = "stderr"
    mount_levels: Mapping[str, str] = field(default_factory=dict)


def set_up_logging(settings: LogSettings, *, mount: str | None = None) -> None:
    """Send the `zarrfs` loggers to standard error, in place of what was set up before.

    With `mount` the process is that mount's worker: whatever part of it speaks,
    the mount's own level counts, and lines bear its name.
    """
    root = logging.getLogger("zarrfs")
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(_Handler(settings, mount))
    root.propagate = False
    levels = settings.mount_levels
    root.setLevel((levels.get(mount or "") or settings.level).upper())
    for logger in list(logging.Logger.manager.loggerDict):
        if logger.startswith(_MOUNT_PREFIX):
            logging.getLogger(logger).setLevel(logging.NOTSET)
    for name, level in levels.items():
        logging.getLogger(_MOUNT_PREFIX + name).setLevel(level.upper())


def narrow_logging(mount: str) -> None:
    """In a worker: go on as the process that it was forked from, for one mount."""
    for handler in logging.getLogger("zarrfs").handlers:
        if isinstance(handler, _Handler):
            set_up_logging(handler.settings, mount=mount)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to standard error as the settings say."""

    def __init__(self, settings: LogSettings, mount: str | None) -> None:
        super().__init__(sys.stderr)
        self.settings = settings
        text = _Text(stamped=settings.to == "stderr", mount=mount)
        formatter = _Json(mount) if settings.format == "json" else text
        self.setFormatter(_Prioritised(formatter) if settings.to == "journal" else formatter)
        self.addFilter(RepeatLimit())


def mount_of(record: logging.LogRecord) -> str | None:
    """Return the mount that a record concerns."""
    named = record.name.startswith(_MOUNT_PREFIX)
    return record.name.removeprefix(_MOUNT_PREFIX) if named else None


class _Text(logging.Formatter):
    """`time level name: message`; the journal has the time itself."""

    def __init__(self, *, stamped: bool, mount: str | None) -> None:
        super().__init__("%(asctime)s" if stamped else "%(message)s")
        self._mount = mount

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - overrides
        stamp = f"{record.asctime} " if self.usesTime() else ""
        subject = mount_of(record) or self._mount or record.name.removeprefix("zarrfs.")
        return f"{stamp}{record.levelname.lower()} {subject}: {record.message}"

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).translate(_CONTROL_CHARACTERS)


class _Json(logging.Formatter):
    """One object a line."""

    def __init__(self, mount: str | None) -> None:
        super().__init__()
        self._mount = mount

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "mount": mount_of(record) or self._mount,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps({key: value for key, value in entry.items() if value is not None})


class _Prioritised(logging.Formatter):
    """Each line with the journal's priority in front."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITIES.get(record.levelname, 6)}>"
        return "\n".join(prefix + line for line in self._inner.format(record).split("\n"))


class RepeatLimit(logging.Filter):
    """Lets a message through a few times a period, then says how many were held back.

    Messages are the same when they come from the same place in the program
    and the same logger, whatever their arguments. The last one that passes
    says that others may not.
    """

    def __init__(self, burst: int = 10, period_s: float = 30.0) -> None:
        super().__init__()
        self._burst = burst
        self._period_s = period_s
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str, int], list[float]] = {}
        """Start of the period and messages in it. Guarded by: _lock."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name in _UNLIMITED:
            return True
        place = (record.name, record.pathname, record.lineno)
        with self._lock:
            started_s, count = self._seen.get(place, (record.created, 0))
            if record.created - started_s >= self._period_s:
                started_s, held_back, count = record.created, count - self._burst, 0
                if held_back > 0:
                    _add(record, f"{held_back:.0f} more like this were held back")
            self._seen[place] = [started_s, count + 1]
        if count + 1 == self._burst:
            left_s = started_s + self._period_s - record.created
            _add(record, f"more like this are held back for {left_s:.0f} s")
        return count < self._burst


def _add(record: logging.LogRecord, remark: str) -> None:
    record.msg = f"{record.getMessage()} ({remark})"
    record.args = ()
