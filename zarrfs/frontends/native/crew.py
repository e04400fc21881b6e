"""How many threads read the descriptor at a time.

Python runs one thread at a time, so readers that only compute get in each
other's way: four threads answer four clients half as fast as one does. But a
thread that waits (for a disk, a decoder, a remote store) must not keep the
others' clients waiting. So one thread reads, and others join it only while
there is something to wait for:

- a request that took long, or moved much, brings in another thread;
- a *watch* looks every few milliseconds whether all who are reading are stuck
  in the requests they were in before, and brings in another;
- a thread that had nothing but short requests for a while, and is not alone,
  rests again.

The watch sleeps while nothing is asked, so an idle mount uses no time.

Serving threads call everything but `watch`, which has a thread of its own.
"""

from __future__ import annotations

import threading
import time

from zarrfs.frontends.native.counters import Counters, InFlight

LONG_NS = 2_000_000
"""Longer requests wait for something; computing takes a few microseconds, and
getting a turn among other threads or processes may take hundreds."""
LARGE_BYTES = 256 << 10
"""Copying and checking so much runs beside other threads: it counts as waiting."""
SHORT_RUN = 64
"""So many short requests one after the other say that nothing is waited for."""
_TICK_S = 0.01
_TICKS_UNTIL_SLEEP = 100


class Crew:
    """The serving threads of a session: some reading, the others resting."""

    def __init__(self, size: int, counters: Counters) -> None:
        self._size = size
        self._counters = counters
        self._lock = threading.Lock()
        self._resting = size - 1  # Guarded by: _lock
        self._reading = 1  # Guarded by: _lock
        self.is_alone = True
        """Whether only one thread reads. Guarded by: _lock for changing."""
        self._call = threading.Semaphore(0)
        self._ended = False
        self.watch_sleeps = size > 1
        """Who has noted a request in its counters then calls `wake`. Nobody
        watches a thread that has no others to bring in."""
        self._wake_watch = threading.Event()

    def rest(self) -> bool:
        """Wait to be needed; False when there is nothing to be done any more."""
        self._call.acquire()
        return not self._ended

    def bring_in(self) -> None:
        """Have one more thread read, if any rests."""
        with self._lock:
            if self._resting == 0:
                return
            self._resting -= 1
            self._reading += 1
            self.is_alone = False
        self._call.release()

    def leave(self) -> bool:
        """Count the calling thread as resting, unless it is the last one that reads."""
        with self._lock:
            if self._reading == 1:
                return False
            self._reading -= 1
            self.is_alone = self._reading == 1
            self._resting += 1
        return True

    def end(self) -> None:
        """Send everybody home."""
        self._ended = True
        self._wake_watch.set()
        self._call.release(self._size)

    # The watch

    def wake(self) -> None:
        """Have the watch look again every few milliseconds."""
        self.watch_sleeps = False
        self._wake_watch.set()

    def watch(self) -> None:
        """Bring in threads while those who read are stuck; returns at `end`."""
        quiet = _TICKS_UNTIL_SLEEP + 1
        before: list[InFlight] = []
        while not self._ended:
            if quiet > _TICKS_UNTIL_SLEEP:
                self.watch_sleeps = True
                # A thread notes its request before it looks whether we sleep,
                # so one of the two sees the other.
                if not self._counters.in_flight():
                    self._wake_watch.wait()
                self._wake_watch.clear()
                self.watch_sleeps = False
                quiet = 0
            time.sleep(_TICK_S)
            now = self._counters.in_flight()
            quiet = 0 if now else quiet + 1
            if len(now) >= self._reading and all(busy in before for busy in now):
                self.bring_in()
            before = now
