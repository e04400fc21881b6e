"""The zip index against `zipfile`, on archives of any shape."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.scratch import scratch_folder
from tests.unit.storage.zip.raw_zip import RawEntry, RawZip, deflated
from zarrfs.storage.backend import Key
from zarrfs.storage.tree import ROOT, NodeId
from zarrfs.storage.zip.backend import ZipBackend
from zarrfs.storage.zip.compact import compact
from zarrfs.storage.zip.directory import read_directory
from zarrfs.storage.zip.end_record import locate
from zarrfs.storage.zip.hierarchy import build_index
from zarrfs.storage.zip.spans import gather, hash_name, hash_spans, random_prime

component = st.one_of(
    st.sampled_from(
        ["c", "0", "1", "zarr.json", ".zarray", "0.0", "温度", "...", "PK\x01\x02", "a b"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="/\0\\"), min_size=1, max_size=20),
).filter(lambda name: name not in (".", "..") and len(name.encode()) <= 255)
path = st.lists(component, min_size=1, max_size=5).map("/".join)
content = st.one_of(st.binary(max_size=40), st.integers(0, 3000).map(lambda size: b"ab" * size))


@st.composite
def raw_entries(draw: st.DrawFn) -> RawEntry:
    name = draw(path).encode()
    if draw(st.integers(0, 9)) == 0:
        return RawEntry(name + b"/", mode=stat.S_IFDIR | 0o755, flags=1 << 11)
    data = draw(content)
    entry = deflated(name, data) if draw(st.booleans()) else RawEntry(name, data)
    entry.flags = 1 << 11
    entry.zip64 = draw(st.booleans())
    entry.comment = draw(st.sampled_from([b"", b"note", b"PK\x01\x02" * 3]))
    entry.extra = draw(st.sampled_from([b"", b"\x99\x99\x02\0ab", b"UT\x05\0\x01abcd"]))
    entry.local_extra = draw(st.sampled_from([b"", b"\x99\x99\x02\0ab"]))
    return entry


archives = st.builds(
    RawZip,
    entries=st.lists(raw_entries(), max_size=12),
    comment=st.binary(max_size=30).filter(lambda text: b"PK" not in text),
    prefix=st.sampled_from([b"", b"#!/bin/sh\n" * 20]),
    zip64=st.booleans(),
)


def by_zipfile(file: Path) -> dict[str, bytes]:
    """What a reader sees that takes the last of duplicates, and folders over files."""
    files: dict[str, bytes] = {}
    folders: set[str] = set()
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = info.filename.rstrip("/")
            above = name.split("/")[: None if info.is_dir() else -1]
            folders |= {"/".join(above[:depth]) for depth in range(1, len(above) + 1)}
            if not info.is_dir():
                files[name] = archive.read(info)
    return {name: data for name, data in files.items() if name not in folders}


@settings(max_examples=80)
@given(archives)
def test_entries_equal_those_of_zipfile(archive: RawZip) -> None:
    with scratch_folder() as folder:
        file = archive.write(folder / "a.zip")
        expected = by_zipfile(file)
        backend = ZipBackend.open(str(file), read_only=True)
        try:
            found = {key: bytes(backend.get(key)) for key in backend.list_keys(Key(""))}
            assert found == expected
            check_tree(backend)
        finally:
            backend.close()


@settings(max_examples=25)
@given(archives)
def test_compacting_changes_nothing_that_is_seen(archive: RawZip) -> None:
    with scratch_folder() as folder:
        file = archive.write(folder / "a.zip")
        expected = by_zipfile(file)
        result = compact(str(file))
        assert result.after_bytes == file.stat().st_size
        with zipfile.ZipFile(file) as compacted:
            names = compacted.namelist()
            assert len(set(names)) == len(names) and compacted.testzip() is None
            assert compacted.comment == archive.comment
        assert by_zipfile(file) == expected


def check_tree(backend: ZipBackend) -> None:
    """Each node is found under its name, in its folder, and nowhere else."""
    tree, index = backend.file_tree(), backend.archive.index
    seen = {ROOT}
    waiting = [ROOT]
    while waiting:
        nodeid = waiting.pop()
        for name, entry in tree.list_entries(nodeid, 0):
            assert tree.lookup(nodeid, name) == entry
            assert index.parent(entry.nodeid - 1) == nodeid - 1
            assert index.resolve(index.path(entry.nodeid - 1)) == entry.nodeid - 1
            assert entry.nodeid not in seen
            seen.add(entry.nodeid)
            if stat.S_ISDIR(entry.attr.mode):
                waiting.append(entry.nodeid)
    assert seen == set(range(1, tree.max_nodeid + 1))
    assert (np.diff(index.columns["hashes"].astype(np.int64)) >= 0).all()


@settings(max_examples=40)
@given(st.lists(raw_entries(), min_size=1, max_size=12), st.integers(47, 400))
def test_windows_do_not_matter(entries: list[RawEntry], window_bytes: int) -> None:
    with scratch_folder() as folder:
        file = RawZip(entries).write(folder / "a.zip")
        fd = os.open(file, os.O_RDONLY)
        try:
            end = locate(fd, file.stat().st_size, "a.zip")
            trees = [
                build_index(read_directory(fd, end, "a.zip", size))
                for size in (window_bytes, 1 << 20)
            ]
        finally:
            os.close(fd)
    first, second = (
        [
            (index.path(row), index.views["mode"][row], index.views["offset"][row])
            for row in range(index.node_count)
        ]
        for index in trees
    )
    assert first == second


def test_names_with_equal_hashes_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prime so small that every bucket is full of strangers."""
    entries = [
        RawEntry(b"d%d/c.%d" % (number % 7, number), b"%d" % number) for number in range(500)
    ]
    file = RawZip(entries).write(tmp_path / "a.zip")
    monkeypatch.setattr("zarrfs.storage.zip.hierarchy.random_prime", lambda: 13)
    backend = ZipBackend.open(str(file), read_only=True)
    assert len(set(backend.archive.index.columns["hashes"].tolist())) <= 13 * 8
    for entry in entries:
        assert backend.get(Key(entry.name.decode())) == entry.data
    check_tree(backend)
    backend.close()


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=60).map(lambda b: b.replace(b"\0", b"x")), st.integers(0, 2**32 - 1)
        )
    )
)
def test_names_are_hashed_alike_one_by_one_and_at_once(names: list[tuple[bytes, int]]) -> None:
    prime = random_prime()
    texts = [name for name, _ in names]
    lengths = np.array([len(text) for text in texts], np.int64)
    joined = np.frombuffer(b"".join(texts) + bytes(8), np.uint8)
    data, starts = gather(joined, np.cumsum(lengths) - lengths, lengths)
    assert [data[a : a + n].tobytes() for a, n in zip(starts, lengths, strict=True)] == texts
    folders = np.array([folder for _, folder in names], np.uint32)
    first = starts.astype(np.uint32)
    at_once = hash_spans(data, first, first + lengths.astype(np.uint32), folders, prime)
    assert at_once.tolist() == [hash_name(name, folder, prime) for name, folder in names]


def test_more_than_65535_entries_with_and_without_zip64(tmp_path: Path) -> None:
    for zip64 in (False, True):
        entries = [RawEntry(b"%d/%d" % (number % 300, number)) for number in range(66_000)]
        file = RawZip(entries, zip64=zip64).write(tmp_path / "a.zip")
        backend = ZipBackend.open(str(file), read_only=True)
        assert len(list(backend.list_keys(Key("")))) == 66_000
        assert not backend.problems
        node = backend.file_tree().lookup(ROOT, b"299").nodeid
        assert len(backend.file_tree().list_dir(NodeId(node))) == 220
        backend.close()


def test_fields_of_records_are_where_they_should_be() -> None:
    from zarrfs.storage.zip.central import RECORD
    from zarrfs.storage.zip.format import CENTRAL

    values = (b"PK\x01\x02", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)
    record = np.frombuffer(CENTRAL.pack(*values), RECORD)[0]
    assert record.tolist() == (struct.unpack("<L", values[0])[0], *values[1:])
