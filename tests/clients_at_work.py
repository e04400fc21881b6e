"""Clients of a mount that work in threads while something is done to it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.service import wait_for


def write_chunk(folder: Path, number: int) -> None:
    """Write and read one of three chunks, in pieces and under another name first."""
    part, final = folder / "chunk.partial", folder / f"chunk{number % 3}"
    content = str(number).encode() * 5000
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    for start in range(0, len(content), 4096):
        os.pwrite(descriptor, content[start : start + 4096], start)
    os.fsync(descriptor)
    os.close(descriptor)
    os.rename(part, final)
    assert final.read_bytes() == content


class Client:
    """Works in a thread until it is told to stop; its first error is kept."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._stopping = threading.Event()
        self.rounds = 0
        self.error: BaseException | None = None
        self.longest_s = 0.0
        """The longest round: what a client notices of a pause."""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                began_s = time.monotonic()
                self._work()
                self.longest_s = max(self.longest_s, time.monotonic() - began_s)
                self.rounds += 1
        except BaseException as error:
            self.error = error

    def wait_for_more(self) -> None:
        """Wait until a round that begins now has ended, or the work with an error."""
        rounds = self.rounds
        wait_for("more work", lambda: self.rounds > rounds + 1 or self.error)

    def end(self) -> BaseException | None:
        """Stop; return the error that ended its work, if one did."""
        self._stopping.set()
        self._thread.join()
        return self.error

    def stop(self) -> None:
        """Raises: the error that ended its work, if one did."""
        if error := self.end():
            raise error
        assert self.rounds > 0
