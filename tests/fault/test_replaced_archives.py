"""An archive is replaced while it is mounted and read."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import ServiceRun, running, wait_for

pytestmark = pytest.mark.timeout(240)

KEYS = [f"array/c/{i}" for i in range(50)]
BEAT = "hang_timeout: 1.5s"
"""A worker looks at its archive three times in that time."""


def write_archive(path: Path, mark: str, *more: str) -> None:
    """Write an archive whose every file holds its mark, and rename it over the path."""
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w") as archive:
        for key in (*KEYS, *more):
            archive.writestr(key, mark * 1000)
    os.replace(part, path)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceRun]:
    write_archive(tmp_path / "a.zip", "1")
    config = f"mounts: [{{name: a, source: a.zip, target: a, mkdir: true, {BEAT}}}]"
    with running(tmp_path, config) as service:
        service.wait_until_serving("a")
        yield service


def test_new_opens_see_the_new_and_open_files_keep_the_old(service: ServiceRun) -> None:
    root = service.folder / "a"
    for round_, mark in enumerate("234"):
        assert not (root / f"new{mark}").exists()
        with (root / KEYS[0]).open() as held:
            old = held.read(10)
            write_archive(service.folder / "a.zip", mark, f"new{mark}")
            wait_for("the new archive", lambda mark=mark: (root / KEYS[1]).read_text()[0] == mark)  # type: ignore[misc]
            assert held.read() == old[0] * 990
        assert sorted(os.listdir(root)) == ["array", f"new{mark}"]
        assert {(root / key).read_text() for key in KEYS} == {mark * 1000}
        assert round_ + 1 == service.log.read_text().count("was replaced")


def test_no_error_and_no_mixture_under_load(service: ServiceRun) -> None:
    root = service.folder / "a"
    stopping = threading.Event()
    wrong: list[object] = []
    seen: set[str] = set()

    def read() -> None:
        try:
            while not stopping.is_set():
                for key in KEYS:
                    text = (root / key).read_text()
                    if text != text[0] * 1000:
                        wrong.append((key, text[:20]))
                    seen.add(text[0])
        except OSError as error:
            wrong.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for mark in "234":
            write_archive(service.folder / "a.zip", mark)
            wait_for("the new archive", lambda mark=mark: mark in seen)  # type: ignore[misc]
    finally:
        stopping.set()
        reader.join()
    assert wrong == []


def test_a_broken_replacement_is_refused_and_a_killed_worker_still_has_the_old(
    service: ServiceRun,
) -> None:
    archive = service.folder / "a.zip"
    (service.folder / "bad").write_text("not an archive")
    os.replace(service.folder / "bad", archive)
    wait_for("the refusal", lambda: "the old stays mounted" in service.log.read_text())
    service.kill_worker("a")
    assert (service.folder / "a" / KEYS[0]).read_text() == "1" * 1000
    archive.unlink()
    service.kill_worker("a")
    assert (service.folder / "a" / KEYS[1]).read_text() == "1" * 1000
    write_archive(archive, "2")
    wait_for("the new", lambda: (service.folder / "a" / KEYS[2]).read_text()[0] == "2")
