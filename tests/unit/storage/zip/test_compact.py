"""Compacting: everything that lives is kept, byte for byte, and nothing else."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.unit.storage.zip.raw_zip import RawEntry, RawZip, deflated
from tests.unit.storage.zip.reading import content_of
from zarrfs.errors import BusyError, CorruptError
from zarrfs.storage.backend import Key
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.backend import ZipBackend
from zarrfs.storage.zip.compact import TEMPORARY_SUFFIX, compact, reclaimable_bytes
from zarrfs.storage.zip.offsets import header_offset, with_offset
from zarrfs.storage.zip.writable import WritableZip


def accepted(path: Path) -> None:
    """Other programs find nothing wrong with it."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    for command in (["unzip", "-tqq"], ["7z", "t", "-bd"]):
        if shutil.which(command[0]):
            subprocess.run([*command, str(path)], check=True, capture_output=True, timeout=100)


def test_replaced_and_deleted_entries_go(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    writer = ZipBackend.init(str(path))
    for round_number in range(5):
        for number in range(20):
            writer.set(Key(f"t/c/0/{number}"), os.urandom(5000) + b"%d" % round_number)
        writer.flush()
    for number in range(10):
        writer.delete(Key(f"t/c/0/{number}"))
    writer.close()
    os.chmod(path, 0o640)
    before = content_of(path)
    reading = ZipBackend.open(str(path), read_only=True)
    result = compact(str(path))
    assert result.before_bytes > 5 * 20 * 5000 and result.after_bytes == path.stat().st_size
    assert 10 * 5000 < result.after_bytes < 10 * 6000
    assert content_of(path) == before
    assert {key: bytes(reading.get(Key(key))) for key in before} == before
    reading.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["a.zip"]
    accepted(path)


def odd_entries() -> list[RawEntry]:
    packed = deflated(b"d/streamed", b"streamed " * 99, flags=8)
    packed.csize = len(packed.data)
    descriptor = packed.crc or 0
    tail = descriptor.to_bytes(4, "little") + packed.csize.to_bytes(4, "little")
    packed.data += b"PK\x07\x08" + tail + (99 * 9).to_bytes(4, "little")
    return [
        RawEntry(b"d/", b"", mode=stat.S_IFDIR | 0o700),
        RawEntry(b"old", b"1" * 1000),
        packed,
        RawEntry(b"old", b"2", comment=b"a note", extra=b"\x99\x99\x02\0ab"),
        RawEntry(b"wide", b"3", zip64=True, local_extra=b"\x88\x88\0\0"),
        RawEntry(b"gone", b"4" * 500, central=False),
        RawEntry(b"../hidden", b"5"),
        RawEntry(b"secret", b"6" * 20, flags=1),
        RawEntry(b"link", b"old", mode=stat.S_IFLNK | 0o777),
        RawEntry(b"both", b"7"),
        RawEntry(b"both/in", b"8"),
    ]


@pytest.mark.parametrize("prefix", [b"", b"#!/bin/sh\n" * 30])
def test_what_others_wrote_is_kept_as_it_is(tmp_path: Path, prefix: bytes) -> None:
    path = RawZip(odd_entries(), comment=b"about", prefix=prefix).write(tmp_path / "a.zip")
    compact(str(path))
    data = path.read_bytes()
    assert data.startswith(prefix)
    assert b"4" * 500 not in data and b"1" * 1000 not in data
    with zipfile.ZipFile(path) as archive:
        assert archive.comment == b"about"
        infos = {info.filename: info for info in archive.infolist()}
        assert list(infos) == [
            *("d/", "d/streamed", "old", "wide", "../hidden", "secret", "link", "both", "both/in")
        ]
        assert (archive.read("both"), archive.read("both/in")) == (b"7", b"8")
        assert archive.read("d/streamed") == b"streamed " * 99
        assert archive.read("../hidden") == b"5"
        assert (archive.read("old"), infos["old"].comment) == (b"2", b"a note")
        assert infos["old"].extra == b"\x99\x99\x02\0ab"
        assert (archive.read("wide"), infos["secret"].flag_bits & 1) == (b"3", 1)


def test_a_commit_keeps_what_a_folder_hides(tmp_path: Path) -> None:
    path = RawZip(odd_entries()).write(tmp_path / "a.zip")
    backend = WritableZip(str(path))
    backend.set(Key("new"), b"9")
    backend.close()
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert [names.count(name) for name in ("both", "both/in", "old", "new")] == [1, 1, 1, 1]
        assert (archive.read("both"), archive.read("new")) == (b"7", b"9")


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    path = RawZip(odd_entries()).write(tmp_path / "a.zip")
    compact(str(path))
    first = path.read_bytes()
    assert compact(str(path)).after_bytes == len(first)
    assert path.read_bytes() == first


def test_the_estimate(tmp_path: Path) -> None:
    path = RawZip(odd_entries()).write(tmp_path / "a.zip")
    archive = Archive.open(str(path))
    estimate = reclaimable_bytes(archive)
    archive.close()
    result = compact(str(path))
    assert abs(estimate - (result.before_bytes - result.after_bytes)) < 300


@pytest.mark.parametrize(
    "entry",
    [
        RawEntry(b"x", b"data", csize=10**6, usize=10**6),
        RawEntry(b"x", b"data", offset=10**7),
        RawEntry(b"x", b"data", local_signature=b"????"),
        RawEntry(b"x", b"data", offset=0),
    ],
)
def test_what_cannot_be_copied_is_not_lost(tmp_path: Path, entry: RawEntry) -> None:
    path = RawZip([RawEntry(b"good", b"1"), entry]).write(tmp_path / "a.zip")
    before = path.read_bytes()
    with pytest.raises(CorruptError, match=r"a\.zip"):
        compact(str(path))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.zip"]


def test_not_while_somebody_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    writer = ZipBackend.init(str(path))
    writer.set(Key("x"), b"1")
    writer.flush()
    with pytest.raises(BusyError):
        compact(str(path))
    writer.close()
    (tmp_path / f"a.zip{TEMPORARY_SUFFIX}").write_bytes(b"left by a crash")
    compact(str(path))
    assert content_of(path) == {"x": b"1"}
    assert os.listdir(tmp_path) == ["a.zip"]


def test_ozx_keeps_its_order(tmp_path: Path) -> None:
    path = tmp_path / "a.ozx"
    writer = ZipBackend.init(str(path))
    for key in ("t/c/0", "t/zarr.json", "zarr.json"):
        writer.set(Key(key), b"{}")
        writer.flush()
    writer.close()
    compact(str(path))
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    assert [info.filename for info in infos if not info.is_dir()] == [
        "zarr.json",
        "t/zarr.json",
        "t/c/0",
    ]
    assert infos[0].header_offset == 0
    accepted(path)


@pytest.mark.parametrize("offset", [0, 1, 2**32 - 2, 2**32 - 1, 2**32, 2**40])
@pytest.mark.parametrize("zip64", [False, True])
def test_records_point_anywhere(offset: int, zip64: bool) -> None:
    entry = RawEntry(b"name", b"12345", zip64=zip64, extra=b"\x99\x99\x01\0xy", comment=b"note")
    data = RawZip([entry]).build()
    record = data[data.index(b"PK\x01\x02") : data.rindex(b"note") + 4]
    moved = with_offset(record, offset)
    assert header_offset(moved) == offset
    assert header_offset(with_offset(moved, 0)) == 0
    assert moved.endswith(b"\x99\x99\x01\0xynote")


def test_a_folder_without_an_entry_may_change_its_time(tmp_path: Path) -> None:
    """Its time was that of an entry which was replaced, and which is gone now."""
    newer = RawEntry(b"c/0/0", b"old", date=22621, time=27829)
    file = RawZip([newer, RawEntry(b"c/0/0", b"new")]).write(tmp_path / "a.zip")
    compact(str(file))
    with zipfile.ZipFile(file) as archive:
        assert archive.read("c/0/0") == b"new"
