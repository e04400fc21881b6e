"""Archives made to hurt: each is shown right, hidden in part, or refused."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path

import pytest

from tests.unit.storage.zip.raw_zip import RawEntry, RawZip, deflated
from zarrfs.errors import CorruptError, UnsupportedError, ZarrfsError
from zarrfs.storage.backend import Key
from zarrfs.storage.zip.backend import ZipBackend

GOOD = RawEntry(b"good", b"fine")


def open_zip(tmp_path: Path, *entries: RawEntry, **fields: object) -> ZipBackend:
    path = RawZip([*entries, GOOD], **fields).write(tmp_path / "hostile.zip")  # type: ignore[arg-type]  # fields of RawZip
    return ZipBackend.open(str(path), read_only=True)


def keys(backend: ZipBackend) -> set[str]:
    return set(backend.list_keys(Key("")))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"../x", "'..'"),
        (b"a/../x", "'..'"),
        (b"a/..", "'..'"),
        (b"..", "'..'"),
        (b"/etc/passwd", "absolute"),
        (b"a//x", "empty component"),
        (b"a/./x", "'.'"),
        (b".", "'.'"),
        (b"", "no name"),
        (b"a\0b", "zero byte"),
        (b"a/" + b"n" * 256, "more than 255 bytes"),
    ],
)
def test_names_that_cannot_be_shown(
    tmp_path: Path, name: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        backend = open_zip(tmp_path, RawEntry(name, b"evil"))
    assert keys(backend) == {"good"}
    assert backend.get(Key("good")) == b"fine"
    [problem] = backend.problems
    assert problem.hidden and reason in problem.reason
    assert reason in caplog.text
    backend.close()


def test_names_that_only_look_dangerous(tmp_path: Path) -> None:
    names = [b"...", b"..a/b", b"a/.zarray", b"a/..b", b".hidden", b"C:/x", b"back\\slash", b"a b"]
    backend = open_zip(tmp_path, *(RawEntry(name, name) for name in names))
    assert keys(backend) == {name.decode() for name in names} | {"good"}
    assert not backend.problems
    backend.close()


def test_backslashes_of_dos_writers_are_separators(tmp_path: Path) -> None:
    backend = open_zip(
        tmp_path,
        RawEntry(b"a\\b\\c", b"1", host=0),
        RawEntry(b"..\\x", b"2", host=0),
    )
    assert keys(backend) == {"a/b/c", "good"}
    assert backend.get(Key("a/b/c")) == b"1"
    assert any("backslashes" in problem.reason for problem in backend.problems)
    backend.close()


def test_leading_dots_are_dropped(tmp_path: Path) -> None:
    backend = open_zip(tmp_path, RawEntry(b"./a/b", b"1"), RawEntry(b"././c", b"2"))
    assert keys(backend) == {"a/b", "c", "good"}
    assert backend.get(Key("a/b")) == b"1"
    backend.close()


@pytest.mark.parametrize(
    ("entry", "error", "reason"),
    [
        (RawEntry(b"x", b"secret", flags=1), UnsupportedError, "encrypted"),
        (RawEntry(b"x", b"secret", flags=1 << 6), UnsupportedError, "encrypted"),
        (RawEntry(b"x", b"deflate64", method=9, usize=100), UnsupportedError, "method"),
        (RawEntry(b"x", b"data", disk=3), UnsupportedError, "another volume"),
        (RawEntry(b"x", b"data", csize=10**6, usize=10**6), CorruptError, "outside"),
        (RawEntry(b"x", b"data", offset=10**8), CorruptError, "outside"),
        (RawEntry(b"x", b"data", usize=5), CorruptError, "sizes"),
        (RawEntry(b"x", b"data", method=8, usize=10**9), CorruptError, "sizes"),
        (RawEntry(b"x", b"data", csize=40, usize=40), CorruptError, "overlaps"),
        (RawEntry(b"x", b"data", crc=1), CorruptError, "checksum"),
        (RawEntry(b"x", b"data", local_name=b"y"), CorruptError, "header names 'y'"),
        (RawEntry(b"x", b"data", local_signature=b"PK\x01\x02"), CorruptError, "no entry"),
        (RawEntry(b"x", b"\xff" * 20, method=8, usize=30), CorruptError, "does not decompress"),
    ],
)
def test_entries_that_cannot_be_read(
    tmp_path: Path, entry: RawEntry, error: type[ZarrfsError], reason: str
) -> None:
    """They stay visible: a missing chunk would be taken for the fill value."""
    backend = open_zip(tmp_path, entry)
    assert keys(backend) == {"x", "good"}
    for _ in range(2):
        with pytest.raises(error, match=reason):
            backend.get(Key("x"))
    assert backend.get(Key("good")) == b"fine"
    backend.close()


@pytest.mark.parametrize("claimed", [50, 999, 1001, 1_000_000])
def test_sizes_that_lie(tmp_path: Path, claimed: int) -> None:
    entry = deflated(b"x", b"z" * 1000, usize=claimed, crc=zlib.crc32(b"z" * min(claimed, 1000)))
    entry.data += b"\0" * 2000
    backend = open_zip(tmp_path, entry)
    with pytest.raises(CorruptError):
        backend.get(Key("x"))
    backend.close()


def test_two_entries_of_one_content(tmp_path: Path) -> None:
    """Overlapping quotes are how small bombs unpack to a lot."""
    backend = open_zip(
        tmp_path, RawEntry(b"a", b"12345678"), RawEntry(b"b", offset=0, csize=8, usize=8)
    )
    for key in ("a", "b"):
        with pytest.raises(CorruptError):
            backend.get(Key(key))
    backend.close()


def test_a_folder_wins_over_a_file_of_its_name(tmp_path: Path) -> None:
    backend = open_zip(tmp_path, RawEntry(b"a", b"file"), RawEntry(b"a/b", b"inside"))
    assert keys(backend) == {"a/b", "good"}
    [problem] = backend.problems
    assert (problem.name, problem.hidden) == (b"a", True)
    backend.close()


def test_the_last_duplicate_wins(tmp_path: Path) -> None:
    entries = [RawEntry(b"d/x", b"%d" % number) for number in range(5)]
    backend = open_zip(tmp_path, *entries)
    assert backend.get(Key("d/x")) == b"4"
    assert keys(backend) == {"d/x", "good"}
    assert backend.archive.index.superseded == 4
    assert not backend.problems
    backend.close()


def test_more_folders_than_entries_could_need(tmp_path: Path) -> None:
    entries = [RawEntry(b"%d/" % number + b"a/" * 2000 + b"x") for number in range(50)]
    with pytest.raises(CorruptError, match="more folders"):
        open_zip(tmp_path, *entries)


def test_a_damaged_directory(tmp_path: Path) -> None:
    data = bytearray(RawZip([GOOD, RawEntry(b"b", b"2")]).build())
    second = data.rindex(b"PK\x01\x02")
    data[second] = 0
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(CorruptError, match=r"damaged .* bytes from its start"):
        ZipBackend.open(str(path), read_only=True)


def test_signatures_inside_names_and_comments(tmp_path: Path) -> None:
    signature = b"PK\x01\x02"
    backend = open_zip(
        tmp_path,
        RawEntry(b"n-" + signature, b"1", comment=signature * 9),
        RawEntry(b"m", b"2", comment=signature + b"\0" * 60, extra=b"\x99\x99\x04\0" + signature),
        RawEntry(signature, b"3"),
    )
    assert keys(backend) == {"n-PK\x01\x02", "m", "PK\x01\x02", "good"}
    backend.close()


def test_a_wrong_count_is_reported(tmp_path: Path) -> None:
    backend = open_zip(tmp_path, declared=7)
    assert keys(backend) == {"good"}
    assert "7 entries declared, 1 found" in str(backend.problems[0])
    backend.close()
