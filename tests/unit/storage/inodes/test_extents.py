"""Extents against a plain list of bytes that knows where each came from."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from zarrfs.storage.inodes.extents import (
    IN_BASE,
    Extent,
    cut,
    data_bytes,
    journal_ranges,
    next_data,
    next_hole,
    pack,
    pieces,
    put,
    subtract,
    unpack,
)

SIZE = 40

edits = st.lists(
    st.tuples(
        st.sampled_from(["put", "cut"]),
        st.integers(0, SIZE - 1),
        st.integers(1, SIZE),
        st.sampled_from([0, 3, 100, IN_BASE]),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=200)
@given(edits)
def test_edits_agree_with_a_list_of_sources(operations: list[tuple[str, int, int, int]]) -> None:
    extents: list[Extent] = []
    model: list[int | None] = [None] * SIZE
    for operation, start, size, source in operations:
        stop = min(SIZE, start + size)
        before = model[start:stop]
        if operation == "put":
            # A source that moves with the offset, so that neighbours can be joined.
            removed = put(extents, Extent(start, stop, source + start))
            model[start:stop] = range(source + start, source + stop)
        else:
            removed = cut(extents, start, stop)
            model[start:stop] = [None] * (stop - start)
        gone = [extent.source + i for extent in removed for i in range(extent.stop - extent.start)]
        assert gone == [place for place in before if place is not None]
        check_invariants(extents)
        assert spread(extents, 0, SIZE) == model
    assert data_bytes(extents) == SIZE - model.count(None)
    assert unpack(pack(extents)) == extents
    for offset in range(SIZE):
        assert spread(extents, offset, 7) == (model + [None] * 7)[offset : offset + 7]
        data = [i for i in range(offset, SIZE) if model[i] is not None]
        assert next_data(extents, offset) == (data[0] if data else None)
        hole = [i for i in range(offset, SIZE) if model[i] is None]
        assert next_hole(extents, offset) == (hole[0] if hole else SIZE)


def spread(extents: list[Extent], offset: int, size: int) -> list[int | None]:
    places: list[int | None] = []
    for source, length in pieces(extents, offset, size):
        places += [None] * length if source is None else range(source, source + length)
    return places


def check_invariants(extents: list[Extent]) -> None:
    assert extents == sorted(extents)
    for left, right in pairwise(extents):
        assert left.stop <= right.start
        if left.stop == right.start:
            assert left.source + left.stop - left.start != right.source, "should be one"
    assert all(extent.start < extent.stop for extent in extents)


def test_sequential_writes_make_one_extent() -> None:
    extents: list[Extent] = []
    for number in range(1000):
        put(extents, Extent(number * 10, number * 10 + 10, 4096 + number * 10))
    assert extents == [Extent(0, 10_000, 4096)]


def test_only_what_lies_in_the_journal_is_its_range() -> None:
    extents = [Extent(0, 10, 500), Extent(10, 20, IN_BASE | 10)]
    assert list(journal_ranges(extents)) == [(500, 510)]


ranges = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 10)).map(lambda pair: (pair[0], sum(pair))),
    max_size=6,
)


@settings(deadline=None, max_examples=200)
@given(ranges, ranges)
def test_subtract(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    def members(spans: list[tuple[int, int]]) -> set[int]:
        return {i for begin, end in spans for i in range(begin, end)}

    left = list(subtract(some, others))
    assert members(left) == members(some) - members(others)
    assert all(begin < end for begin, end in left)
