"""A minute of four readers and two writers while workers are killed every half second.

`make soak` runs it. It asserts that no client sees an error or a wrong byte and
that nothing which was fsynced is lost; pauses are printed, not asserted.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.clients_at_work import Client
from tests.service import ServiceRun, running

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

SOAK_S = 60.0
KILL_EVERY_S = 0.5
CHUNKS = {f"c/{i}": bytes([i]) * 65_536 for i in range(64)}
CONFIG = """\
defaults: {mkdir: true}
mounts:
  - {name: zip, source: a.zip, target: zip}
  - {name: folder, source: source, target: folder, mode: rw}
"""


@dataclass(slots=True)
class Timed:
    """A client's work, and when each of its steps began and ended."""

    mount: str
    work: Callable[[], None]
    steps: list[tuple[float, float]] = field(default_factory=list)

    def __call__(self) -> None:
        began_s = time.monotonic()
        self.work()
        self.steps.append((began_s, time.monotonic()))

    def pause_s(self, killed_s: float) -> float:
        """Return how long the step took, from a kill on, that was under way then."""
        return max(
            (end - killed_s for begin, end in self.steps if begin <= killed_s <= end), default=0.0
        )


def reading(root: Path, first: int) -> Callable[[], None]:
    numbers = [n % len(CHUNKS) for n in range(first, first + len(CHUNKS))]
    position = 0

    def read() -> None:
        nonlocal position
        key = f"c/{numbers[position]}"
        position = (position + 1) % len(numbers)
        descriptor = os.open(root / key, os.O_RDONLY)
        try:
            assert os.pread(descriptor, 1 << 20, 0) == CHUNKS[key]
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)

    return read


def writing(root: Path, name: str, log: int, written: list[int]) -> Callable[[], None]:
    def write() -> None:
        number = len(written)
        os.write(log, b"%9d\n" % number)
        os.fsync(log)
        written.append(number)
        part, final = root / f"{name}.partial", root / f"{name}.{number % 8}"
        part.write_bytes(b"%d" % number * 8000)
        os.rename(part, final)
        assert final.read_bytes() == b"%d" % number * 8000

    return write


def kill_again_and_again(service: ServiceRun) -> list[tuple[str, float]]:
    """Kill one worker after the other; return whose and when."""
    kills: list[tuple[str, float]] = []
    end_s = time.monotonic() + SOAK_S
    while time.monotonic() < end_s:
        name = ("zip", "folder")[len(kills) % 2]
        pid = service.wait_until(name, "serving")["pid"]
        kills.append((name, time.monotonic()))
        os.kill(pid, signal.SIGKILL)
        time.sleep(KILL_EVERY_S)
    return kills


def test_nobody_notices_more_than_a_pause(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for key, content in CHUNKS.items():
            archive.writestr(key, content)
    (tmp_path / "source").mkdir()
    with running(tmp_path, CONFIG) as service:
        service.wait_until_serving()
        logs = [
            os.open(tmp_path / f"folder/log{n}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            for n in range(2)
        ]
        written: list[list[int]] = [[], []]
        works = [Timed("zip", reading(tmp_path / "zip", 16 * n)) for n in range(4)]
        works += [
            Timed("folder", writing(tmp_path / "folder", f"w{n}", logs[n], written[n]))
            for n in range(2)
        ]
        clients = [Client(work) for work in works]
        try:
            kills = kill_again_and_again(service)
            for client in clients:
                client.wait_for_more()
        finally:
            errors = [client.end() for client in clients]
            for log in logs:
                os.close(log)
        assert errors == [None] * len(clients)
        assert service.stop() == 0
    for n, numbers in enumerate(written):
        lines = (tmp_path / f"source/log{n}").read_text().split()
        assert [int(line) for line in lines] == numbers
    tell(works, kills)


def tell(works: list[Timed], kills: list[tuple[str, float]]) -> None:
    """Print pauses, and beside them what a step takes while nobody is killed."""
    print(f"{len(kills)} kills in {SOAK_S:.0f} s")
    for mount in ("zip", "folder"):
        mine = [work for work in works if work.mount == mount]
        times_s = [killed_s for name, killed_s in kills if name == mount]
        pauses = [max(work.pause_s(killed_s) for work in mine) for killed_s in times_s]
        calm = [
            end - begin
            for work in mine
            for begin, end in work.steps
            if not any(begin <= killed_s <= end for killed_s in times_s)
        ]
        print(
            f"{mount}: pause median {statistics.median(pauses):.3f} s, worst {max(pauses):.3f} s;"
            f" {len(calm)} other steps, median {statistics.median(calm):.4f} s,"
            f" worst {max(calm):.3f} s"
        )
