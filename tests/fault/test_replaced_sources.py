"""Sources that are replaced while they are mounted: beneath views, as folders, by links."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest

from tests.service import ServiceRun, running, wait_for
from tests.suites.documents import V3_GROUP, v3_array

pytestmark = pytest.mark.timeout(240)

CHUNK = 40_000
"""Items of a chunk, 160 KB: more than the kernel reads at once."""
CHUNKS = 3
BEAT = "hang_timeout: 1.5s"
"""A worker looks at its source three times in that time."""


def store(mark: int) -> dict[str, bytes]:
    """Return a group `g` with an array `a`, in which every item is the mark, as an attribute is."""
    array = v3_array([CHUNK * CHUNKS], [CHUNK], "int32", attributes={"mark": mark})
    chunk = np.full(CHUNK, mark, "<i4").tobytes()
    return {
        "zarr.json": json.dumps(V3_GROUP).encode(),
        "g/zarr.json": json.dumps(V3_GROUP).encode(),
        "g/a/zarr.json": json.dumps(array).encode(),
        **{f"g/a/c/{i}": chunk for i in range(CHUNKS)},
        f"only_{mark}": b"",
    }


def write_archive(path: Path, mark: int) -> None:
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w") as archive:
        for key, content in store(mark).items():
            archive.writestr(key, content)
    os.replace(part, path)


def write_folder(path: Path, mark: int) -> Path:
    for key, content in store(mark).items():
        (path / key).parent.mkdir(parents=True, exist_ok=True)
        (path / key).write_bytes(content)
    return path


def names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def replace_folder(path: Path, mark: int) -> Path:
    """Move a folder away and a new one to its place; return where the old one is."""
    new = write_folder(path.with_name(f"{path.name}.new"), mark)
    old = path.with_name(f"{path.name}.before-{mark}")
    path.rename(old)
    new.rename(path)
    return old


def flip_link(path: Path, mark: int) -> None:
    """Let a link lead to a new release, as deployments do."""
    release = write_folder(path.with_name(f"release-{mark}"), mark)
    link = path.with_name("flipped")
    link.symlink_to(release.name)
    os.replace(link, path)


def mark_of(content: bytes) -> int:
    """Return the mark that all items are, or the document's; fails for a mixture."""
    if content.startswith(b"{"):
        document = json.loads(content)
        return int(document.get("attributes", document)["mark"])
    items = np.frombuffer(content, "<i4")
    assert len(items) and (items == items[0]).all(), np.unique(items)
    return int(items[0])


V2_CHUNKS = [f"g/a/{i}" for i in range(CHUNKS)]
V3_CHUNKS = [f"g/a/c/{i}" for i in range(CHUNKS)]
MOUNTS = {
    "decoded": ("a.zip", "view: decoded", [*V2_CHUNKS, "g/a/.zattrs"]),
    "several": ("a.zip", "views: {raw: flat, old: v2}", ["raw/g/a.raw", "old/g/a/1"]),
    "part": ("a.zip", "root: g", ["a/c/0", "a/c/2"]),
    "part_view": ("a.zip", "root: g, view: flat", ["a.raw"]),
    "written": ("folder", "mode: rw", V3_CHUNKS),
    "read": ("folder", "mode: ro", V3_CHUNKS),
    "shown": ("folder", "mode: ro, view: plain", [*V2_CHUNKS, "g/a/.zattrs"]),
    "link": ("current", "mode: ro, root: g", ["a/c/0", "a/zarr.json"]),
}


def config(*mounts: tuple[str, str, str]) -> str:
    rows = [
        f"{{name: {name}, source: {source}, target: {name}, mkdir: true, {BEAT}, {options}}}"
        for name, source, options in mounts
    ]
    return f"mounts: [{', '.join(rows)}]"


class Readers:
    """A thread for each mount that reads its files again and again."""

    def __init__(self, folder: Path) -> None:
        self.wrong: list[object] = []
        self.seen: dict[str, set[int]] = {name: set() for name in MOUNTS}
        self._folder = folder
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=[name]) for name in MOUNTS]

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _read(self, name: str) -> None:
        try:
            while not self._stopping.is_set():
                for file in MOUNTS[name][2]:
                    self.seen[name].add(mark_of((self._folder / name / file).read_bytes()))
        except (OSError, AssertionError) as error:
            self.wrong.append((name, error))


def content_of(descriptor: int) -> bytes:
    """Read an open file whole, and not from the kernel's memory."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    size = os.fstat(descriptor).st_size
    content = b""
    while len(content) < size:
        piece = os.pread(descriptor, size - len(content), len(content))
        assert piece
        content += piece
    return content


def test_no_error_no_mixture_and_open_files_keep_the_old(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", 1)
    write_folder(tmp_path / "folder", 1)
    flip_link(tmp_path / "current", 1)
    mounts = [(name, source, options) for name, (source, options, _) in MOUNTS.items()]
    held: list[tuple[str, int, int]] = []
    with running(tmp_path, config(*mounts)) as service, ExitStack() as files:
        service.wait_until_serving()
        with Readers(tmp_path) as readers:
            for mark in (2, 3, 4):
                for name, (_, _, (file, *_)) in MOUNTS.items():
                    descriptor = os.open(tmp_path / name / file, os.O_RDONLY)
                    files.callback(os.close, descriptor)
                    held.append((name, mark - 1, descriptor))
                write_archive(tmp_path / "a.zip", mark)
                replace_folder(tmp_path / "folder", mark)
                flip_link(tmp_path / "current", mark)
                wait_for(
                    f"{mark} everywhere",
                    lambda mark=mark: (  # type: ignore[misc]
                        readers.wrong or all(mark in seen for seen in readers.seen.values())
                    ),
                )
                assert readers.wrong == []
                for name, before, descriptor in held:
                    assert mark_of(content_of(descriptor)) == before, name
                assert f"only_{mark}" in os.listdir(tmp_path / "read")
                assert f"only_{mark - 1}" not in os.listdir(tmp_path / "written")
        assert readers.wrong == []
        for name, (_, _, (file, *_)) in MOUNTS.items():
            service.kill_worker(name)
            assert mark_of((tmp_path / name / file).read_bytes()) == 4, name
        for name, before, descriptor in held:
            assert mark_of(content_of(descriptor)) == before, name
        files.close()
        wait_for("the old to be let go", lambda: not kept_of_the_old(service.process.pid))
        for name, (_, _, (file, *_)) in MOUNTS.items():
            stood_in = os.open((tmp_path / name / file).parent, os.O_RDONLY | os.O_DIRECTORY)
            files.callback(os.close, stood_in)
            service.kill_worker(name)
            assert os.path.basename(file) in os.listdir(stood_in), name
            assert mark_of((tmp_path / name / file).read_bytes()) == 4, name


def kept_of_the_old(pid: int) -> list[str]:
    """Return which replaced archives and releases a supervisor still holds for its workers."""
    kept = []
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed by now
            kept.append(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    old = ("a.zip (deleted)", "release-1", "release-2", "release-3")
    return [path for path in kept if path.endswith(old)]


@pytest.fixture
def writable(tmp_path: Path) -> Iterator[ServiceRun]:
    write_folder(tmp_path / "folder", 1)
    # Without passthrough, every read and write is the worker's.
    options = "mode: rw, passthrough: false"
    with running(tmp_path, config(("m", "folder", options))) as service:
        service.wait_until_serving("m")
        yield service


def shows(service: ServiceRun, mark: int) -> Callable[[], bool]:
    return lambda: (service.folder / "m" / f"only_{mark}").exists()


def test_what_is_written_to_the_old_folder_stays_there(writable: ServiceRun) -> None:
    mount = writable.folder / "m"
    with (mount / "log").open("wb", buffering=0) as log:
        log.write(b"before ")
        group = os.open(mount / "g", os.O_RDONLY | os.O_DIRECTORY)
        try:
            old = replace_folder(writable.folder / "folder", 2)
            wait_for("the new folder", shows(writable, 2))
            log.write(b"after")
            assert not (mount / "log").exists()
            os.mkdir("later", dir_fd=group)
            with pytest.raises(OSError, match=os.strerror(errno.EXDEV)):
                os.rename("later", mount / "later", src_dir_fd=group)
        finally:
            os.close(group)
    (mount / "new").write_bytes(b"new")
    assert (old / "log").read_bytes() == b"before after"
    assert (old / "g" / "later").is_dir()
    assert (writable.folder / "folder" / "new").read_bytes() == b"new"
    assert not (old / "new").exists()


def test_open_files_live_on_when_the_old_folder_is_removed(writable: ServiceRun) -> None:
    mount = writable.folder / "m"
    descriptor = os.open(mount / V3_CHUNKS[0], os.O_RDWR)
    try:
        old = replace_folder(writable.folder / "folder", 2)
        shutil.rmtree(old)
        wait_for("the new folder", shows(writable, 2))
        # Several looks for what can be let go of.
        wait_for("some time", lambda: writable.mount("m").get("uptime_s", 0) > 2)
        assert mark_of(content_of(descriptor)) == 1
        writable.kill_worker("m")
        assert mark_of(content_of(descriptor)) == 1
        assert os.pwrite(descriptor, bytes(4), 0) == 4
        assert content_of(descriptor)[:4] == bytes(4)
    finally:
        os.close(descriptor)
    assert mark_of((mount / V3_CHUNKS[0]).read_bytes()) == 2


def reason(service: ServiceRun, text: str) -> Callable[[], bool]:
    """Whether `zarrfs status` tells this of the mount, which is served all the while."""
    return lambda: (
        text in service.mount("m").get("reason", "")
        and service.mount("m")["state"] == "serving"
        and text in service.log.read_text()
    )


def test_a_folder_that_is_gone_or_no_store_is_not_shown(writable: ServiceRun) -> None:
    folder, mount = writable.folder / "folder", writable.folder / "m"
    folder.rename(writable.folder / "away")
    wait_for("its absence", reason(writable, "what was mounted stays"))
    assert mark_of((mount / V3_CHUNKS[0]).read_bytes()) == 1
    folder.mkdir()
    wait_for("the refusal", reason(writable, "the new one is empty"))
    (folder / "readme").write_text("no store")
    wait_for("the refusal", reason(writable, "no Zarr group or array"))
    writable.kill_worker("m")
    assert mark_of((mount / V3_CHUNKS[1]).read_bytes()) == 1
    write_folder(folder, 2)  # the same folder, which is a store by now
    wait_for("the new", shows(writable, 2))
    wait_for("no reason any more", lambda: writable.mount("m").get("reason") == "")


def test_what_cannot_be_shown_is_refused_beneath_a_view(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", 1)
    mounts = config(("m", "a.zip", "root: g, view: flat"))
    with running(tmp_path, mounts) as service:
        service.wait_until_serving("m")
        shown = tmp_path / "m" / "a.raw"
        (tmp_path / "cut").write_bytes((tmp_path / "a.zip").read_bytes()[:-100])
        os.replace(tmp_path / "cut", tmp_path / "a.zip")
        wait_for("the refusal", reason(service, "cut off"))
        assert mark_of(shown.read_bytes()) == 1
        with zipfile.ZipFile(tmp_path / "part", "w") as archive:
            archive.writestr("zarr.json", json.dumps(V3_GROUP))
        os.replace(tmp_path / "part", tmp_path / "a.zip")
        wait_for("the refusal", reason(service, "no such folder in the store"))
        service.kill_worker("m")
        assert mark_of(shown.read_bytes()) == 1
        write_archive(tmp_path / "a.zip", 2)
        wait_for("the new", lambda: mark_of(shown.read_bytes()) == 2)


def test_where_workers_collect_what_is_written_it_is_only_told(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", 1)
    mounts = config(("m", "folder", "mode: rw, validate: strict"))
    with running(tmp_path, mounts) as service:
        service.wait_until_serving("m")
        replace_folder(tmp_path / "folder", 2)
        wait_for("the refusal", reason(service, "mount it anew"))
        assert (tmp_path / "m" / "only_1").exists()


def test_what_was_written_to_an_archive_is_kept_when_it_is_replaced(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", 1)
    with running(tmp_path, config(("m", "a.zip", "mode: rw"))) as service:
        service.wait_until_serving("m")
        mount = tmp_path / "m"
        (mount / "before").write_bytes(b"1")
        service.process.send_signal(signal.SIGUSR2)  # commit
        wait_for("a commit", lambda: "before" in names_in(tmp_path / "a.zip"))
        write_archive(tmp_path / "a.zip", 2)
        wait_for("the refusal", reason(service, "open for writing"))
        service.kill_worker("m")
        (mount / "after").write_bytes(b"2")
        assert mark_of((mount / V3_CHUNKS[0]).read_bytes()) == 1
        service.stop()
        kept = tmp_path / "a.zip.zarrfs-displaced"
        assert str(kept) in service.log.read_text()
    with zipfile.ZipFile(kept) as archive:
        assert (archive.read("before"), archive.read("after")) == (b"1", b"2")
        assert mark_of(archive.read(V3_CHUNKS[0])) == 1
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert mark_of(archive.read(V3_CHUNKS[0])) == 2


def test_writers_see_no_error_and_nothing_is_lost(writable: ServiceRun) -> None:
    folder, mount = writable.folder / "folder", writable.folder / "m"
    stopping = threading.Event()
    written: dict[str, bytes] = {}
    wrong: list[OSError] = []

    def write() -> None:
        while not (stopping.is_set() or wrong):
            name, content = f"w{len(written)}", os.urandom(1000)
            try:
                with (mount / name).open("xb", buffering=0) as file:
                    for start in range(0, 1000, 250):
                        file.write(content[start : start + 250])
            except OSError as error:
                wrong.append(error)
            written[name] = content

    writer = threading.Thread(target=write)
    writer.start()
    folders = [folder]
    try:
        for mark in (2, 3, 4):
            folders.append(replace_folder(folder, mark))
            wait_for("the new folder", lambda mark=mark: wrong or shows(writable, mark)())  # type: ignore[misc]
    finally:
        stopping.set()
        writer.join()
    assert wrong == []
    found = [path for folder in folders for path in folder.glob("w*")]
    # One that was being made as the worker went may have been made in both folders.
    found = [path for path in found if path.stat().st_size]
    assert sorted(path.name for path in found) == sorted(written)
    assert all(path.read_bytes() == written[path.name] for path in found)
