"""Space: zero-copy views, and that what somebody reads is not given back."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from zarrfs.errors import NoSpaceError
from zarrfs.storage.inodes.space import PAGE, Space, punch_hole
from zarrfs.storage.inodes.windows import WINDOW_BYTES


@pytest.fixture
def space() -> Iterator[Space]:
    fd = os.memfd_create("test")
    space = Space(fd, mapped=True)
    yield space
    space.close()
    os.close(fd)


def allocated_bytes(space: Space) -> int:
    return os.fstat(space.fd).st_blocks * 512


def test_a_view_is_a_slice_of_a_mapping(space: Space) -> None:
    offset = space.store(b"0123456789")
    view = space.view(offset + 2, 5)
    assert isinstance(view, memoryview)
    assert bytes(view) == b"23456"


def test_large_data_begins_a_page_unless_it_continues(space: Space) -> None:
    small = space.store(b"x" * 10)
    large = space.store(b"y" * PAGE)
    assert large % PAGE == 0
    odd = space.store(b"z" * (PAGE + 1))
    assert space.store(b"w" * PAGE, after=odd + PAGE + 1) == odd + PAGE + 1
    assert bytes(space.view(small, 10)) == b"x" * 10


def test_pages_of_dead_data_are_given_back(space: Space) -> None:
    begin = space.store(bytes(range(256)) * 64)
    kept = space.store(b"kept")
    before = allocated_bytes(space)
    space.release([(begin, begin + 256 * 64)])
    space.reclaim()
    assert allocated_bytes(space) == before - 256 * 64
    assert bytes(space.view(kept, 4)) == b"kept"


def test_a_page_shared_by_small_data_goes_with_the_last_of_them(space: Space) -> None:
    space.store(bytes(PAGE))
    offsets = [space.store(b"s" * 512) for _ in range(16)]
    before = allocated_bytes(space)
    for offset in offsets[1:]:
        space.release([(offset, offset + 512)])
    space.reclaim()
    assert allocated_bytes(space) == before - PAGE
    space.release([(offsets[0], offsets[0] + 512)])
    space.reclaim()
    assert allocated_bytes(space) == before - 2 * PAGE


def test_what_is_viewed_is_not_given_back_before_the_view_goes(space: Space) -> None:
    offset = space.store(b"v" * PAGE)
    later = space.store(b"l" * PAGE)
    view = space.view(offset, PAGE)
    space.release([(offset, offset + PAGE)])
    space.reclaim()
    other = space.view(later, PAGE)
    space.release([(later, later + PAGE)])
    space.reclaim()
    assert bytes(view) == b"v" * PAGE
    assert bytes(other) == b"l" * PAGE
    del view, other
    space.reclaim()
    assert bytes(space.view(offset, PAGE)) == bytes(PAGE)
    assert bytes(space.view(later, PAGE)) == bytes(PAGE)


def test_what_is_pinned_is_not_given_back(space: Space) -> None:
    offset = space.store(b"p" * PAGE)
    epoch = space.pin()
    space.release([(offset, offset + PAGE)])
    space.reclaim()
    later_epoch = space.pin()
    assert os.pread(space.fd, PAGE, offset) == b"p" * PAGE
    space.unpin(epoch)
    assert os.pread(space.fd, PAGE, offset) == bytes(PAGE)
    space.unpin(later_epoch)


def test_data_across_two_windows_is_read_by_copying(space: Space) -> None:
    space.reserve(WINDOW_BYTES - PAGE - 5)
    offset = space.store(b"across the border", after=WINDOW_BYTES - 5)
    assert offset == WINDOW_BYTES - 5
    assert bytes(space.view(offset, 17)) == b"across the border"


def test_limit(space: Space) -> None:
    space.limit_bytes = 10_000
    offset = space.store(bytes(6000))
    with pytest.raises(NoSpaceError):
        space.store(bytes(6000))
    space.release([(offset, offset + 6000)])
    space.store(bytes(6000))
    assert space.capacity_bytes() == (10_000, 4000)


def test_a_full_disk_is_told_and_takes_nothing(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", full)
        with pytest.raises(NoSpaceError):
            space.store(b"data")
    assert space.in_use_bytes == 0


def test_a_short_write_is_completed(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data[:3]), at))
    offset = space.store(b"ten bytes!")
    assert bytes(space.view(offset, 10)) == b"ten bytes!"


def test_restore_gives_back_what_nothing_refers_to(space: Space) -> None:
    offsets = [space.store(bytes([n]) * PAGE) for n in range(1, 6)]
    again = Space(space.fd, mapped=True)
    again.restore([(offsets[1], offsets[1] + PAGE), (offsets[1], offsets[1] + 100)])
    assert again.in_use_bytes == PAGE
    assert again.tail == offsets[1] + PAGE
    assert bytes(again.view(offsets[1], PAGE)) == b"\2" * PAGE
    assert allocated_bytes(again) == PAGE
    again.close()


def test_punching_where_it_cannot_be_done_says_so() -> None:
    read_end, write_end = os.pipe()
    assert not punch_hole(write_end, 0, PAGE)
    os.close(read_end)
    os.close(write_end)
