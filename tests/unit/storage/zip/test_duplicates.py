"""Many entries of one name: the last one wins, however they are mixed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.unit.storage.zip.raw_zip import RawEntry, RawZip
from zarrfs.storage.backend import Key
from zarrfs.storage.zip.backend import ZipBackend


@pytest.mark.parametrize("prime", [None, 13])
def test_a_mixture(tmp_path: Path, prime: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small prime nearly all names have the hash of others."""
    if prime is not None:
        monkeypatch.setattr("zarrfs.storage.zip.hierarchy.random_prime", lambda: prime)
    chance = random.Random(4)
    names = [f"{folder}/{number}" for folder in ("a", "b", "c/d") for number in range(30)]
    written = [chance.choice([*names, "a", "c/d"]) for _ in range(400)]
    entries = [RawEntry(name.encode(), b"%d" % place) for place, name in enumerate(written)]
    path = RawZip(entries).write(tmp_path / "a.zip")
    expected = {name: b"%d" % place for place, name in enumerate(written)}
    folders = {"a", "c/d"} & set(expected)
    for name in folders:
        del expected[name]
    backend = ZipBackend.open(str(path), read_only=True)
    found = {key: bytes(backend.get(key)) for key in backend.list_keys(Key(""))}
    assert found == expected
    hidden = sorted(problem.name.decode() for problem in backend.problems)
    assert hidden == sorted(folders)
    index = backend.archive.index
    assert index.superseded == len(written) - len(expected) - len(folders)
    backend.close()
