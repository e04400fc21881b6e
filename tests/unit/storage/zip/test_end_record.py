"""Finding the end of an archive, and refusing what is none."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.unit.storage.zip.raw_zip import RawEntry, RawZip
from zarrfs.errors import CorruptError, UnsupportedError
from zarrfs.storage.zip.end_record import EndRecord, locate

ENTRIES = [RawEntry(b"a", b"first"), RawEntry(b"b", b"second")]


def locate_in(path: Path) -> EndRecord:
    fd = os.open(path, os.O_RDONLY)
    try:
        return locate(fd, path.stat().st_size, "archive.zip")
    finally:
        os.close(fd)


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("prefix", [b"", b"#!/bin/sh\nexec unzip $0\n" * 10])
@pytest.mark.parametrize("comment", [b"", b"a comment", b"x" * 65535])
def test_finds_the_directory(tmp_path: Path, zip64: bool, prefix: bytes, comment: bytes) -> None:
    archive = RawZip(ENTRIES, comment=comment, prefix=prefix, zip64=zip64)
    end = locate_in(archive.write(tmp_path / "a.zip"))
    data = archive.build()
    assert data[end.directory_start :].startswith(b"PK\x01\x02")
    assert end.base == len(prefix)
    assert end.comment == comment
    assert end.zip64 == zip64
    assert end.entry_count == 2
    assert end.end == len(data)


def test_bytes_after_the_archive(tmp_path: Path) -> None:
    archive = RawZip(ENTRIES, comment=b"note", suffix=b"\0" * 1000)
    end = locate_in(archive.write(tmp_path / "a.zip"))
    assert end.comment == b"note"
    assert end.end == len(archive.build()) - 1000


def test_an_end_record_quoted_in_the_comment(tmp_path: Path) -> None:
    quoted = struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, 9, 9, 99, 99, 0)
    end = locate_in(RawZip(ENTRIES, comment=b"see " + quoted).write(tmp_path / "a.zip"))
    assert end.entry_count == 2


def test_an_empty_archive(tmp_path: Path) -> None:
    end = locate_in(RawZip([]).write(tmp_path / "a.zip"))
    assert (end.entry_count, end.directory_size) == (0, 0)


@pytest.mark.parametrize("content", [b"", b"P", b"not a zip archive at all" * 100, b"PK\x05\x06"])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(CorruptError, match=r"archive\.zip: no end of central directory.*repair"):
        locate_in(path)


def test_a_cut_off_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    whole = RawZip(ENTRIES).build()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptError):
            locate_in(path)


def test_several_volumes(tmp_path: Path) -> None:
    data = bytearray(RawZip(ENTRIES).build())
    position = data.rindex(b"PK\x05\x06")
    data[position + 4 : position + 8] = struct.pack("<HH", 1, 1)
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(UnsupportedError, match="several volumes"):
        locate_in(path)


def test_a_directory_that_is_elsewhere(tmp_path: Path) -> None:
    data = bytearray(RawZip(ENTRIES).build())
    position = data.rindex(b"PK\x05\x06")
    data[position + 12 : position + 16] = struct.pack("<L", 10**6)
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="not where the end record says"):
        locate_in(path)
