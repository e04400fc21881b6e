"""Real readers on real mounts: every value as in the plain folder the mount was made from."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.catalogue import LIMIT_S, READERS, client
from tests.clients.corpus import Corpus, arrays_below, through_xarray
from tests.commands import mounted

KINDS = ("stored-zip", "deflated-zip", "directory", "memory", "fusepy-zip")


@pytest.fixture(
    scope="module", params=[pytest.param(k, marks=pytest.mark.xdist_group(k)) for k in KINDS]
)
def mount(
    request: pytest.FixtureRequest, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """All stores of the corpus, mounted one way."""
    target = tmp_path_factory.mktemp("readers") / "mnt"
    match request.param:
        case "stored-zip":
            source, options = str(corpus.stored_zip), "ro"
        case "deflated-zip":
            source, options = str(corpus.deflated_zip), "ro"
        case "directory":
            source, options = str(corpus.stores), "ro"
        case "fusepy-zip":
            source, options = str(corpus.stored_zip), "ro,frontend=fusepy"
        case _:
            source, options = "memory:", "rw"
    with mounted(source, target, "-o", options) as folder:
        if source == "memory:":
            plain_tool("cp", "-r", f"{corpus.stores}/.", str(folder))
        yield folder


def plain_tool(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    return done.stdout


@pytest.mark.parametrize("reader", READERS)
def test_values_are_those_of_the_source(mount: Path, corpus: Corpus, reader: str) -> None:
    expected = corpus.expected(client(reader).name)
    assert client(reader).digest(mount, list(expected)) == expected


def test_xarray(mount: Path, corpus: Corpus) -> None:
    expected = corpus.expected("xarray")
    assert len(expected) == 6
    assert json.loads(through_xarray(mount)) == expected


def checksums(folder: Path) -> str:
    return plain_tool("sh", "-c", 'cd "$1" && find . -type f | sort | xargs -d "\\n" sha256sum',
                      "sh", str(folder))  # fmt: skip


def test_sha256sum_of_every_file(mount: Path, corpus: Corpus) -> None:
    assert checksums(mount) == checksums(corpus.stores)


def test_cp_and_diff(mount: Path, corpus: Corpus, tmp_path: Path) -> None:
    plain_tool("cp", "-r", str(mount / "zarr2.zarr"), str(tmp_path / "copy"))
    plain_tool("diff", "-r", str(corpus.stores / "zarr2.zarr"), str(tmp_path / "copy"))


def test_cat(mount: Path, corpus: Corpus) -> None:
    for array in arrays_below(corpus.stores)[:20]:
        for path in sorted((corpus.stores / array).glob("*.json")):
            relative = path.relative_to(corpus.stores)
            assert plain_tool("cat", str(mount / relative)) == path.read_text()


READ_MAPPED = """
import mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
    sys.stdout.buffer.write(mapped[:])
"""


def test_mmap(mount: Path, corpus: Corpus) -> None:
    chunk = "zarr2.zarr/compressors/none/0.0"
    done = subprocess.run(
        [sys.executable, "-c", READ_MAPPED, str(mount / chunk)],
        capture_output=True, timeout=LIMIT_S, check=True,
    )  # fmt: skip
    assert done.stdout == (corpus.stores / chunk).read_bytes()
    assert done.stdout


def test_tree_listing(mount: Path, corpus: Corpus) -> None:
    listing = ["sh", "-c", 'cd "$1" && find . -printf "%y %P %s\\n" | grep ^f | sort', "sh"]
    assert plain_tool(*listing, str(mount)) == plain_tool(*listing, str(corpus.stores))
