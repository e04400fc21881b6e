"""Sizes and opcode numbers are those of the kernel's header."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zarrfs.fuse_protocol import structs
from zarrfs.fuse_protocol.flags import InitFlags
from zarrfs.fuse_protocol.opcodes import WIRE, Opcode

HEADER = Path("/usr/include/linux/fuse.h")

SIZES = {
    "IN_HEADER": 40, "OUT_HEADER": 16, "FORGET_IN": 8, "BATCH_FORGET_IN": 8, "FORGET_ONE": 16,
    "GETATTR_IN": 16, "SETATTR_IN": 88, "MKNOD_IN": 16, "MKDIR_IN": 8, "RENAME_IN": 8,
    "RENAME2_IN": 16, "LINK_IN": 8, "OPEN_IN": 8, "CREATE_IN": 16, "READ_IN": 20, "WRITE_IN": 40,
    "RELEASE_IN": 24, "FLUSH_IN": 24, "FSYNC_IN": 16, "SETXATTR_IN": 8, "GETXATTR_IN": 8,
    "ACCESS_IN": 8, "INIT_IN": 16, "INIT_IN_EXT": 64, "INTERRUPT_IN": 8, "FALLOCATE_IN": 32,
    "LSEEK_IN": 24, "COPY_FILE_RANGE_IN": 56, "ENTRY_OUT": 128, "ATTR_OUT": 104, "OPEN_OUT": 16,
    "WRITE_OUT": 8, "STATFS_OUT": 80, "GETXATTR_OUT": 8, "LSEEK_OUT": 8, "INIT_OUT_22": 24,
    "INIT_OUT": 64, "DIRENT": 24, "NOTIFY_INVAL_INODE_OUT": 24, "NOTIFY_INVAL_ENTRY_OUT": 16,
    "NOTIFY_DELETE_OUT": 24, "BACKING_MAP": 16,
}  # fmt: skip


def test_every_struct_has_the_size_that_its_comment_says() -> None:
    sizes = {name: value.size for name, value in vars(structs).items() if name.isupper()
             and hasattr(value, "size")}  # fmt: skip
    assert sizes == SIZES


def test_the_table_has_one_row_for_each_opcode_it_names() -> None:
    assert all(row.opcode is opcode for opcode, row in WIRE.items())


@pytest.mark.skipif(not HEADER.exists(), reason="the kernel's headers are not installed")
def test_numbers_agree_with_the_installed_header() -> None:
    text = HEADER.read_text()
    opcodes = dict(re.findall(r"FUSE_(\w+)\s*= (\d+),", text.partition("enum fuse_opcode")[2]))
    ours = {opcode.name: int(opcode) for opcode in Opcode}
    shared = ours.keys() & opcodes.keys()
    assert len(shared) > 40
    assert {name: ours[name] for name in shared} == {name: int(opcodes[name]) for name in shared}
    flags = {name: int(bit) for name, bit in re.findall(r"FUSE_(\w+)\s*\(1U?L?L? << (\d+)\)", text)}
    for flag in InitFlags:
        assert flag.name is not None
        if flag.name in flags:
            assert flag == 1 << flags[flag.name]
