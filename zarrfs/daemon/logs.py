"""The log: text or JSON lines, the journal's priorities, repeats held back.

Owns handlers and formats; what is logged, and how loudly, is each module's own
business. Loggers are named `zarrfs.PART`, those of one mount
`zarrfs.mount.NAME`. Any thread.

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
from typing import Final, Literal, TypeAlias

_PRIORITIES: Final = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}
_MOUNT_PREFIX: Final = "zarrfs.mount."
LogTarget: TypeAlias = Literal["stderr", "journal"]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How to log. `mount_levels` gives single mounts a level of their own."""

    level: str = "info"
    format: Literal["text", "json"] = "text"
    to: LogTarget = "stderr"
    mount_levels: Mapping[str, str] = field(default_factory=dict)


def set_up_logging(settings: LogSettings) -> None:
    """Send the `zarrfs` loggers to standard error, in place of what was set up before."""
    root = logging.getLogger("zarrfs")
    for handler in list(root.handlers):
        root.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    formatter = _Json() if settings.format == "json" else _Text(stamped=settings.to == "stderr")
    handler.setFormatter(_Prioritised(formatter) if settings.to == "journal" else formatter)
    handler.addFilter(RepeatLimit())
    root.addHandler(handler)
    root.propagate = False
    root.setLevel(settings.level.upper())
    for name, level in settings.mount_levels.items():
        logging.getLogger(_MOUNT_PREFIX + name).setLevel(level.upper())


def mount_of(record: logging.LogRecord) -> str | None:
    """Return the mount that a record concerns."""
    named = record.name.startswith(_MOUNT_PREFIX)
    return record.name.removeprefix(_MOUNT_PREFIX) if named else None


class _Text(logging.Formatter):
    """`time level name: message`; the journal has the time itself."""

    def __init__(self, *, stamped: bool) -> None:
        super().__init__("%(asctime)s %(message)s" if stamped else "%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        subject = mount_of(record) or record.name.removeprefix("zarrfs.")
        message = record.getMessage()
        return text.replace(message, f"{record.levelname.lower()} {subject}: {message}", 1)


class _Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "mount": mount_of(record),
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
    and the same logger, whatever their arguments.
    """

    def __init__(self, burst: int = 10, period_s: float = 30.0) -> None:
        super().__init__()
        self._burst = burst
        self._period_s = period_s
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str, int], list[float]] = {}
        """Start of the period and messages in it. Guarded by: _lock."""

    def filter(self, record: logging.LogRecord) -> bool:
        place = (record.name, record.pathname, record.lineno)
        with self._lock:
            started_s, count = self._seen.get(place, (record.created, 0))
            if record.created - started_s >= self._period_s:
                started_s, held_back, count = record.created, count - self._burst, 0
                if held_back > 0:
                    record.msg = f"{record.msg} ({held_back:.0f} more like this were held back)"
            self._seen[place] = [started_s, count + 1]
        return count < self._burst
