"""Reading entries: caches, streams, checksums, and archives that change underneath."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.unit.storage.zip.raw_zip import RawEntry, RawZip, deflated
from zarrfs.errors import CorruptError, UnsupportedError
from zarrfs.storage.backend import Key
from zarrfs.storage.zip import checksums, streams
from zarrfs.storage.zip.backend import ZipBackend
from zarrfs.storage.zip.decoded_cache import DecodedCache
from zarrfs.storage.zip.decoders import DecodeError, zstd_bound
from zarrfs.storage.zip.passing import Passing
from zarrfs.storage.zip.streams import EntryStream


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def large(size: int, seed: int = 1) -> bytes:
    """Compressible, and different everywhere."""
    return np.arange(seed, seed + size // 8, dtype="<u8").tobytes()


def open_zip(tmp_path: Path, *entries: RawEntry, cache_bytes: int = 1 << 20) -> ZipBackend:
    path = RawZip(list(entries)).write(tmp_path / "a.zip")
    return ZipBackend.open(str(path), read_only=True, cache_bytes=cache_bytes)


def test_stored_entries_are_not_copied(tmp_path: Path) -> None:
    backend = open_zip(tmp_path, RawEntry(b"a", noise(100_000)))
    first = backend.get(Key("a"))
    assert isinstance(first, memoryview) and first.readonly
    assert first == noise(100_000)
    assert backend.get(Key("a"), 5, 10) == noise(100_000)[5:10]
    backend.close()
    assert first == noise(100_000)  # what was handed out stays readable


def test_a_stored_entry_read_in_pieces_is_checked(tmp_path: Path) -> None:
    content = noise(50_000)
    backend = open_zip(tmp_path, RawEntry(b"good", content), RawEntry(b"bad", content, crc=5))
    pieces = [(start, start + 1000) for start in range(0, 50_000, 1000)]
    random.Random(2).shuffle(pieces)
    for start, stop in pieces:
        assert backend.get(Key("good"), start, stop) == content[start:stop]
    for start, stop in pieces[:-1]:
        assert backend.get(Key("bad"), start, stop) == content[start:stop]
    for start, stop in (pieces[-1], pieces[0], (7, 8)):
        with pytest.raises(CorruptError, match="checksum"):
            backend.get(Key("bad"), start, stop)
    backend.close()


def test_pieces_in_any_order_and_overlapping() -> None:
    content = noise(1000)
    passing = Passing()
    parts = [(0, 10), (5, 20), (500, 1000), (10, 300), (400, 500), (300, 400), (0, 10)]
    whole = [passing.saw(1, a, b, zlib.crc32(content[a:b]), 1000) for a, b in parts[:-1]]
    assert whole == [None] * 5 + [zlib.crc32(content)]
    assert passing.saw(1, 0, 10, zlib.crc32(content[:10]), 1000) is None


def test_combined_checksums() -> None:
    for size in (0, 1, 7, 64, 100_000):
        first, second = noise(123, 1), noise(size, 2)
        combined = checksums._combine(zlib.crc32(first), zlib.crc32(second), size)
        assert combined == zlib.crc32(first + second) == checksums.crc32(first + second, 0)
        assert checksums.crc32_combine(zlib.crc32(first), zlib.crc32(second), size) == combined


def test_decompressed_entries_are_kept_while_they_fit(tmp_path: Path) -> None:
    entries = [deflated(b"%d" % number, large(100_000, number)) for number in range(30)]
    backend = open_zip(tmp_path, *entries, cache_bytes=1 << 20)
    cache = backend.archive.content._cache
    for _ in range(2):
        for number in range(30):
            assert backend.get(Key(str(number))) == large(100_000, number)
            assert cache.kept_bytes <= 1 << 20
    assert cache.kept_bytes > 900_000
    backend.close()


def test_one_decompression_for_all_who_wait() -> None:
    cache = DecodedCache(1000)
    calls = []
    go_on = threading.Event()

    def decode() -> bytes:
        calls.append(1)
        assert go_on.wait(60)
        return b"x" * 10

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(cache.get, 1, decode) for _ in range(4)]
        go_on.set()
        assert [future.result(60) for future in waiting] == [b"x" * 10] * 4
    assert cache.get(1, decode) == b"x" * 10
    # A thread that came after the first had finished finds it kept.
    assert len(calls) == 1


def test_a_failed_decompression_is_not_kept() -> None:
    cache = DecodedCache(1000)

    def fail() -> bytes:
        raise CorruptError("entry")

    for _ in range(2):
        with pytest.raises(CorruptError):
            cache.get(1, fail)
    assert cache.get(1, lambda: b"good") == b"good"
    assert cache.get(2, lambda: bytes(2000)) == bytes(2000)
    assert cache.kept_bytes == 4


@pytest.fixture
def small_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that keep a tenth of what they usually do."""
    monkeypatch.setattr(streams, "_RECENT_BYTES", 800 << 10)
    monkeypatch.setattr(streams, "_PIECE_BYTES", 100 << 10)
    monkeypatch.setattr(streams, "_FIRST_SPACING_BYTES", 800 << 10)
    monkeypatch.setattr(streams, "_MAX_PLACES", 4)


@pytest.mark.parametrize("order", ["forward", "backward", "random", "almost forward"])
@pytest.mark.usefixtures("small_streams")
def test_entries_larger_than_the_cache(tmp_path: Path, order: str) -> None:
    content, step = large(6 << 20), 100 << 10
    backend = open_zip(tmp_path, deflated(b"big", content), cache_bytes=1 << 20)
    starts = list(range(0, len(content), step))
    if order == "backward":
        starts.reverse()
    elif order == "random":
        random.Random(3).shuffle(starts)
    elif order == "almost forward":
        starts = [start ^ (1 << 20) for start in starts]
    for start in starts:
        assert backend.get(Key("big"), start, start + step) == content[start : start + step]
    assert backend.get(Key("big"), 12345, 12346) == content[12345:12346]
    assert backend.archive.content._cache.kept_bytes == 0
    backend.close()


def test_a_sequential_read_decompresses_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    produced = 0
    produce = EntryStream._produce

    def counted(stream: EntryStream, *arguments: object) -> bytes:
        nonlocal produced
        data = produce(stream, *arguments)  # type: ignore[arg-type]  # passed on
        produced += len(data)
        return data

    monkeypatch.setattr(EntryStream, "_produce", counted)
    content = large(3 << 20)
    backend = open_zip(tmp_path, deflated(b"big", content), cache_bytes=1 << 20)
    for start in range(0, len(content), 100_000):
        backend.get(Key("big"), start, start + 100_000)
    assert produced == len(content)
    backend.close()


@pytest.mark.parametrize("method", ["bz2", "lzma"])
def test_large_entries_of_other_methods(tmp_path: Path, method: str) -> None:
    import zipfile

    content = large(1 << 20)
    compression = zipfile.ZIP_BZIP2 if method == "bz2" else zipfile.ZIP_LZMA
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("big", content)
    backend = ZipBackend.open(str(path), read_only=True, cache_bytes=1 << 18)
    for start in (0, 1 << 19, 5, 1 << 18):
        assert backend.get(Key("big"), start, start + 5000) == content[start : start + 5000]
    assert backend.get(Key("big")) == content
    backend.close()


def test_large_entries_that_lie(tmp_path: Path) -> None:
    content = large(3 << 20)
    short = deflated(b"short", content, usize=len(content) - 16)
    long = deflated(b"long", content, usize=len(content) + 16)
    wrong = deflated(b"wrong", content, crc=1)
    cut = deflated(b"cut", content)
    cut.data = cut.data[: len(cut.data) // 2]
    backend = open_zip(tmp_path, short, long, wrong, cut, cache_bytes=1 << 20)
    for name in ("short", "long", "wrong", "cut"):
        size = backend.stat(Key(name)).size_bytes
        assert backend.get(Key(name), 0, 100) == content[:100]
        with pytest.raises(CorruptError):
            backend.get(Key(name), size - 100, size)
    backend.close()


def test_zstd_needs_a_bound() -> None:
    zstd = pytest.importorskip("numcodecs.zstd")
    frame = zstd.compress(b"x" * 1_000_000, 1)
    assert zstd_bound(frame) == 1_000_000
    assert zstd_bound(frame + b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + frame) == 2_000_000
    for wrong in (frame[:-1], b"\0" * 10, frame + b"x", frame[:5]):
        with pytest.raises(DecodeError):
            zstd_bound(wrong)


def test_a_zstd_bomb(tmp_path: Path) -> None:
    """A frame of run-length blocks, 128 KiB for every four bytes, that claims 10 bytes."""
    block = (1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"x"
    last = (1 | 1 << 1 | 10 << 3).to_bytes(3, "little") + b"x"
    frame = b"\x28\xb5\x2f\xfd" + b"\0\x58" + block * 10_000 + last
    bomb = RawEntry(b"bomb", frame, method=93, usize=10)
    backend = open_zip(tmp_path, bomb)
    with pytest.raises(CorruptError, match="decompress"):
        backend.get(Key("bomb"))
    backend.close()


def test_large_zstd_entries_say_what_is_missing(tmp_path: Path) -> None:
    zstd = pytest.importorskip("numcodecs.zstd")
    content = large(3 << 20)
    entry = deflated(b"big", content, data=zstd.compress(content, 1), method=93)
    roomy = open_zip(tmp_path, entry, cache_bytes=4 << 20)
    assert roomy.get(Key("big")) == content
    roomy.close()
    tight = open_zip(tmp_path, entry, cache_bytes=1 << 20)
    try:
        assert tight.get(Key("big")) == content
    except CorruptError as error:
        pytest.fail(str(error))
    except UnsupportedError as error:
        assert "backports.zstd" in str(error)
    tight.close()


def test_an_lzma_dictionary_of_4_gib_is_not_allocated(tmp_path: Path) -> None:
    import lzma

    content = b"small" * 100
    chain = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}]
    packer = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=chain)
    packed = packer.compress(content) + packer.flush()
    head = b"\x09\x04\x05\0" + bytes([(2 * 5 + 0) * 9 + 3]) + b"\xff\xff\xff\xff"
    backend = open_zip(tmp_path, deflated(b"x", content, data=head + packed, method=14))
    tracemalloc.start()
    try:
        assert backend.get(Key("x")) == content
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10 << 20
    backend.close()


def test_an_archive_that_is_cut_off_while_open(tmp_path: Path) -> None:
    """In a process of its own: what goes wrong here is SIGBUS."""
    entries = [
        RawEntry(b"a", noise(1 << 20)),
        deflated(b"b", large(1 << 20)),
        RawEntry(b"read before", noise(1 << 20)),
    ]
    path = RawZip(entries).write(tmp_path / "a.zip")
    program = f"""
import os
from zarrfs.errors import CorruptError
from zarrfs.storage.zip.backend import ZipBackend
backend = ZipBackend.open({str(path)!r}, read_only=True)
backend.get("read before")
os.truncate({str(path)!r}, 100)
for key in ("a", "b", "read before"):
    try:
        backend.get(key)
    except CorruptError as error:
        assert "cut off" in str(error)
    else:
        raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    backend = open_zip(tmp_path, RawEntry(b"a", b"1"))
    path = backend.archive.path
    assert path in open_files()
    backend.get(Key("a"))
    backend.close()
    assert path not in open_files()
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(CorruptError):
        ZipBackend.open(path, read_only=True)
    assert path not in open_files()


def open_files() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return found
