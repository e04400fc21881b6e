"""`list_chunks` against its definition: every index of the grid whose key has a value."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.suites.dict_backend import DictBackend
from tests.suites.documents import v2_array, v3_array
from zarrfs.errors import WrongKindError
from zarrfs.storage.backend import Key
from zarrfs.storage.storage import Storage
from zarrfs.zarr_format.documents import Document
from zarrfs.zarr_format.keys import join_key

grids = st.lists(st.integers(0, 3), max_size=3)
documents = st.one_of(
    st.builds(
        lambda grid, separator: v2_array(grid, [1] * len(grid), dimension_separator=separator),
        grids,
        st.sampled_from([".", "/"]),
    ),
    st.builds(
        lambda grid, encoding, separator: v3_array(
            grid, [1] * len(grid), encoding=encoding, separator=separator
        ),
        grids,
        st.sampled_from(["default", "v2"]),
        st.sampled_from([".", "/"]),
    ),
)
names = st.text("0123c.+", min_size=1, max_size=5).filter(lambda name: name not in (".", ".."))
keys = st.lists(names, min_size=1, max_size=5).map("/".join)


@settings(max_examples=80)
@given(documents, st.sampled_from(["", "a", "c/0"]), st.sets(keys, max_size=20))
def test_exactly_the_chunks_that_have_values(
    document: Document, path: str, below: set[str]
) -> None:
    storage = Storage(DictBackend())
    storage.write_metadata(document, path=path)
    layout = storage.layout(path)
    indices = list(itertools.product(*map(range, layout.grid_shape)))
    for key in (*below, *(layout.chunk_key(index) for index in indices[::2])):
        try:
            storage.backend.set(Key(join_key(path, key)), b"")
        except WrongKindError:  # a value stands where this key needs a folder, or the reverse
            continue
    stored = set(storage.backend.list_keys(Key(path)))
    expected = [index for index in indices if storage.chunk_key(index, path) in stored]
    assert sorted(storage.list_chunks(path)) == expected
