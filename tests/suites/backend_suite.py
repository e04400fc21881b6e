"""Every promise of `zarrfs.storage.backend.Backend`, as tests.

A backend's test subclasses `BackendSuite` and says how to make an empty one:

    class TestMine(BackendSuite):
        def make(self, folder): return MyBackend.init(str(folder / "store"))
        def reopen(self, folder, *, read_only): return MyBackend.open(...)
"""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zarrfs.errors import (
    InvalidNameError,
    IsAFolderError,
    KeyNotFoundError,
    NameTooLongError,
    NotAFolderError,
    ReadOnlyError,
    WrongKindError,
)
from zarrfs.storage.backend import Backend, Key, Listed

DEADLINE_S = 60.0

ODD_NAMES = [
    "with space",
    " leading and trailing ",
    "ünïcødé",
    "温度",
    "'quotes\" & $signs`",
    "line\nbreak",
    "...",
    "-rf",
    os.fsdecode(b"not utf-8: \xff\xfe"),
]
INVALID_KEYS = ["", "/", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "../a", "a\0b"]


def keys_of(backend: Backend, prefix: str = "") -> list[str]:
    return sorted(backend.list_keys(Key(prefix)))


def names_of(backend: Backend, prefix: str = "") -> list[tuple[str, bool]]:
    return sorted((child.name, child.is_prefix) for child in backend.list_dir(Key(prefix)))


def value_of(backend: Backend, key: str) -> bytes:
    return bytes(backend.get(Key(key)))


class BackendSuite(ABC):
    """What a backend promises."""

    rounds = 40
    """How often the concurrent tests repeat."""
    name_max_bytes = 255
    """The longest name it keeps; less than 255 only where it cannot be helped."""

    @abstractmethod
    def make(self, folder: Path) -> Backend:
        """Return a new, empty, writable backend; a persistent one lives below `folder`."""

    def reopen(self, folder: Path, *, read_only: bool) -> Backend | None:
        """Open what `make` made there and was closed; None when nothing persists."""
        return None

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[Backend]:
        backend = self.make(tmp_path)
        try:
            yield backend
        finally:
            backend.close()

    def test_it_is_a_backend(self, backend: Backend) -> None:
        assert isinstance(backend, Backend)
        assert backend.kind
        assert backend.location
        assert not backend.read_only
        assert not backend.static

    def test_a_new_store_is_empty(self, backend: Backend) -> None:
        assert keys_of(backend) == []
        assert names_of(backend) == []

    @pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
    def test_a_value_is_read_back(
        self, backend: Backend, form: Callable[[bytes], bytes | bytearray | memoryview]
    ) -> None:
        backend.set(Key("a/b/0.0"), form(b"value"))
        backend.set(Key("empty"), form(b""))
        assert value_of(backend, "a/b/0.0") == b"value"
        assert value_of(backend, "empty") == b""
        assert backend.stat(Key("a/b/0.0")).size_bytes == 5
        assert backend.stat(Key("empty")).size_bytes == 0

    def test_a_value_is_not_the_callers_buffer(self, backend: Backend) -> None:
        data = bytearray(b"before")
        backend.set(Key("key"), data)
        data[:] = b"after!"
        assert value_of(backend, "key") == b"before"

    @pytest.mark.parametrize(
        ("start", "stop"),
        [(0, None), (0, 10), (2, 5), (3, None), (4, 4), (0, 0), (8, 99), (10, None), (50, 99)],
    )
    def test_ranges_are_cut_at_the_end(
        self, backend: Backend, start: int, stop: int | None
    ) -> None:
        backend.set(Key("key"), b"0123456789")
        assert bytes(backend.get(Key("key"), start, stop)) == b"0123456789"[start:stop]

    def test_replacing_changes_value_size_and_time(self, backend: Backend) -> None:
        key = Key("a/key")
        backend.set(key, b"first")
        first = backend.stat(key)
        assert backend.stat(key) == first
        backend.set(key, b"the second")
        assert value_of(backend, key) == b"the second"
        assert backend.stat(key).size_bytes == 10
        deadline = time.monotonic() + DEADLINE_S
        while backend.stat(key).mtime_ns == first.mtime_ns:  # a coarse file system clock
            assert time.monotonic() < deadline
            backend.set(key, b"the second")
        assert keys_of(backend) == [key]

    @pytest.mark.parametrize("key", ["absent", "a/absent", "a", "a/key/below"])
    def test_what_is_no_key_is_not_found(self, backend: Backend, key: str) -> None:
        backend.set(Key("a/key"), b"value")
        with pytest.raises(KeyNotFoundError):
            backend.get(Key(key))
        with pytest.raises(KeyNotFoundError):
            backend.get(Key(key), 1, 1)
        with pytest.raises(KeyNotFoundError):
            backend.stat(Key(key))
        with pytest.raises(KeyNotFoundError):
            backend.delete(Key(key))
        assert keys_of(backend) == ["a/key"]

    def test_a_value_has_no_children(self, backend: Backend) -> None:
        backend.set(Key("a/key"), b"value")
        with pytest.raises(NotAFolderError):
            backend.set(Key("a/key/below"), b"")
        with pytest.raises(NotAFolderError):
            backend.set(Key("a/key/far/below"), b"")
        assert keys_of(backend) == ["a/key"]
        assert value_of(backend, "a/key") == b"value"

    def test_a_folder_has_no_value(self, backend: Backend) -> None:
        backend.set(Key("a/b/key"), b"value")
        for key in ("a", "a/b"):
            with pytest.raises(IsAFolderError):
                backend.set(Key(key), b"")
        assert keys_of(backend) == ["a/b/key"]

    def test_deleting_removes_the_folders_it_empties(self, backend: Backend) -> None:
        for key in ("a/b/c/1", "a/b/c/2", "a/d"):
            backend.set(Key(key), b"value")
        backend.delete(Key("a/b/c/1"))
        assert names_of(backend, "a/b") == [("c", True)]
        backend.delete(Key("a/b/c/2"))
        assert names_of(backend, "a") == [("d", False)]
        backend.delete(Key("a/d"))
        assert names_of(backend) == []
        backend.set(Key("a"), b"a value where a folder was")
        assert keys_of(backend) == ["a"]

    def test_listing_a_folder(self, backend: Backend) -> None:
        for key in ("a/x", "a/b/y", "a/b/z", "ab/w", "a.b", "top"):
            backend.set(Key(key), b"")
        assert names_of(backend) == [("a", True), ("a.b", False), ("ab", True), ("top", False)]
        assert names_of(backend, "a") == [("b", True), ("x", False)]
        assert names_of(backend, "a/x") == []
        assert names_of(backend, "absent") == []
        assert all(isinstance(child, Listed) for child in backend.list_dir(Key("")))

    def test_listing_all_keys_below(self, backend: Backend) -> None:
        keys = ["a.b", "a/b/y", "a/b/z", "a/x", "ab/w", "top"]
        for key in keys:
            backend.set(Key(key), b"")
        assert keys_of(backend) == keys
        assert keys_of(backend, "a") == ["a/b/y", "a/b/z", "a/x"]
        assert keys_of(backend, "a/b") == ["a/b/y", "a/b/z"]
        assert keys_of(backend, "absent") == []

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_are_kept(self, backend: Backend, name: str) -> None:
        backend.set(Key(f"{name}/{name}"), name.encode("utf-8", "surrogateescape"))
        backend.set(Key("plain"), b"")
        assert names_of(backend) == sorted([(name, True), ("plain", False)])
        assert keys_of(backend, name) == [f"{name}/{name}"]
        value = value_of(backend, f"{name}/{name}")
        assert value == name.encode("utf-8", "surrogateescape")
        backend.delete(Key(f"{name}/{name}"))
        assert keys_of(backend) == ["plain"]

    def test_long_names_are_kept(self, backend: Backend) -> None:
        ascii_name, other_name = "n" * self.name_max_bytes, "é" * (self.name_max_bytes // 2)
        keys = sorted([f"{ascii_name}/{other_name}", f"{other_name}/{ascii_name}"])
        for key in keys:
            backend.set(Key(key), key.encode())
        assert keys_of(backend) == keys
        assert all(value_of(backend, key) == key.encode() for key in keys)

    @pytest.mark.parametrize("key", INVALID_KEYS)
    def test_invalid_keys_are_refused(self, backend: Backend, key: str) -> None:
        with pytest.raises((InvalidNameError, WrongKindError)):
            backend.set(Key(key), b"value")
        assert keys_of(backend) == []

    def test_names_have_a_limit(self, backend: Backend) -> None:
        for key in ("n" * 256, "a/" + "é" * 128, "n" * 256 + "/a"):
            with pytest.raises(NameTooLongError):
                backend.set(Key(key), b"value")
            with pytest.raises((KeyNotFoundError, InvalidNameError)):
                backend.get(Key(key))
        assert keys_of(backend) == []

    def test_nothing_outside_the_store_is_reached(self, backend: Backend, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"secret")
        backend.set(Key("a/key"), b"value")
        for key in ("../secret", "a/../../secret", str(tmp_path / "secret"), "a/../key"):
            for call in (backend.get, backend.stat, backend.delete):
                with pytest.raises((KeyNotFoundError, InvalidNameError)):
                    call(Key(key))
        for prefix in ("..", "a/..", str(tmp_path)):
            assert names_of(backend, prefix) == []
            assert keys_of(backend, prefix) == []
        assert (tmp_path / "secret").read_bytes() == b"secret"

    def test_large_values(self, backend: Backend) -> None:
        data = os.urandom(1 << 20) * 24
        backend.set(Key("large"), data)
        assert backend.stat(Key("large")).size_bytes == len(data)
        assert bytes(backend.get(Key("large"), 23 << 20, (23 << 20) + 9)) == data[:9]
        assert value_of(backend, "large") == data

    def test_a_reader_sees_whole_values_only(self, backend: Backend) -> None:
        key, size = Key("a/key"), 100_000
        backend.set(key, bytes(size))
        done = threading.Event()

        def write(first: int) -> None:
            for n in range(self.rounds):
                backend.set(key, bytes([first + n % 100]) * size)

        def read() -> int:
            seen = 0
            while not done.is_set() or not seen:
                value = bytes(backend.get(key))
                assert value == value[:1] * size
                seen += 1
            return seen

        with ThreadPoolExecutor(4) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            writers = [pool.submit(write, first) for first in (1, 101)]
            try:
                for writer in writers:
                    writer.result(DEADLINE_S)
            finally:
                done.set()
            assert all(reader.result(DEADLINE_S) for reader in readers)

    def test_making_and_pruning_the_same_folders_at_once(self, backend: Backend) -> None:
        def come_and_go(me: int) -> None:
            for n in range(self.rounds):
                key = Key(f"shared/deep/{me}.{n}")
                backend.set(key, b"value")
                assert value_of(backend, key) == b"value"
                list(backend.list_dir(Key("shared/deep")))
                list(backend.list_keys(Key("")))
                if n != self.rounds - 1:
                    backend.delete(key)

        with ThreadPoolExecutor(4) as pool:
            for worker in [pool.submit(come_and_go, me) for me in range(4)]:
                worker.result(DEADLINE_S)
        assert keys_of(backend) == [f"shared/deep/{me}.{self.rounds - 1}" for me in range(4)]

    def test_flushing_and_closing(self, tmp_path: Path) -> None:
        backend = self.make(tmp_path)
        backend.set(Key("a/key"), b"value")
        backend.flush()
        assert value_of(backend, "a/key") == b"value"
        backend.flush()
        backend.close()
        backend.close()

    def test_what_was_stored_persists(self, tmp_path: Path) -> None:
        backend = self.make(tmp_path)
        values = {f"{name}/c/0": name.encode("utf-8", "surrogateescape") for name in ODD_NAMES}
        for key, value in values.items():
            backend.set(Key(key), value)
        backend.set(Key("gone"), b"")
        backend.set(Key("replaced"), b"before")
        backend.set(Key("replaced"), b"after")
        backend.delete(Key("gone"))
        backend.close()
        again = self.reopen(tmp_path, read_only=False)
        if again is None:
            return
        try:
            assert keys_of(again) == sorted([*values, "replaced"])
            assert all(value_of(again, key) == value for key, value in values.items())
            assert value_of(again, "replaced") == b"after"
            again.set(Key("more"), b"more")
            assert value_of(again, "more") == b"more"
        finally:
            again.close()

    def test_read_only(self, tmp_path: Path) -> None:
        backend = self.make(tmp_path)
        backend.set(Key("a/key"), b"value")
        backend.close()
        again = self.reopen(tmp_path, read_only=True)
        if again is None:
            return
        try:
            assert again.read_only
            with pytest.raises(ReadOnlyError):
                again.set(Key("a/key"), b"other")
            with pytest.raises(ReadOnlyError):
                again.set(Key("b"), b"other")
            with pytest.raises(ReadOnlyError):
                again.delete(Key("a/key"))
            assert keys_of(again) == ["a/key"]
            assert value_of(again, "a/key") == b"value"
        finally:
            again.close()
