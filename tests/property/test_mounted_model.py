"""Random operations on a mount and on a plain folder: the same answers, the same trees.

The model is the file system of this machine. A step that fails must fail with
the same errno on both sides.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.mounted.stores import mounted_store

NAMES = st.sampled_from(["a", "b", "0.0", "zarr.json", "x.partial"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: os.path.join(*names))
DATA = st.binary(max_size=60)
OFFSETS = st.sampled_from([0, 1, 7, 4095, 70_000])

Operation: TypeAlias = Callable[[Path], object]


def write(path: str, data: bytes, flags: int, offset: int) -> Operation:
    def run(root: Path) -> object:
        fd = os.open(root / path, os.O_CREAT | os.O_WRONLY | flags, 0o644)
        try:
            return os.pwrite(fd, data, offset)
        finally:
            os.close(fd)

    return run


def unlink_while_open(path: str, data: bytes) -> Operation:
    def run(root: Path) -> object:
        fd = os.open(root / path, os.O_RDWR)
        try:
            os.unlink(root / path)
            os.pwrite(fd, data, 3)
            return os.pread(fd, 200_000, 0), os.fstat(fd).st_size
        finally:
            os.close(fd)

    return run


def rename_while_open(old: str, new: str, data: bytes) -> Operation:
    def run(root: Path) -> object:
        fd = os.open(root / old, os.O_RDWR)
        try:
            os.rename(root / old, root / new)
            os.pwrite(fd, data, 2)
            return os.pread(fd, 200_000, 0)
        finally:
            os.close(fd)

    return run


FLAGS = st.sampled_from([0, os.O_TRUNC, os.O_EXCL, os.O_APPEND])
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(write, PATHS, DATA, FLAGS, OFFSETS),
    st.builds(lambda p: lambda root: os.mkdir(root / p), PATHS),
    st.builds(lambda p: lambda root: os.makedirs(root / p, exist_ok=True), PATHS),
    st.builds(lambda p: lambda root: os.rmdir(root / p), PATHS),
    st.builds(lambda p: lambda root: os.unlink(root / p), PATHS),
    st.builds(lambda p, q: lambda root: os.rename(root / p, root / q), PATHS, PATHS),
    st.builds(lambda p, q: lambda root: os.link(root / p, root / q), PATHS, PATHS),
    st.builds(lambda p, n: lambda root: os.truncate(root / p, n), PATHS, OFFSETS),
    st.builds(
        lambda p, m: lambda root: os.chmod(root / p, m | 0o700), PATHS, st.integers(0, 0o777)
    ),
    st.builds(lambda p: lambda root: sorted(os.listdir(root / p)), PATHS),
    st.builds(lambda p: lambda root: (root / p).read_bytes(), PATHS),
    st.builds(lambda p: lambda root: (root / p).stat().st_size * (root / p).is_file(), PATHS),
    st.builds(unlink_while_open, PATHS, DATA),
    st.builds(rename_while_open, PATHS, PATHS, DATA),
)


def answer(operation: Operation, root: Path) -> object:
    try:
        return operation(root)
    except OSError as error:
        return f"errno {error.errno}"


def tree(root: Path) -> dict[str, object]:
    """Return everything below a folder: kinds, modes, link counts, contents."""
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(root):
        for name in folders:
            path = Path(folder, name)
            found[str(path.relative_to(root))] = path.stat().st_mode
        for name in files:
            path = Path(folder, name)
            status = path.stat()
            content = path.read_bytes()
            found[str(path.relative_to(root))] = status.st_mode, status.st_nlink, content
    return found


@pytest.fixture(scope="module", params=["memory", "directory"])
def mount(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    # Nothing is judged here: the names are Zarr's, the contents are noise.
    folder = tmp_path_factory.mktemp("model")
    with mounted_store(request.param, "native", folder, "validate=off") as root:
        yield root


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(OPERATIONS, min_size=5, max_size=40))
@pytest.mark.mounted
def test_a_mount_does_what_a_plain_folder_does(mount: Path, operations: list[Operation]) -> None:
    plain = Path(tempfile.mkdtemp(prefix="zarrfs-model-"))
    mounted = Path(tempfile.mkdtemp(dir=mount))
    try:
        for operation in operations:
            assert answer(operation, mounted) == answer(operation, plain)
        assert tree(mounted) == tree(plain)
    finally:
        shutil.rmtree(plain)
        shutil.rmtree(mounted)
