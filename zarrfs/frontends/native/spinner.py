"""Looking for a request for a moment before sleeping until one comes.

A lone client sends its next request some twenty microseconds after an answer.
To be asleep then costs a wake-up, which takes longer than the answer. So the
thread that reads alone looks again and again for 50 microseconds, and only
then sleeps. An idle mount is asleep; a client that is slower than that is
recognised after a few vain looks, and then not looked out for.

A spinner belongs to one thread.
"""

from __future__ import annotations

import os
import select
import time

SPIN_NS = 50_000
_VAIN_LOOKS = 8
_PAUSE = 64
"""Requests without a look, after so many vain ones."""
_PAUSE_WHEN_BUSY = 8
"""Requests without a look, when one was there at once: the next will be, too."""


class Spinner:
    """Waits a moment for requests on a descriptor."""

    def __init__(self, fd: int) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        self._poll = poll.poll
        # On one processor the client cannot run while we spin.
        self._pause = 0 if len(os.sched_getaffinity(0)) > 1 else -1
        self._vain = 0

    def look(self) -> None:
        """Return when a request is there, or after a moment, or at once."""
        if self._pause:
            if self._pause > 0:
                self._pause -= 1
            return
        poll = self._poll
        if poll(0):
            self._pause = _PAUSE_WHEN_BUSY
            return
        deadline_ns = time.perf_counter_ns() + SPIN_NS
        while not poll(0):
            if time.perf_counter_ns() > deadline_ns:
                self._vain += 1
                if self._vain == _VAIN_LOOKS:
                    self._vain, self._pause = 0, _PAUSE
                return
        self._vain = 0
