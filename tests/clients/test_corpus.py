"""The stores and programs that the other client tests rely on say what they should."""

from __future__ import annotations

import pytest

from tests.clients.catalogue import READERS, client
from tests.clients.corpus import Corpus

pytestmark = pytest.mark.xdist_group("clients-corpus")

READABLE_AT_LEAST = {
    "zarr3": 140,
    "zarr2": 90,
    "tensorstore": 120,
    "gdal": 60,
    "netcdf": 25,
    "zarrita": 100,
    "z5py": 40,
}
RIGHT_OR_ERROR = ("zarr3", "tensorstore", "zarr2")


@pytest.mark.parametrize("reader", READERS)
def test_readers_read_most_of_the_plain_folder(corpus: Corpus, reader: str) -> None:
    client(reader)
    digests = corpus.expected(reader)
    readable = [array for array, digest in digests.items() if not digest.startswith("error")]
    assert len(readable) >= READABLE_AT_LEAST[reader]


@pytest.mark.parametrize("reader", RIGHT_OR_ERROR)
def test_the_reference_readers_agree(corpus: Corpus, reader: str) -> None:
    client(reader)
    reference = corpus.expected("zarr3")
    for array, digest in corpus.expected(reader).items():
        # tensorstore shows raw bytes as one more dimension.
        if not digest.startswith(("error", "V")) and not reference[array].startswith("error"):
            assert digest == reference[array], array
