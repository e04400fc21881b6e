"""Chunk keys, names that are not data, and keys that no file tree could show."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrfs.errors import InvalidNameError, NameTooLongError
from zarrfs.zarr_format.keys import (
    ChunkKeyEncoding,
    EncodingName,
    Separator,
    check_key,
    is_temporary_name,
    join_key,
    normalize_path,
    split_key,
)

HEX = "0123456789abcdef0123456789abcdef"

encodings = st.builds(
    ChunkKeyEncoding, name=st.sampled_from(["default", "v2"]), separator=st.sampled_from([".", "/"])
)
indices = st.lists(st.integers(0, 10**12), max_size=6).map(tuple)


@pytest.mark.parametrize(
    ("name", "separator", "index", "key"),
    [
        # v3 core, "Chunk key encodings": default
        ("default", "/", (), "c"),
        ("default", "/", (0,), "c/0"),
        ("default", "/", (1, 23, 45), "c/1/23/45"),
        ("default", ".", (), "c"),
        ("default", ".", (1, 23, 45), "c.1.23.45"),
        # v2, of both formats
        ("v2", ".", (), "0"),
        ("v2", ".", (0,), "0"),
        ("v2", ".", (1, 23, 45), "1.23.45"),
        ("v2", "/", (), "0"),
        ("v2", "/", (1, 23, 45), "1/23/45"),
    ],
)
def test_keys_of_the_specifications(
    name: EncodingName, separator: Separator, index: tuple[int, ...], key: str
) -> None:
    encoding = ChunkKeyEncoding(name, separator)
    assert encoding.encode(index) == key
    assert encoding.decode(key, len(index)) == index


@given(encodings, indices)
def test_decoding_undoes_encoding(encoding: ChunkKeyEncoding, index: tuple[int, ...]) -> None:
    key = encoding.encode(index)
    assert encoding.decode(key, len(index)) == index
    assert key.startswith(encoding.chunk_prefix())


@given(encodings, st.integers(0, 4), st.text("0123456789c./-+ _", max_size=10))
def test_what_decodes_is_what_encoding_writes(
    encoding: ChunkKeyEncoding, rank: int, key: str
) -> None:
    index = encoding.decode(key, rank)
    assert index is None or encoding.encode(index) == key


@pytest.mark.parametrize(
    "key",
    [
        "c/0", "c/0/0/0", "c/00/0", "c/0/01", "c/-1/0", "c/+1/0", "c/ 1/0", "c/1/0 ", "c/1/0\n",
        "c/1_0/0", "c/1.0", "c.1.0", "1/0", "c/1/0/", "/c/1/0", "c//0", "c/١/0", "c/1e3/0",
        "c/" + "9" * 5000 + "/0", "C/0/0", "zarr.json", "",
    ],
)  # fmt: skip
def test_decoding_is_strict(key: str) -> None:
    assert ChunkKeyEncoding("default", "/").decode(key, 2) is None


def test_a_scalar_of_format_2_has_one_chunk() -> None:
    encoding = ChunkKeyEncoding("v2", ".")
    assert [encoding.decode(key, 0) for key in ("0", "1", "", "0.0")] == [(), None, None, None]


@pytest.mark.parametrize(
    "name",
    [
        f"0.{HEX}.partial",
        f"zarr.{HEX}.partial",
        f".zarray.{HEX}.partial",
        f"c.0.0.{HEX}.partial",
        "0.0.__lock",
        "zarr.json.__lock",
        "0.0_1a2b3c.__lock",
        "0.0.lock",
        "0.lock.read",
        "c.1.2.lock",
        ".zarray.lock",
        "jl_a1B2c3",
        "jl_a1B2c3d4E5",
        "0#1",
        "zarr.json#12",
        ".0.0.aB3dE6",
        "..zarray.aB3dE6",
        ".fuse_hidden0000000a00000001",
    ],
)
def test_names_of_locks_and_unfinished_writes(name: str) -> None:
    assert is_temporary_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "0", "0.0", "c", ".zarray", "zarr.json", ".gmac", "0.gmac", "my.partial", f"{HEX}.partial",
        f"0.{HEX[:-1]}.partial", f"0.{HEX.upper()}.partial", "yarn.lock", "lock", ".lock",
        "uv.lock.read", "jl_", "jl_12345", "jl_12345678901", "my#1", ".hidden", ".hidden.abcdef",
        "__lock", ".fuse_hidden", ".nfs000000",
    ],
)  # fmt: skip
def test_other_names_are_data(name: str) -> None:
    assert not is_temporary_name(name)


def test_joining_and_splitting() -> None:
    assert join_key("", "a") == "a"
    assert join_key("a/b", "c") == "a/b/c"
    assert join_key("a/b", "") == "a/b"
    assert split_key("a/b/c") == ("a/b", "c")
    assert split_key("a") == ("", "a")


@pytest.mark.parametrize(
    ("path", "prefix"), [("", ""), ("/", ""), ("a", "a"), ("/a/b/", "a/b"), ("a//b", "a/b")]
)
def test_paths_become_prefixes(path: str, prefix: str) -> None:
    assert normalize_path(path) == prefix


@pytest.mark.parametrize("path", ["..", "a/../b", "./a", "a\0"])
def test_paths_that_leave_the_store(path: str) -> None:
    with pytest.raises(InvalidNameError):
        normalize_path(path)


@pytest.mark.parametrize("key", ["", "/", "a/", "/a", "a//b", ".", "a/..", "a\0b", "\ud800"])
def test_invalid_keys(key: str) -> None:
    if key == "\ud800":
        key = "x" * 64 + key  # only names that may be too long are encoded
    with pytest.raises(InvalidNameError):
        check_key(key)


def test_names_are_measured_in_bytes() -> None:
    check_key("é" * 127 + "a")
    check_key(os.fsdecode(b"\xff" * 255))
    for key in ("é" * 128, os.fsdecode(b"\xff" * 256), "a/" + "x" * 256):
        with pytest.raises(NameTooLongError):
            check_key(key)
