"""The process that shows metrics: started, started again when it dies, ended.

Owns that process; what it shows is `metrics`'s. Used by the supervisor's one
thread; nothing here waits, but for a process that was told to end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from zarrfs.daemon.control import ask
from zarrfs.errors import ZarrfsError

_PAUSE_S: Final = 10.0
"""Between the end of one and the start of the next."""

_log = logging.getLogger("zarrfs.service")


class Endpoint(NamedTuple):
    """Where Prometheus may ask."""

    listen: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        return self.listen or self.path or "nowhere"


class MetricsProcess:
    """Shows metrics at one endpoint, or nowhere."""

    def __init__(self, close_descriptors: Callable[[], None]) -> None:
        """`close_descriptors` is called in the child: a copy of a connection
        would keep its mount from ending.
        """
        self._close_descriptors = close_descriptors
        self._endpoint = Endpoint()
        self._control = ""
        self._pid: int | None = None
        self._start_at_s: float | None = None

    def show(self, endpoint: Endpoint, control: str | None) -> None:
        """Show metrics there from now on, asking a control socket for them."""
        if endpoint != Endpoint() and control is None:
            _log.error("no metrics without a control socket")
            endpoint = Endpoint()
        if (endpoint, control or "") == (self._endpoint, self._control):
            return
        self.end()
        self._endpoint, self._control = endpoint, control or ""
        if endpoint != Endpoint():
            self._start()

    def look(self) -> None:
        """Start it again some time after it died; called after each turn of the loop."""
        if self._pid is not None and os.waitpid(self._pid, os.WNOHANG)[0]:
            self._pid = None
            self._start_at_s = time.monotonic() + _PAUSE_S
            _log.error("no metrics at %s; tried again in a while", self._endpoint)
        if self._start_at_s is not None and time.monotonic() >= self._start_at_s:
            self._start()

    def end(self) -> None:
        self._start_at_s = None
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
            os.waitpid(self._pid, 0)
            self._pid = None

    def _start(self) -> None:
        self._start_at_s = None
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._close_descriptors()
                _run(self._control, self._endpoint)
            finally:
                os._exit(1)


def _run(control: str, endpoint: Endpoint) -> None:
    """In the child: show metrics until the parent ends or says so."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    from zarrfs.daemon.metrics import serve_metrics

    def status() -> list[dict[str, Any]]:
        ask(control, "report")
        time.sleep(0.05)
        mounts: list[dict[str, Any]] = ask(control, "status")["mounts"]
        return mounts

    try:
        serve_metrics(status, listen=endpoint.listen, path=endpoint.path)
    except (ZarrfsError, OSError) as error:
        _log.error("metrics at %s: %s", endpoint, getattr(error, "strerror", None) or error)


def die_with_parent() -> None:
    """Let the kernel end this process with its parent. Source: PR_SET_PDEATHSIG, prctl(2)."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM, 0, 0, 0)
