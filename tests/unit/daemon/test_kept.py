"""Descriptors kept for a successor, here and in a service manager's store."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from zarrfs.daemon.kept import Kept, sort_by_mount
from zarrfs.daemon.notify import Notifier


class Store:
    """A service manager's descriptor store, as sd_notify(3) describes it."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.notifier = Notifier(str(path))
        self.held: list[tuple[str, int]] = []

    def take(self, limit: int | None = None) -> None:
        """Read what was sent, or only so many messages of it."""
        while limit is None or limit > 0:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 4)
            except BlockingIOError:
                return
            lines = data.decode().splitlines()
            name = next(line.removeprefix("FDNAME=") for line in lines if "FDNAME=" in line)
            if "FDSTORE=1" in lines:
                self.held.append((name, descriptors[0]))
            else:
                for entry in [entry for entry in self.held if entry[0] == name]:
                    os.close(entry[1])
                    self.held.remove(entry)
            limit = None if limit is None else limit - 1

    def handed_over(self) -> list[tuple[str, int]]:
        return [(name, os.dup(descriptor)) for name, descriptor in self.held]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "notify")
    yield store
    store.take()
    for _, descriptor in store.held:
        os.close(descriptor)
    store.socket.close()


def memory(text: str) -> int:
    descriptor = os.memfd_create("kept")
    os.write(descriptor, text.encode())
    return descriptor


def content(kept: Kept, name: str) -> str:
    return os.pread(kept.descriptors[name], 100, 0).decode()


def test_one_is_there_whenever_the_process_is_killed(store: Store) -> None:
    kept = Kept("a", store.notifier)
    for number in range(3):
        kept.put("nodes", memory(str(number)))
    for messages in range(5):
        store.take(1)
        found = sort_by_mount(store.handed_over(), Notifier(None))["a"]
        assert int(content(found, "nodes")) == (messages + 1) // 2
        found.release()
    kept.release()


def test_numbers_go_on_with_a_successor(store: Store) -> None:
    first = Kept("a", store.notifier)
    first.put("nodes", memory("0"))
    first.put("nodes", memory("1"))
    first.release()
    store.take()
    second = sort_by_mount(store.handed_over(), store.notifier)["a"]
    second.put("nodes", memory("2"))
    second.put("log", memory("log"))
    second.drop(["log"])
    store.take()
    assert [name for name, _ in store.held] == ["a/nodes#2"]
    second.clear()
    store.take()
    assert store.held == []


def test_foreign_descriptors_are_closed(store: Store) -> None:
    foreign = memory("foreign")
    assert sort_by_mount([("something", foreign)], store.notifier) == {}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(foreign)


def test_the_last_whole_record_counts() -> None:
    kept = Kept("a", Notifier(None))
    assert kept.read_record() == {}
    kept.write_record({"spec": 1})
    kept.write_record({"spec": 1, "negotiated": 2})
    descriptor = kept.descriptors["record"]
    os.pwrite(descriptor, b'{"half', os.fstat(descriptor).st_size)
    assert kept.read_record() == {"spec": 1, "negotiated": 2}
    kept.release()
