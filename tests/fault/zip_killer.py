"""Kills a writer of an archive at every write, sync and rename; run as a program.

    python -m tests.fault.zip_killer FOLDER

forks one writer for each place at which it can die, has it die there (before
the write, in its middle, one byte before its end), and checks that all that was
acknowledged is found again. Prints how often it killed. A program of its own
because it forks, which a process with threads should not.
"""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fault.archive_work import Progress, Work, archived, recovered, whole_run

_CALLS = (
    "pwrite",
    "pwritev",
    "fsync",
    "fdatasync",
    "ftruncate",
    "link",
    "unlink",
    "posix_fallocate",
)


class Assassin:
    """Counts the calls that change files, and kills this process at the chosen one."""

    def __init__(self, victim: int, share: float) -> None:
        self._victim = victim
        self._share = share
        self.calls = 0
        self._real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in _CALLS}
        for name in _CALLS:
            setattr(os, name, self._watched(name))

    def _watched(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls == self._victim:
                if name == "pwrite":
                    fd, data, offset = arguments
                    real(fd, bytes(data)[: int(len(data) * self._share)], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        return call


def run_until_killed(folder: Path, victim: int, share: float) -> tuple[Progress, int | None]:
    """Return what was acknowledged, and how many calls there were if nobody died."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        assassin = Assassin(victim, share)

        def report(progress: Progress) -> None:
            text = pickle.dumps((progress.finished, progress.durable, progress.committed))
            os.write(write_end, len(text).to_bytes(4, "little") + text)

        Work(folder / "a.zip", report).run()
        os._exit(0 if assassin.calls < victim else 1)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as reports:
        last = (0, 0, -1)
        while header := reports.read(4):
            last = pickle.loads(reports.read(int.from_bytes(header, "little")))
    _, status = os.waitpid(pid, 0)
    finished = os.WIFEXITED(status)
    assert not finished or os.WEXITSTATUS(status) == 0, "the writer failed by itself"
    return Progress([], *last), victim if finished else None


def check(folder: Path, expected: Progress, found: Progress) -> None:
    path = folder / "a.zip"
    acceptable = expected.states[found.finished : found.finished + 2]
    visible = archived(path)
    if visible is not None:
        assert visible in expected.states, "other programs see a state that never was"
    values = recovered(path)
    assert values in acceptable, (sorted(values), found.finished)


def main(root: str) -> None:
    base = Path(root)
    (base / "whole").mkdir()
    expected = whole_run(base / "whole" / "a.zip")
    kills = 0
    for share in (0.0, 0.25, 0.5, 0.999):
        for victim in itertools.count(1):
            folder = base / f"{victim}-{share}"
            folder.mkdir()
            found, survived = run_until_killed(folder, victim, share)
            try:
                check(folder, expected, found)
            except BaseException:
                print(f"killed at call {victim}, {share} of it, in {folder}", file=sys.stderr)
                raise
            shutil.rmtree(folder)
            if survived:
                break
            kills += 1
    print(kills)


if __name__ == "__main__":
    main(sys.argv[1])
