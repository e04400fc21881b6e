"""Real readers on mounted views: values as zarr-python 3 reads them in the store itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.catalogue import client
from tests.clients.corpus import Corpus
from tests.clients.view_matrix import as_float32, read
from tests.commands import mounted

VIEWS = ("v2", "v3", "decoded")


@pytest.fixture(
    scope="module",
    params=[pytest.param(v, marks=pytest.mark.xdist_group(f"view-{v}")) for v in VIEWS],
)
def view(
    request: pytest.FixtureRequest, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """One view of all stores, mounted."""
    target = tmp_path_factory.mktemp("views") / "mnt"
    with mounted(corpus.stored_zip, target, "-o", f"ro,view={request.param}") as folder:
        yield request.param, folder


LEAST = {
    ("v2", "zarr2"): ("zarr3.zarr/v3/", 40),
    ("v2", "gdal"): ("zarr3.zarr/v3/", 25),
    ("v2", "tensorstore"): ("zarr3.zarr/v3/", 30),
    ("v2", "zarrita"): ("zarr3.zarr/v3/", 20),
    ("v3", "zarr3"): ("zarr2.zarr/", 55),
    ("v3", "tensorstore"): ("zarr2.zarr/", 20),
    ("v3", "zarrita"): ("zarr2.zarr/", 20),
    ("decoded", "netcdf"): ("zarr3.zarr/v3/", 35),
    ("decoded", "z5py"): ("zarr3.zarr/v3/", 25),
    ("decoded", "zarr3"): ("zarr2.zarr/", 50),
}
"""Which arrays a reader gets through a view, and how many it must read at least. As stored
it reads none of the first group, and not all or not rightly of the others."""


@pytest.mark.parametrize("reader", sorted({reader for _, reader in LEAST}))
def test_values(view: tuple[str, Path], corpus: Corpus, reader: str) -> None:
    name, folder = view
    if (name, reader) not in LEAST:
        return
    beginning, least = LEAST[name, reader]
    expected = corpus.expected("zarr3")
    if name == "decoded":
        expected = as_float32(corpus.stores, expected)
    present = [a for a in expected if a.startswith(beginning) and (folder / a).is_dir()]
    outcome = read(client(reader).name, folder, present, expected)
    assert not outcome.wrong
    assert len(outcome.same) >= least, outcome.failed
    if (name, reader) in (("v2", "zarr2"), ("decoded", "netcdf")):
        assert not outcome.failed


@pytest.mark.parametrize(
    "writer",
    [
        pytest.param(w, marks=pytest.mark.xdist_group("view-writers"))
        for w in ("zarr2", "gdal", "z5py")
    ],
)
def test_a_v2_writer_updates_a_v3_store(corpus: Corpus, tmp_path: Path, writer: str) -> None:
    """It creates, overwrites, grows, shrinks and deletes; the store itself stays v3."""
    store = tmp_path / "store"
    store.mkdir()
    (store / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    with mounted(store, tmp_path / "mnt", "-o", "rw,view=v2") as folder:
        client(writer).run("change", folder / f"{writer}.zarr")
    expected = next(iter(corpus.expected_changes(writer).values()))
    assert client("zarr3").digest(store, list(expected)) == expected
    assert not list(store.rglob(".z*"))
