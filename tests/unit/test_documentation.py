"""The documents say what the program does: names, options, views, links, promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import zarrfs
from zarrfs.cli.main import SUBCOMMANDS
from zarrfs.daemon.options import FLAGS, VALUED
from zarrfs.views.registry import VIEWS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PROMISE = re.compile(r"^\*\*(\d+)\.\*\* (.*?)(?=^\*\*\d+\.\*\* |^#|\Z)", re.MULTILINE | re.DOTALL)
TEST_NAME = re.compile(r"`(?:tests/)?([\w/]+\.py)::(\w+)`")


def text(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert f"zarrfs {command}" in text("docs/commands.md")


@pytest.mark.parametrize("option", [*FLAGS, *VALUED])
def test_every_mount_option_is_documented(option: str) -> None:
    assert re.search(rf"`{option}[`=]", text("docs/commands.md"))


def test_documented_mount_options_exist() -> None:
    rows = re.findall(r"^\| `(\w+)[`=]", text("docs/commands.md"), re.MULTILINE)
    assert set(rows) == {*FLAGS, *VALUED}


@pytest.mark.parametrize("name", sorted(set(zarrfs.__all__)))
def test_every_public_name_is_documented(name: str) -> None:
    documents = text("docs/storage.md") + text("docs/commands.md") + text("zarrfs/errors.py")
    assert name in documents


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_every_promise_has_a_test() -> None:
    promises = PROMISE.findall(text("docs/semantics.md"))
    assert [int(number) for number, _ in promises] == list(range(1, len(promises) + 1))
    for number, promise in promises:
        tests = TEST_NAME.findall(promise)
        assert tests, f"promise {number} names no test"
        for file, name in tests:
            path = ROOT / "tests" / file
            assert path.exists(), f"promise {number}: {file}"
            assert re.search(rf"def {name}\b", path.read_text()), f"promise {number}: {name}"


def test_promises_name_a_mounted_test() -> None:
    for number, promise in PROMISE.findall(text("docs/semantics.md")):
        folders = {file.split("/")[0] for file, _ in TEST_NAME.findall(promise)}
        assert folders & {"mounted", "fault", "clients", "suites"}, f"promise {number}"


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_documented(view: str) -> None:
    assert f"| `{view}` |" in text("docs/views.md")
