"""Backends by name, by entry point, and by what a path looks like."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.suites.dict_backend import DictBackend
from zarrfs.errors import (
    DeniedError,
    ExistsError,
    InvalidArgumentError,
    PathNotFoundError,
    UnknownBackendError,
    UnsupportedError,
    ZarrfsError,
)
from zarrfs.storage import registry


class OtherBackend(DictBackend):
    """Another one."""


@pytest.fixture(autouse=True)
def nothing_stays_registered() -> Iterator[None]:
    before = registry.names()
    yield
    for name in ("dict", "memory", "zip", "directory"):
        try:
            registry.unregister(name)
        except ZarrfsError:
            pass
    assert registry.names() == before


def test_the_built_in_backends() -> None:
    assert {"memory", "directory", "zip"} <= set(registry.names())
    for name in ("memory", "directory", "zip"):
        assert isinstance(registry.get(name), registry.BackendFactory)
        assert registry.describe(name).origin == "built-in"
        with pytest.raises(DeniedError):
            registry.unregister(name)
        with pytest.raises(ExistsError):
            registry.register(name, DictBackend)


def test_filesystem_is_the_directory_backend() -> None:
    assert registry.get("filesystem") is registry.get("directory")
    assert registry.describe("filesystem").name == "directory"
    assert registry.describe("directory").aliases == ("filesystem",)
    assert "filesystem" not in registry.names()
    with pytest.raises(DeniedError):
        registry.unregister("filesystem")


def test_registering_replacing_and_forgetting() -> None:
    registry.register("dict", DictBackend)
    assert registry.get("dict") is DictBackend
    assert "dict" in registry.names()
    with pytest.raises(ExistsError):
        registry.register("dict", OtherBackend)
    assert registry.get("dict") is DictBackend
    registry.register("dict", OtherBackend, force=True)
    assert registry.get("dict") is OtherBackend
    described = registry.describe("dict")
    assert described == registry.BackendDescription(
        "dict", "registered", (), f"{__name__}:OtherBackend", "Another one."
    )
    registry.unregister("dict")
    assert "dict" not in registry.names()
    with pytest.raises(UnknownBackendError):
        registry.unregister("dict")


def test_a_built_in_backend_can_be_replaced_for_a_while() -> None:
    built_in = registry.get("memory")
    registry.register("memory", DictBackend, force=True)
    assert registry.get("memory") is DictBackend
    assert registry.describe("memory").origin == "registered"
    registry.unregister("memory")
    assert registry.get("memory") is built_in


@pytest.mark.parametrize("name", ["", "a:b", "a/b", "filesystem"])
def test_names_that_cannot_be_registered(name: str) -> None:
    with pytest.raises(InvalidArgumentError):
        registry.register(name, DictBackend)


def test_what_is_no_factory() -> None:
    with pytest.raises(InvalidArgumentError):
        registry.register("dict", object())  # type: ignore[arg-type]  # on purpose


def test_unknown_names_tell_the_known_ones() -> None:
    for call in (registry.get, registry.describe, registry.unregister):
        with pytest.raises(UnknownBackendError) as caught:
            call("cloud")
        assert caught.value.name == "cloud"
        assert {"memory", "directory", "zip"} <= set(caught.value.known)
        assert "directory, memory, zip" in str(caught.value)


def make_package(folder: Path, entry_points: str) -> None:
    """An installed distribution, as importlib.metadata finds it on sys.path."""
    info = folder / "example_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example-backend\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[zarrfs.backends]\n{entry_points}\n")


def test_another_package_adds_a_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_package(
        tmp_path,
        f"dict = {__name__}:OtherBackend\n"
        f"memory = {__name__}:OtherBackend\n"
        "broken = no_such_package.backend:Backend",
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert registry.get("dict") is OtherBackend
    assert registry.describe("dict").origin == "entry point"
    assert {"dict", "broken"} <= set(registry.names())
    assert registry.get("memory") is not OtherBackend
    with pytest.raises(UnsupportedError, match="no_such_package"):
        registry.get("broken")
    assert registry.infer("dict:anything") == "dict"
    with pytest.raises(PathNotFoundError):
        registry.infer(str(tmp_path / "absent"))
    monkeypatch.undo()
    importlib.invalidate_caches()


def test_the_kind_of_a_path(tmp_path: Path) -> None:
    assert registry.infer(str(tmp_path)) == "directory"
    with pytest.raises(PathNotFoundError):
        registry.infer(str(tmp_path / "absent"))
    (tmp_path / "text").write_bytes(b"neither")
    with pytest.raises(UnsupportedError):
        registry.infer(str(tmp_path / "text"))
    registry.register("dict", DictBackend)
    assert registry.infer("dict:anything") == "dict"
