"""Faults strike where and as often as they were asked to."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.suites.dict_backend import DictBackend
from zarrfs.errors import NoSpaceError, UnavailableError
from zarrfs.storage.backend import HasFileTree, Key
from zarrfs.storage.faulty import Fault, FaultyBackend, Operation
from zarrfs.storage.storage import Storage


def faulty(*faults: Fault) -> FaultyBackend:
    inner = DictBackend()
    for n in range(3):
        inner.set(Key(f"a/{n}"), b"0123456789")
    return FaultyBackend(inner, *faults)


def on(*operations: Operation) -> frozenset[Operation]:
    return frozenset(operations)


def test_failing_by_key_and_operation() -> None:
    backend = faulty(Fault("a/1", on("get", "set"), error=UnavailableError("a/1", "gone")))
    assert backend.get(Key("a/0")) == b"0123456789"
    with pytest.raises(UnavailableError):
        backend.get(Key("a/1"))
    with pytest.raises(UnavailableError):
        backend.set(Key("a/1"), b"")
    assert backend.stat(Key("a/1")).size_bytes == 10
    assert backend.struck == [("get", "a/1"), ("set", "a/1")]


def test_every_operation_can_fail() -> None:
    everything = on("get", "stat", "set", "delete", "list_dir", "list_keys", "flush", "close")
    backend = faulty(Fault(operations=everything, error=OSError))
    for call in (
        lambda: backend.get(Key("a/0")),
        lambda: backend.stat(Key("a/0")),
        lambda: backend.set(Key("a/0"), b""),
        lambda: backend.delete(Key("a/0")),
        lambda: backend.list_dir(Key("a")),
        lambda: backend.list_keys(Key("a")),
        backend.flush,
        backend.close,
    ):
        with pytest.raises(OSError):
            call()
    backend.clear()
    assert [child.name for child in backend.list_dir(Key("a"))] == ["0", "1", "2"]


def test_sparing_and_counting() -> None:
    backend = faulty(Fault(error=NoSpaceError("disk"), skip=1, times=2))
    outcomes = []
    for _ in range(5):
        try:
            outcomes.append(bytes(backend.get(Key("a/0")))[:1])
        except NoSpaceError:
            outcomes.append(b"!")
    assert outcomes == [b"0", b"!", b"!", b"0", b"0"]


def test_truncating() -> None:
    backend = faulty(Fault("a/0", truncate_to=4), Fault("a/1", on("set"), truncate_to=2))
    assert backend.get(Key("a/0")) == b"0123"
    assert backend.get(Key("a/0"), 2, 8) == b"23"
    assert backend.get(Key("a/0"), 6) == b""
    backend.set(Key("a/1"), b"abcdef")
    assert backend.get(Key("a/1")) == b"ab"


def test_delaying() -> None:
    gate = threading.Event()
    backend = faulty(Fault("a/0", wait_for=gate, delay_s=0.001))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(backend.get, Key("a/0"))
        assert backend.get(Key("a/1")) == b"0123456789"
        assert not waiting.done()
        gate.set()
        assert waiting.result(60) == b"0123456789"


def test_counts_hold_among_threads() -> None:
    backend = faulty(Fault(error=UnavailableError("x"), times=10))

    def read(_: int) -> bool:
        try:
            backend.get(Key("a/0"))
        except UnavailableError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(not read for read in pool.map(read, range(100))) == 10


def test_nothing_goes_round_it() -> None:
    assert not isinstance(faulty(), HasFileTree)


def test_a_storage_over_it_passes_errors_on() -> None:
    backend = FaultyBackend(DictBackend())
    storage = Storage(backend)
    storage.write_metadata({"zarr_format": 2}, path="g")
    backend.add(Fault(".*zgroup", on("get", "stat"), error=UnavailableError("g", "network")))
    with pytest.raises(UnavailableError, match="network"):
        storage.read_metadata(path="g")
    backend.clear()
    assert storage.read_metadata(path="g").node_type == "group"
