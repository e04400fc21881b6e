"""Archives by other programs, read entry by entry equal to what went in."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
import zipfile
from pathlib import Path
from zlib import crc32

import pytest

from tests.unit.storage.zip.raw_zip import RawEntry, RawZip, Unseekable, deflated
from zarrfs.storage.backend import Key
from zarrfs.storage.tree import ROOT
from zarrfs.storage.zip.backend import ZipBackend

FILES = {
    "zarr.json": b'{"zarr_format": 3, "node_type": "group"}',
    "temperature/zarr.json": b"{}" * 300,
    "temperature/c/0/0": os.urandom(50_000),
    "temperature/c/0/1": bytes(400_000),
    "temperature/c/10/0": b"short",
    "with space/ünïcødé/温度": "温度".encode() * 100,
    "empty": b"",
}


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"optional: {program} is not installed")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "source"


def content_of(path: Path) -> dict[str, bytes]:
    backend = ZipBackend.open(str(path), read_only=True)
    try:
        assert not backend.problems
        return {key: bytes(backend.get(key)) for key in backend.list_keys(Key(""))}
    finally:
        backend.close()


def run(*command: str, cwd: Path) -> None:
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, env=environment, timeout=100)


@pytest.mark.parametrize("options", [["-r"], ["-r", "-0"], ["-r", "-fz"], ["-r", "-D"]])
def test_info_zip(folder: Path, options: list[str]) -> None:
    run(needs("zip"), "-q", *options, "../a.zip", ".", cwd=folder)
    assert content_of(folder.parent / "a.zip") == FILES


def test_info_zip_through_a_pipe(folder: Path) -> None:
    with open(folder.parent / "a.zip", "wb") as out:
        subprocess.run(
            [needs("zip"), "-q", "-r", "-", "."],
            cwd=folder,
            stdout=out,
            stderr=subprocess.DEVNULL,
            check=True,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
            timeout=100,
        )
    assert content_of(folder.parent / "a.zip") == FILES


@pytest.mark.parametrize("method", ["Copy", "Deflate", "BZip2", "LZMA"])
def test_7z(folder: Path, method: str) -> None:
    run(needs("7z"), "a", "-bd", "-tzip", f"-mm={method}", "../a.zip", ".", cwd=folder)
    assert content_of(folder.parent / "a.zip") == FILES


def test_jar(folder: Path) -> None:
    run(needs("jar"), "cf", "../a.zip", "-C", ".", ".", cwd=folder)
    found = content_of(folder.parent / "a.zip")
    found.pop("META-INF/MANIFEST.MF")
    assert found == FILES


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("streamed", [False, True])
def test_zipfile(tmp_path: Path, method: int, streamed: bool) -> None:
    path = tmp_path / "a.zip"
    with open(path, "wb") as file:
        target = Unseekable(file) if streamed else file
        with zipfile.ZipFile(target, "w", method) as archive:
            for name, content in FILES.items():
                archive.writestr(name, content)
    assert content_of(path) == FILES


def test_zarr_python(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "a.zip"
    store = zarr.storage.ZipStore(path, mode="w")
    array = zarr.create_array(store, shape=(20, 30), chunks=(10, 10), dtype="f4")
    array[:] = numpy.arange(600).reshape(20, 30)
    store.close()
    backend = ZipBackend.open(str(path), read_only=True)
    tree = backend.file_tree()
    document = tree.lookup(ROOT, b"zarr.json")
    assert stat.S_ISREG(document.attr.mode) and stat.S_IMODE(document.attr.mode) == 0o644
    with zipfile.ZipFile(path) as reference:
        for info in reference.infolist():
            assert backend.get(Key(info.filename)) == reference.read(info.filename)
    assert stat.S_ISDIR(tree.lookup(ROOT, b"c").attr.mode)
    backend.close()


def test_zstd_by_a_recent_python(tmp_path: Path) -> None:
    """`zipfile` of Python 3.14 writes zstd frames that do not state their size."""
    numcodecs_zstd = pytest.importorskip("numcodecs.zstd")
    content = b"the same again and again " * 5000
    entries = []
    for name, packed in (
        (b"sized", numcodecs_zstd.compress(content, 3)),
        (b"unsized", _without_content_size(numcodecs_zstd.compress(content, 3))),
    ):
        entry = deflated(name, content, data=packed, method=93)
        entries.append(entry)
    path = RawZip(entries).write(tmp_path / "a.zip")
    assert content_of(path) == {"sized": content, "unsized": content}


def _without_content_size(frame: bytes) -> bytes:
    """Rewrite a single-segment frame header (RFC 8878, 3.1.1.1) to one that has a
    window (1 MiB) instead of the content's size."""
    descriptor = frame[4]
    assert descriptor >> 5 & 1 and not descriptor & 3
    width = (1, 2, 4, 8)[descriptor >> 6]
    return frame[:4] + bytes([descriptor & 0b100, 10 << 3]) + frame[5 + width :]


def test_go_and_others_without_attributes(tmp_path: Path) -> None:
    """No Unix mode, data descriptors, no folders, times absent or impossible."""
    descriptor = b"PK\x07\x08" + bytes(12)
    entries = [
        deflated(b"a/b", b"content" * 50, host=0, mode=0, flags=8, date=0, time=0),
        RawEntry(b"a/c", b"plain", host=0, external=1, date=0xFFFF, time=0xFFFF),
        RawEntry(b"a/d", b"", host=3, mode=0o100600),
        RawEntry(b"e/", b"", host=0, external=0x10),
    ]
    packed = entries[0].data
    entries[0].csize = len(packed)
    entries[0].data = packed + descriptor
    path = RawZip(entries).write(tmp_path / "a.zip")
    backend = ZipBackend.open(str(path), read_only=True)
    tree = backend.file_tree()
    folder = tree.lookup(ROOT, b"a").nodeid
    assert backend.get(Key("a/b")) == b"content" * 50
    assert [tree.lookup(folder, name).attr.mode for name in (b"b", b"c", b"d")] == [
        stat.S_IFREG | 0o644,
        stat.S_IFREG | 0o444,
        stat.S_IFREG | 0o600,
    ]
    assert tree.lookup(ROOT, b"e").attr.mode == stat.S_IFDIR | 0o755
    years = [
        time.localtime(tree.lookup(folder, name).attr.mtime_ns // 10**9)[0] for name in (b"b", b"c")
    ]
    assert years == [1980, 2107]
    backend.close()


def test_times_from_extra_fields(tmp_path: Path) -> None:
    extended = b"UT\x05\0\x03" + (1_700_000_001).to_bytes(4, "little")
    filetime = (116_444_736_000_000_000 + 1_700_000_002 * 10_000_000 + 5).to_bytes(8, "little")
    ntfs = b"\x0a\0\x20\0" + bytes(4) + b"\x01\0\x18\0" + filetime * 3
    before_1970 = b"UT\x05\0\x01" + (-1).to_bytes(4, "little", signed=True)
    entries = [
        RawEntry(b"a", extra=extended),
        RawEntry(b"b", extra=b"\x99\x99\x01\0x" + ntfs),
        RawEntry(b"c", extra=extended + ntfs),
        RawEntry(b"d", extra=before_1970),
        RawEntry(b"e", extra=b"UT\x05\0\x03\0"),
        RawEntry(b"f"),
    ]
    backend = ZipBackend.open(str(RawZip(entries).write(tmp_path / "a.zip")), read_only=True)
    times = [backend.stat(Key(name)).mtime_ns for name in "abcdef"]
    dos = int(time.mktime((2024, 2, 29, 13, 37, 42, 0, 0, -1))) * 10**9
    assert times == [
        1_700_000_001 * 10**9,
        1_700_000_002 * 10**9 + 500,
        1_700_000_002 * 10**9 + 500,
        -(10**9),
        dos,
        dos,
    ]
    backend.close()


def test_names_in_code_page_437_and_unicode_fields(tmp_path: Path) -> None:
    plain = b"caf?"
    field = b"\x01" + crc32(plain).to_bytes(4, "little") + "café2".encode()
    unicode_path = b"\x75\x70" + len(field).to_bytes(2, "little") + field
    stale = b"\x75\x70\x06\0\x01\0\0\0\0x"
    entries = [
        RawEntry(b"caf\x82", b"1", host=0),
        RawEntry("naïve".encode(), b"2", flags=1 << 11),
        RawEntry("unix-ü".encode(), b"3"),
        RawEntry(b"unix-\x81", b"4"),
        RawEntry(plain, b"5", extra=unicode_path, local_extra=unicode_path),
        RawEntry(b"stale", b"6", extra=stale),
        RawEntry(b"bad-\xff", b"7", flags=1 << 11),
    ]
    expected = {
        "café": b"1", "naïve": b"2", "unix-ü": b"3", "café2": b"5",
        os.fsdecode(b"unix-\x81"): b"4", "stale": b"6", os.fsdecode(b"bad-\xff"): b"7",
    }  # fmt: skip
    found = content_of(RawZip(entries).write(tmp_path / "a.zip"))
    assert found == expected
