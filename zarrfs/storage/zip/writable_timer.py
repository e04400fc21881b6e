"""Commits every so often, and when there is much to commit, on a thread of its own.

A failure is logged and tried again next time: the journal keeps what is not
committed, and whoever calls `flush` or `close` is told.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from zarrfs.errors import ZarrfsError

_log = logging.getLogger(__name__)


class CommitTimer:
    def __init__(self, commit: Callable[[], None], interval_s: float, subject: str) -> None:
        """An interval of 0 means never."""
        self._commit = commit
        self._interval_s = interval_s
        self._subject = subject
        self._stopped = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="zip-commit", daemon=True)
        if interval_s > 0:
            self._thread.start()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            if self._stopped:
                return
            try:
                self._commit()
            except ZarrfsError as error:
                _log.error("%s: commit failed, will be tried again: %s", self._subject, error)

    def nudge(self) -> None:
        """Commit soon."""
        self._wake.set()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
