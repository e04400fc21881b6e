"""What is kept of a source and of those that replaced it; `tests/fault` swaps mounted ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from zarrfs.daemon.mounting import MountSpec, watch_source
from zarrfs.daemon.options import parse_options
from zarrfs.daemon.replacements import Replacements, kept_kind
from zarrfs.errors import PathNotFoundError
from zarrfs.storage.tree import ROOT

LOG = logging.getLogger("test")


class Shelf:
    """Keeps descriptors, as a supervisor does."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}

    @property
    def names(self) -> Mapping[str, int]:
        return self.kept

    def get(self, name: str) -> int | None:
        return self.kept.get(name)

    def keep(self, name: str, descriptor: int) -> None:
        self.forget(name)
        self.kept[name] = os.dup(descriptor)

    def forget(self, name: str) -> None:
        if name in self.kept:
            os.close(self.kept.pop(name))

    def sources(self) -> list[str]:
        return [name for name in self.kept if name.startswith("source-")]


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    yield shelf
    for name in list(shelf.kept):
        shelf.forget(name)


def release(link: Path, mark: str) -> None:
    """Let a link lead to a folder in which there is one file, called as the folder is."""
    folder = link.with_name(mark)
    folder.mkdir(exist_ok=True)
    (folder / mark).touch()
    new = link.with_name("new")
    new.symlink_to(mark)
    os.replace(new, link)


def watched(source: Path, shelf: Shelf, options: str = "ro") -> Replacements:
    spec = MountSpec(str(source), "/nowhere", options=parse_options([options]))
    found = watch_source(spec, shelf)
    assert found is not None
    return found


def shown(replacements: Replacements) -> list[bytes]:
    return [entry.name for entry in replacements.open().tree.list_dir(ROOT)]


def found(replacements: Replacements) -> list[bool]:
    return [replacements.find(LOG), replacements.find(LOG)]


def test_what_is_found_twice_is_shown_by_the_successor(tmp_path: Path, shelf: Shelf) -> None:
    link = tmp_path / "current"
    release(link, "one")
    first = watched(link, shelf)
    assert shown(first) == [b"one"]
    assert found(first) == [False, False]
    for turn, mark in enumerate(("two", "three", "one"), 1):
        release(link, mark)
        assert found(first) == [False, True]
        link.unlink()  # what is kept is enough
        assert kept_kind(shelf) == "directory"
        first = watched(link, shelf)
        assert shown(first) == [mark.encode()]
        assert len(shelf.sources()) == turn + 1
        release(link, mark)


def test_old_ones_that_nobody_lets_go_of_are_bounded(tmp_path: Path, shelf: Shelf) -> None:
    link = tmp_path / "current"
    release(link, "0")
    replacements = watched(link, shelf)
    shown(replacements)
    for turn in range(1, 20):
        release(link, str(turn))
        assert found(replacements) == [False, True]
        replacements = watched(link, shelf)
        assert shown(replacements) == [str(turn).encode()]
    assert len(shelf.sources()) == 16
    assert len([name for name in shelf.kept if name.endswith(".nodes")]) == 16


def test_what_came_in_its_place_must_be_of_its_kind(tmp_path: Path, shelf: Shelf) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").touch()
    replacements = watched(folder, shelf)
    shown(replacements)
    folder.rename(tmp_path / "away")
    folder.write_text("a file")
    assert found(replacements) == [False, False]
    assert "Not a directory" in replacements.notice
    folder.unlink()
    assert found(replacements) == [False, False]
    assert "what was mounted stays" in replacements.notice
    (tmp_path / "away").rename(folder)
    assert found(replacements) == [False, False]
    assert replacements.notice == ""
    assert len(shelf.sources()) == 1


def test_a_source_that_was_never_there(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(PathNotFoundError):
        watched(tmp_path / "none", shelf)
    assert shelf.kept == {}
