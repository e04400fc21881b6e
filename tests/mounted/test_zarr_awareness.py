"""A mount knows Zarr: attributes that tell what a path is, writes that are judged."""

from __future__ import annotations

import errno
import json
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounted.stores import FRONTENDS, mounted_store
from tests.suites.posix_support import raises_errno

ARRAY = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4, 4],
    "data_type": "int32",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 2]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    "fill_value": 0,
    "attributes": {},
}
GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {}}
CHUNK = bytes(range(16))


def write_store(root: Path) -> None:
    (root / "zarr.json").write_text(json.dumps(GROUP))
    (root / "a" / "c" / "0").mkdir(parents=True)
    (root / "a" / "zarr.json").write_text(json.dumps(ARRAY))
    (root / "a" / "c" / "0" / "1").write_bytes(CHUNK)
    (root / "notes.txt").write_text("hello")


def zarr_attributes(path: Path) -> dict[str, str]:
    prefix = "user.zarr."
    return {
        name.removeprefix(prefix): os.getxattr(path, name).decode()
        for name in os.listxattr(path)
        if name.startswith(prefix)
    }


@pytest.fixture(scope="module", params=[(f, b) for f in FRONTENDS for b in ("memory", "directory")])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    frontend, backend = request.param
    with mounted_store(backend, frontend, tmp_path_factory.mktemp("store")) as root:
        write_store(root)
        yield root


def test_attributes_tell_what_a_path_is(store: Path) -> None:
    assert zarr_attributes(store) == {"kind": "group", "format": "3"}
    assert zarr_attributes(store / "a") == {
        "kind": "array",
        "format": "3",
        "shape": "[4, 4]",
        "chunks": "[2, 2]",
        "dtype": "int32",
        "codecs": '["bytes"]',
    }
    assert zarr_attributes(store / "zarr.json") == {"kind": "metadata"}
    assert zarr_attributes(store / "a" / "c" / "0" / "1") == {"kind": "chunk"}
    assert zarr_attributes(store / "a" / "c") == {}
    assert zarr_attributes(store / "notes.txt") == {}


def test_attributes_cannot_be_changed(store: Path) -> None:
    for path in (store, store / "notes.txt"):
        with raises_errno(errno.EPERM):
            os.setxattr(path, "user.zarr.kind", b"array")
        with raises_errno(errno.EPERM, errno.ENODATA):
            os.removexattr(path, "user.zarr.kind")
    with raises_errno(errno.ENODATA):
        os.getxattr(store / "notes.txt", "user.zarr.kind")


def test_attributes_follow_the_document(store: Path) -> None:
    (store / "b").mkdir()
    assert zarr_attributes(store / "b") == {}
    (store / "b" / "zarr.json").write_text(json.dumps(ARRAY | {"shape": [8, 8]}))
    deadline = 300
    while zarr_attributes(store / "b").get("shape") != "[8, 8]":  # known for a second
        deadline -= 1
        assert deadline
        subprocess.run(["sleep", "0.1"], check=True)
    shutil.rmtree(store / "b")


WRITER = """
import os, sys
key, fill, rounds = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
for n in range(rounds):
    name = f"{key}.{fill.decode()}.partial"
    with open(name, "wb") as file:
        file.write(fill * 50_000)
    os.rename(name, key)
"""


@pytest.mark.parametrize("backend", ["memory", "directory"])
def test_two_writers_of_one_chunk_leave_one_of_its_values(backend: str, tmp_path: Path) -> None:
    # libfuse forgets the path of a file whose name was just taken: native only.
    with mounted_store(backend, "native", tmp_path) as root:
        race_for_one_name(root)


def race_for_one_name(root: Path) -> None:
    chunk = root / "w"
    chunk.write_bytes(b"0" * 50_000)
    command = [sys.executable, "-c", WRITER, str(chunk)]
    writers = [subprocess.Popen([*command, fill, "40"]) for fill in ("a", "b")]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        content = chunk.read_bytes()
        assert len(content) == 50_000
        assert content == content[:1] * 50_000
        seen.add(content[:1])
    assert [writer.returncode for writer in writers] == [0, 0]
    assert chunk.read_bytes()[:1] in (b"a", b"b")
    assert os.listdir(root) == ["w"]


@pytest.mark.skipif(shutil.which("getfattr") is None, reason="optional: no getfattr here")
def test_getfattr_shows_them(store: Path) -> None:
    shown = subprocess.run(
        ["getfattr", "-d", "a"], cwd=store, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert 'user.zarr.kind="array"' in shown
    assert 'user.zarr.shape="[4, 4]"' in shown


@pytest.fixture(scope="module", params=["memory", "directory"])
def strict(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("strict")
    with mounted_store(request.param, "native", folder, "validate=strict") as root:
        write_store(root)
        yield root


def write_and_close(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def test_strict_refuses_a_wrong_chunk_and_keeps_the_old(strict: Path) -> None:
    chunk = strict / "a" / "c" / "0" / "1"
    with raises_errno(errno.EINVAL):
        write_and_close(chunk, b"too short")
    assert chunk.read_bytes() == CHUNK
    assert chunk.stat().st_size == len(CHUNK)
    with open(chunk, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[:] == CHUNK


def test_strict_refuses_a_document_that_does_not_parse(strict: Path) -> None:
    document = strict / "a" / "zarr.json"
    before = document.read_bytes()
    with raises_errno(errno.EINVAL):
        write_and_close(document, before[:-9])
    assert document.read_bytes() == before
    write_and_close(document, before + b"\n")
    assert document.read_bytes() == before + b"\n"


def test_strict_leaves_nothing_of_what_was_not_there(strict: Path) -> None:
    for path in (strict / "a" / "c" / "0" / "0", strict / "a" / "c" / ".zattrs"):
        with raises_errno(errno.EINVAL):
            write_and_close(path, b"{")
        assert not path.exists()
        assert path.name not in os.listdir(path.parent)


def test_strict_refuses_by_rename(strict: Path) -> None:
    temporary = strict / "a" / "c" / "0" / ("1." + "0" * 32 + ".partial")
    temporary.write_bytes(b"short")
    with raises_errno(errno.EINVAL):
        os.rename(temporary, strict / "a" / "c" / "0" / "1")
    assert (strict / "a" / "c" / "0" / "1").read_bytes() == CHUNK
    temporary.write_bytes(CHUNK[::-1])
    os.rename(temporary, strict / "a" / "c" / "0" / "1")
    assert (strict / "a" / "c" / "0" / "1").read_bytes() == CHUNK[::-1]
    (strict / "a" / "c" / "0" / "1").write_bytes(CHUNK)


def test_strict_fsync_judges(strict: Path) -> None:
    chunk = strict / "a" / "c" / "0" / "1"
    fd = os.open(chunk, os.O_RDWR)
    try:
        os.pwrite(fd, b"x", len(CHUNK))
        with raises_errno(errno.EINVAL):
            os.fsync(fd)
        os.ftruncate(fd, len(CHUNK))
        os.fsync(fd)
    finally:
        os.close(fd)
    assert chunk.read_bytes() == CHUNK
