"""Records on the file: their bytes, and that damage is noticed."""

from __future__ import annotations

import pytest

from zarrfs.storage.inodes import records
from zarrfs.storage.inodes.records import Layout, Record, decode, encode

LINK = bytes.fromhex(
    "f55a"  # magic
    "02"  # type: Link
    "00"
    "20000000"  # payload length 32
    "4b8201e7"  # crc32 of all but itself
    "0700000000000000"  # nodeid 7
    "0100000000000000"  # parent 1
    "0500000000000000"  # time_ns 5
    "04000000"  # length of the name
    "6e616d65"  # "name"
)


def test_layout_of_a_record() -> None:
    record = records.Link(nodeid=7, parent=1, time_ns=5, name=b"name")
    assert encode(record) == LINK
    assert decode(LINK, 0) == (record, len(LINK))


@pytest.mark.parametrize("layout", Layout.by_type.values(), ids=lambda it: it.record.__name__)
def test_every_record_comes_back(layout: Layout) -> None:
    count = len(layout.record._fields)
    strings = [b"", b"name", b"\xff" * 300, b"x"][: count - layout.integers]
    record = layout.record(*range(1, layout.integers + 1), *strings)
    found = decode(b"junk" + encode(record), 4)
    assert found is not None
    assert found[0] == record
    assert type(found[0]) is layout.record


def test_every_record_class_has_a_layout() -> None:
    assert set(Layout.by_class) == set(Record.__args__)


def test_times_before_1970_are_kept() -> None:
    record = records.SetAttr(2, 0o100644, 0, 0, 0, -1, -(10**18), 10**18)
    found = decode(encode(record), 0)
    assert found is not None
    assert found[0] == record


def test_damage_and_truncation_are_noticed() -> None:
    for index in range(len(LINK)):
        damaged = bytearray(LINK)
        damaged[index] ^= 0x10
        assert decode(bytes(damaged), 0) is None, index
        assert decode(LINK[:index], 0) is None, index
    assert decode(bytes(100), 0) is None
