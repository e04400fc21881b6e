"""Damaged archives: an error of ours or a correct answer, and never anything else."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.scratch import scratch_folder
from tests.unit.storage.zip.raw_zip import RawEntry, RawZip, deflated
from zarrfs.errors import ZarrfsError
from zarrfs.storage.backend import Key
from zarrfs.storage.tree import ROOT
from zarrfs.storage.zip.backend import ZipBackend
from zarrfs.storage.zip.compact import compact
from zarrfs.storage.zip.repair import repair

ORIGINAL = RawZip(
    [
        RawEntry(b"zarr.json", b"{}" * 20),
        deflated(b"t/c/0/0", b"first" * 100),
        RawEntry(b"t/c/0/1", b"second", zip64=True),
        RawEntry(b"t/", b""),
        RawEntry(b"t/zarr.json", b"x", extra=b"UT\x05\0\x01abcd", comment=b"note"),
        RawEntry(b"link", b"zarr.json", mode=0o120777),
    ],
    comment=b"a comment",
    zip64=True,
).build()
CONTENTS = {
    b"{}" * 20, b"first" * 100, b"second", b"x", b"zarr.json",
}  # fmt: skip
DIRECTORY = ORIGINAL.index(b"PK\x01\x02")

edits = st.lists(
    st.tuples(
        st.one_of(st.integers(0, len(ORIGINAL) - 1), st.integers(DIRECTORY, len(ORIGINAL) - 1)),
        st.one_of(
            st.integers(0, 255).map(lambda byte: bytes([byte])),
            st.sampled_from(
                [b"\xff\xff", b"\0\0\0\0", b"\xff" * 8, b"PK\x01\x02", b"PK\x05\x06", b"../"]
            ),
        ),
    ),
    max_size=4,
)


def read_everything(path: Path) -> list[bytes]:
    """Walk an archive by keys and by nodes; return every content that was served."""
    served = []
    backend = ZipBackend.open(str(path), read_only=True)
    try:
        for key in backend.list_keys(Key("")):
            assert backend.stat(key).size_bytes >= 0
            try:
                served.append(bytes(backend.get(key)))
            except ZarrfsError:
                continue
        tree = backend.file_tree()
        for name, entry in tree.list_entries(ROOT, 0):
            assert tree.lookup(ROOT, name) == entry
        assert len(list(tree.list_dir(ROOT))) < 100
    finally:
        backend.close()
    return served


def check(data: bytes) -> None:
    with scratch_folder() as folder:
        path = folder / "a.zip"
        path.write_bytes(data)
        with suppress(ZarrfsError):
            repair(str(path), dry_run=True)
        assert path.read_bytes() == data
        try:
            served = read_everything(path)
        except ZarrfsError as error:
            assert str(path) in str(error)
            return
        # A CRC-32 stands before every content, whatever the directory says.
        assert set(served) <= CONTENTS | {b""}


@settings(max_examples=200)
@given(edits)
def test_edited_archives(edited: list[tuple[int, bytes]]) -> None:
    data = bytearray(ORIGINAL)
    for position, replacement in edited:
        data[position : position + len(replacement)] = replacement
    check(bytes(data))


@settings(max_examples=150)
@given(st.integers(0, len(ORIGINAL)), st.integers(0, len(ORIGINAL)), st.binary(max_size=8))
def test_cut_and_spliced_archives(start: int, stop: int, between: bytes) -> None:
    check(ORIGINAL[:start] + between + ORIGINAL[stop:])


@settings(max_examples=50)
@given(edits)
def test_repaired_and_compacted_archives(edited: list[tuple[int, bytes]]) -> None:
    """Whatever repair and compacting make of it, every content served is a right one."""
    data = bytearray(ORIGINAL[:DIRECTORY])
    for position, replacement in edited:
        data[position : position + len(replacement)] = replacement
    with scratch_folder() as folder:
        path = folder / "a.zip"
        path.write_bytes(data)
        for change in (repair, compact):
            with suppress(ZarrfsError):
                change(str(path))
            with suppress(ZarrfsError):
                assert set(read_everything(path)) <= CONTENTS | {b""}


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_bytes_that_end_like_an_archive(junk: bytes) -> None:
    end = ORIGINAL[ORIGINAL.rindex(b"PK\x06\x06") :]
    check(junk + end)
