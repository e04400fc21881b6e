"""`ChunkCache`: bounded, each chunk decoded once, errors told to all who wait."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from zarrfs.errors import CorruptError
from zarrfs.views.chunk_cache import ChunkCache

WAIT_S = 60.0


def chunk(size: int) -> Any:
    return np.zeros(size, "u1")


def test_holds_no_more_than_its_limit() -> None:
    cache = ChunkCache(100)
    for number in range(20):
        cache.get(number, 30, lambda: chunk(30))
        cache.check_invariants()
    assert cache.stats() == (0, 20, 90)
    cache.get(19, 30, lambda: pytest.fail("decoded again"))
    cache.get(0, 30, lambda: chunk(30))
    assert cache.stats().misses == 21


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    cache = ChunkCache(100)
    assert cache.get("a", 500, lambda: chunk(500)).nbytes == 500
    assert cache.stats().held_bytes == 0


def test_callers_at_once_share_one_decoding() -> None:
    cache = ChunkCache(1000)
    begun, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def load() -> Any:
        calls.append(1)
        begun.set()
        assert go_on.wait(WAIT_S)
        return chunk(10)

    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(cache.get("a", 10, load))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(WAIT_S)
    go_on.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(calls) == 1
    assert len(found) == 4
    assert all(item is found[0] for item in found)


def test_an_error_is_told_and_not_remembered() -> None:
    cache = ChunkCache(1000)

    def fail() -> Any:
        raise CorruptError("chunk")

    for _ in range(2):
        with pytest.raises(CorruptError):
            cache.get("a", 10, fail)
    assert cache.get("a", 10, lambda: chunk(10)).nbytes == 10


def test_ahead_is_bounded_and_quiet() -> None:
    cache = ChunkCache(100, threads=1)
    held = threading.Event()

    def load() -> Any:
        assert held.wait(WAIT_S)
        return chunk(20)

    assert cache.ahead("a", 20, load)
    assert cache.ahead("b", 20, load)
    assert not cache.ahead("a", 20, load), "it is on its way"
    assert not cache.ahead("c", 20, load), "half the cache is on its way"
    held.set()
    assert cache.get("b", 20, lambda: pytest.fail("decoded twice")).nbytes == 20

    def fail() -> Any:
        raise CorruptError("chunk")

    cache.get("a", 20, lambda: chunk(20))
    assert cache.ahead("d", 20, fail)
    cache.close()
    assert not cache.ahead("e", 20, load), "closed"


def test_closing_ends_what_waits() -> None:
    cache = ChunkCache(1000, threads=1)
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Any:
        begun.set()
        assert go_on.wait(WAIT_S)
        return chunk(1)

    cache.ahead("a", 1, slow)
    assert begun.wait(WAIT_S)
    cache.ahead("b", 1, lambda: chunk(1))
    closing = threading.Thread(target=cache.close)
    closing.start()
    go_on.set()
    closing.join(WAIT_S)
    assert not closing.is_alive()
    assert cache.get("b", 1, lambda: chunk(1)).nbytes == 1, "it still decodes"
    assert cache.stats().held_bytes == 0
