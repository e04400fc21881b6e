"""Stores by every writer we have, made once a run, and what each reader makes of them.

The workers of pytest-xdist share them: the first one makes them under a lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.clients.catalogue import CLIENTS, READERS, REREADERS, WRITERS, Digests, available


@dataclass(frozen=True, slots=True)
class Corpus:
    folder: Path

    @property
    def stores(self) -> Path:
        """The folder of all stores, `<writer>.zarr` each."""
        return self.folder / "stores"

    @property
    def changed(self) -> Path:
        """What each writer's `change` does to an ordinary folder: `<writer>/<writer>.zarr`."""
        return self.folder / "changed"

    @property
    def stored_zip(self) -> Path:
        """All stores in one archive, as zarr's ZipStore writes: stored, no folder entries."""
        return self.folder / "stored.zip"

    @property
    def deflated_zip(self) -> Path:
        """All stores in one archive by Info-ZIP, deflated, with folder entries."""
        return self.folder / "deflated.zip"

    def expected(self, reader: str) -> Digests:
        """What a reader makes of every array in the plain folder."""
        found: Digests = json.loads((self.folder / f"{reader}.json").read_text())
        return found

    def expected_changes(self, writer: str) -> dict[str, Digests]:
        """What another client makes of a writer's changes in the plain folder."""
        found: dict[str, Digests] = json.loads((self.changed / f"{writer}.json").read_text())
        return found


def arrays_below(folder: Path) -> list[str]:
    """Return the paths of all arrays below a folder, relative to it."""
    found = []
    for base, _, names in os.walk(folder):
        is_array = ".zarray" in names
        if "zarr.json" in names:
            document = json.loads((Path(base) / "zarr.json").read_bytes())
            is_array = document["node_type"] == "array"
        if is_array:
            found.append(os.path.relpath(base, folder))
    return sorted(found)


def write_stored_zip(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(str(path.relative_to(folder)), (2024, 5, 6, 7, 8, 10))
                entry.external_attr = 0o644 << 16  # no file type, as ZipStore does
                out.writestr(entry, path.read_bytes())


def make_corpus(folder: Path) -> None:
    corpus = Corpus(folder)
    corpus.stores.mkdir(parents=True)
    for name in filter(available, WRITERS):
        CLIENTS[name].run("make", corpus.stores / f"{name}.zarr")
    write_stored_zip(corpus.stores, corpus.stored_zip)
    subprocess.run(
        ["zip", "-q", "-r", str(corpus.deflated_zip), "."], cwd=corpus.stores, check=True
    )
    arrays = arrays_below(corpus.stores)
    for name in filter(available, READERS):
        digests = CLIENTS[name].digest(corpus.stores, arrays)
        if name == "netcdf":
            digests = right(digests, corpus.expected("zarr3"))
        (folder / f"{name}.json").write_text(json.dumps(digests))
    (folder / "xarray.json").write_text(through_xarray(corpus.stores))
    for name in filter(available, WRITERS):
        make_changes(corpus, name)


def make_changes(corpus: Corpus, writer: str) -> None:
    plain = corpus.changed / writer
    plain.mkdir(parents=True)
    CLIENTS[writer].run("change", plain / f"{writer}.zarr")
    readers = [name for name in REREADERS if available(name) and name != writer][:1]
    arrays = arrays_below(plain)
    digests = {reader: CLIENTS[reader].digest(plain, arrays) for reader in readers}
    (corpus.changed / f"{writer}.json").write_text(json.dumps(digests))


def through_xarray(stores: Path) -> str:
    """Return, as JSON, what xarray makes of the stores that it can open."""
    datasets = [stores / f"zarr3.zarr/xarray/v{zarr_format}" for zarr_format in (2, 3)]
    return CLIENTS["zarr3"].run("xarray", *datasets)


def right(digests: Digests, reference: Digests) -> Digests:
    """Leave out what netCDF-C 4.9 reads as garbage: of compressed chunks, another each time."""
    return {array: digest for array, digest in digests.items() if digest == reference[array]}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def shared_corpus(base: Path) -> Corpus:
    """Return the run's corpus below `base`, making it if this is the first call of any worker."""
    outcome = base / "corpus.outcome"
    with locked(base / "corpus.lock"):
        if not outcome.exists():
            outcome.write_text("could not be made; see the first test that failed for it")
            make_corpus(base / "corpus")
            outcome.write_text("made")
    if outcome.read_text() != "made":
        raise RuntimeError(f"the stores {outcome.read_text()}")
    return Corpus(base / "corpus")
