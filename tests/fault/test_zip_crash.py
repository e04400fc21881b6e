"""A writer of an archive is killed at every write; the power fails at any moment."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.archive_work import Work, archived, recovered
from tests.fault.power import PowerLog
from zarrfs.storage.inodes import journal
from zarrfs.storage.zip.writable_journal import ArchiveMark


@pytest.fixture
def fast_folder() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of syncs would take long."""
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="zarrfs-", dir=where) as folder:
        yield Path(folder)


@pytest.mark.timeout(600)
def test_killed_at_every_write(fast_folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.fault.zip_killer", str(fast_folder)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert int(result.stdout) > 200


@pytest.mark.timeout(600)
def test_power_fails_at_any_moment(fast_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fsync or a commit returned for is there; what is there is a state that was."""
    work_folder = fast_folder / "work"
    work_folder.mkdir()
    with monkeypatch.context() as watched:
        log = PowerLog(work_folder, watched)
        work = Work(work_folder / "a.zip", lambda it: log.note(it.finished, it.durable))
        work.run()
    by_tail = ArchiveMark.matches
    monkeypatch.setattr(  # the files that `after` makes have other inodes
        ArchiveMark, "matches", lambda mark, fd: not mark.archive_bytes or by_tail(mark, fd)
    )
    states = work.progress.states
    boots = itertools.count(1)
    for moment in range(1, len(log.events) + 1):
        finished, durable = 0, 0
        for kind, what, _, _ in log.events[:moment]:
            if kind == "note":
                finished, durable = what
        for seed in range(3):
            boot = uuid.UUID(int=next(boots)).bytes
            monkeypatch.setattr(journal, "current_boot_id", lambda boot=boot: boot)
            folder = fast_folder / "after"
            folder.mkdir()
            log.after(moment, random.Random(moment * 10 + seed), folder)
            visible = archived(folder / "a.zip")
            assert visible is None or visible in states
            values = recovered(folder / "a.zip")
            assert values in states[durable : finished + 2], (moment, seed)
            shutil.rmtree(folder)
