"""The session's parts one by one: crew, counters, notifier, passthrough, packed listings."""

from __future__ import annotations

import mmap
import os
import resource
import select
import socket
import stat
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrfs.frontends.native import kernel_side
from zarrfs.frontends.native.callers import is_being_killed
from zarrfs.frontends.native.counters import IDLE, Counters, percentile_s
from zarrfs.frontends.native.crew import Crew
from zarrfs.frontends.native.notifier import Notifier
from zarrfs.frontends.native.packed_folders import NAMES_ONLY_FROM, PackedBlock
from zarrfs.frontends.native.passthrough import BackingFiles
from zarrfs.frontends.native.receive_buffer import receive_buffer
from zarrfs.frontends.native.spinner import Spinner
from zarrfs.fuse_protocol import notifications
from zarrfs.fuse_protocol.directory import dirent_packer, direntplus_packer
from zarrfs.fuse_protocol.flags import EXPIRE_ONLY, UNIQUE_RESEND
from zarrfs.fuse_protocol.replies import Replies
from zarrfs.storage.tree import Attr, Change, Entry, FolderColumns, NodeId

LIMIT_S = 60.0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


# Crew and counters


def test_threads_join_and_leave_but_never_the_last() -> None:
    crew = Crew(3, Counters())
    assert crew.is_alone and not crew.leave()
    crew.bring_in()
    assert crew.rest() and not crew.is_alone
    assert crew.leave() and crew.is_alone
    for _ in range(5):
        crew.bring_in()
    assert crew.leave() and crew.leave() and not crew.leave()


def test_the_watch_brings_in_threads_while_all_are_stuck_and_sleeps_when_quiet() -> None:
    counters = Counters()
    crew = Crew(3, counters)
    watch = threading.Thread(target=crew.watch)
    watch.start()
    try:
        stuck = counters.add_thread()
        stuck.in_flight = (2, 15, 1, time.perf_counter_ns())
        crew.wake()
        assert crew.rest()  # the watch called
        stuck.in_flight = IDLE
        wait_until(lambda: crew.watch_sleeps)
    finally:
        crew.end()
        watch.join(LIMIT_S)
    assert not watch.is_alive() and not crew.rest()


def test_percentiles_are_upper_bounds() -> None:
    assert percentile_s([], 0.5) == 0.0
    assert percentile_s([0, 0, 0, 9, 1], 0.9) == 8e-9
    assert percentile_s([0, 0, 0, 9, 1], 0.99) == 16e-9


def test_a_spinner_returns_when_something_is_there_and_when_not() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        spinner = Spinner(ours.fileno())
        for _ in range(100):
            spinner.look()
        theirs.send(b"x")
        for _ in range(100):
            spinner.look()
        assert select.select([ours], [], [], 0)[0]


# Notifier


@pytest.fixture
def device() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A descriptor to notify, and what the kernel would read."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.settimeout(LIMIT_S)
    with ours, theirs:
        yield ours, theirs


def test_changes_become_notifications_each_once(
    device: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = device
    notifier = Notifier(ours.fileno())
    for _ in range(3):
        notifier(Change(None, b"", NodeId(5)))
    notifier(Change(NodeId(1), b"name", NodeId(6)))
    notifier(Change(NodeId(1), b"", None))
    notifier.start(can_expire=True)
    notifier.stop()
    received = set()
    while select.select([theirs], [], [], 0)[0]:
        message = theirs.recv(4096)
        assert message not in received
        received.add(message)
    assert received == {
        notifications.inval_inode(5),
        notifications.inval_inode(6),
        notifications.inval_inode(1),
        notifications.inval_entry(1, b"name", EXPIRE_ONLY),
    }


def test_notifying_nobody_ends_quietly() -> None:
    with open(os.devnull, "rb") as read_only:  # writing there is EBADF
        notifier = Notifier(read_only.fileno())
        notifier.start(can_expire=False)
        notifier(Change(None, b"", NodeId(5)))
        notifier.stop()


# Passthrough


def test_where_the_ioctl_is_refused_files_are_served() -> None:
    with open(os.devnull, "rb") as device:
        files = BackingFiles(device.fileno())
        assert files.opened(5, 8, 2, device.fileno()) == 0
        assert files.opened(5, 9, 4, None) == 0
        for handle in (8, 9, 9):  # one too many is no harm
            files.released(handle)
        assert len(files) == 0


def test_open_nodes_survive_in_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's part is played by two functions; the ledger is a real file."""
    closed: list[int] = []
    monkeypatch.setattr(BackingFiles, "_register", lambda self, fd: 1000 + fd)
    monkeypatch.setattr(BackingFiles, "_unregister", lambda self, number: closed.append(number))
    with tempfile.TemporaryFile() as ledger:
        first = BackingFiles(-1, ledger.fileno())
        for nodeid in range(2, 600):
            assert first.opened(nodeid, 10 * nodeid, 2 * nodeid, nodeid) == 1000 + nodeid
        assert first.opened(7, 71, 1300, 99) == 1007  # all opens of a node share one
        assert first.opened(601, 6010, 1302, None) == 0
        first.released(80)
        first.close()
        second = BackingFiles(-1, ledger.fileno())
        assert len(second) == len(first) == 598
        assert second.opened(601, 6011, 1304, 99) == 0  # nor may one begin while it is served
        for handle in [*range(20, 6000, 10), 71, 6010, 6011]:
            second.released(handle)
        assert len(second) == 0
        second.close()
        assert sorted(closed) == [1000 + nodeid for nodeid in range(2, 600)]
        third = BackingFiles(-1, ledger.fileno())
        assert len(third) == 0
        third.close()


def test_what_is_sent_again_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker dies after it opened or released, and before the kernel knows."""
    closed: list[int] = []
    monkeypatch.setattr(BackingFiles, "_register", lambda self, fd: 1000 + fd)
    monkeypatch.setattr(BackingFiles, "_unregister", lambda self, number: closed.append(number))
    with tempfile.TemporaryFile() as ledger:
        first = BackingFiles(-1, ledger.fileno())
        assert first.opened(5, 50, 2, 1) == 1001
        assert first.opened(5, 51, 4, 2) == 1001  # the reply got lost
        assert first.opened(5, 52, 6, 3) == 1001
        first.released(52)  # the reply got lost
        first.close()
        second = BackingFiles(-1, ledger.fileno())
        assert second.opened(5, 53, 4 | UNIQUE_RESEND, 4) == 1001
        second.released(52)
        second.released(50)
        assert closed == []
        second.released(53)
        assert (closed, len(second)) == ([1001], 0)
        second.close()


def test_a_backing_id_that_was_being_closed_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []

    def die(self: BackingFiles, number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(BackingFiles, "_register", lambda self, fd: 1000 + fd)
    monkeypatch.setattr(BackingFiles, "_unregister", die)
    with tempfile.TemporaryFile() as ledger:
        first = BackingFiles(-1, ledger.fileno())
        first.opened(5, 50, 2, 1)
        with pytest.raises(KeyboardInterrupt):
            first.released(50)
        first.close()
        monkeypatch.setattr(BackingFiles, "_unregister", lambda self, number: closed.append(number))
        second = BackingFiles(-1, ledger.fileno())
        assert (closed, len(second)) == ([1001], 0)
        assert second.opened(5, 51, 4, 2) == 1002
        second.close()


# Packed listings


def columns_of(names: list[bytes], folder_size: int) -> tuple[FolderColumns, list[Entry]]:
    lengths = np.array([len(name) for name in names], np.uint32)
    starts = np.cumsum(lengths, dtype=np.uint32) - lengths
    entries = [
        Entry(
            NodeId(10 + place),
            Attr(
                10 + place, stat.S_IFDIR | 0o755 if place % 5 == 4 else stat.S_IFREG | 0o644,
                1 + place % 3, 7, 8, 0, place * 1000, (place * 1000 + 511) // 512,
                *[(place - 2) * 1_500_000_007] * 3,
            ),
        )
        for place in range(len(names))
    ]  # fmt: skip
    attrs = [entry.attr for entry in entries]
    columns = FolderColumns(
        text=np.frombuffer(b"".join(names), np.uint8),
        starts=starts,
        lengths=lengths,
        nodeids=np.array([entry.nodeid for entry in entries], np.uint64),
        modes=np.array([attr.mode for attr in attrs], np.uint16),
        nlinks=np.array([attr.nlink for attr in attrs], np.uint32),
        sizes=np.array([attr.size for attr in attrs], np.uint64),
        mtimes_ns=np.array([attr.mtime_ns for attr in attrs], np.int64),
        uid=7,
        gid=8,
        folder_size=folder_size,
    )
    return columns, entries


def dirent(name: bytes, entry: Entry, next_offset: int) -> bytes:
    kind = stat.S_IFMT(entry.attr.mode) >> 12
    return dirent_packer(len(name))(entry.attr.ino, next_offset, len(name), kind, name)


@settings(max_examples=60)
@given(
    st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=30),
    st.integers(0, 6000),
    st.data(),
)
def test_packed_by_column_and_by_name_are_the_same(
    names: list[bytes], size: int, data: st.DataObject
) -> None:
    columns, entries = columns_of(names, len(names))
    replies = Replies(1.5, 86400.0, 0)
    first = data.draw(st.integers(0, len(names) - 1))
    for timeouts in (replies.timeouts, None):
        expected = b""
        for place in range(first, len(names)):
            record = dirent(names[place], entries[place], 100 + place + 1)
            if timeouts is not None:
                record = replies.entry(entries[place]) + record
            if len(expected) + len(record) > size:
                break
            expected += record
        block = PackedBlock(columns, 100, timeouts)
        reply = block.reply(100 + first, size)
        assert reply is not None and bytes(reply) == expected
        assert block.reply(99, size) is None
        assert block.reply(100 + len(names), size) is None


def test_entries_of_huge_folders_are_left_out() -> None:
    columns, entries = columns_of([b"a", b"bb"], NAMES_ONLY_FROM)
    reply = PackedBlock(columns, 2, Replies(1, 1, 0).timeouts).reply(2, 4096)
    assert reply is not None
    assert bytes(reply[:128]) == b"\0" * 128
    nothing = direntplus_packer(1)(*[0] * 22, 10, 3, 1, 8, b"a")
    assert bytes(reply[:160]) == nothing and len(entries) == 2


def test_an_empty_block_replies_nothing() -> None:
    columns, _ = columns_of([], 0)
    assert PackedBlock(columns, 2, None).reply(2, 4096) is None


# What the kernel tells


def test_devices_are_found_by_their_target(tmp_path: Path) -> None:
    assert kernel_side.device_of(str(tmp_path / "nothing")) is None
    device = kernel_side.device_of("/proc")
    assert device is not None
    shown = os.stat("/proc").st_dev
    assert device == (os.major(shown), os.minor(shown))
    assert kernel_side._unescaped(r"/a\040b\134c\011d") == "/a b\\c\td"


def test_read_ahead_of_what_is_not_there() -> None:
    assert not kernel_side.raise_read_ahead(kernel_side.Device(0, 1 << 19), 1024)


def test_who_is_being_killed() -> None:
    assert not is_being_killed(os.getpid())
    assert not is_being_killed(1 << 30)


def test_the_layout_of_the_ledger() -> None:
    """A successor of another version must understand it."""
    with tempfile.TemporaryFile() as ledger, open(os.devnull, "rb") as device:
        files = BackingFiles(device.fileno(), ledger.fileno())
        files.opened(0x1122, 0x33, 6, None)
        files.close()
        assert os.pread(ledger.fileno(), 32, 0) == struct.pack("<QQQiI", 0x33, 0x1122, 6, 0, 1)


# Memory that a killed process leaves no request half copied into


def test_the_memory_for_requests_is_there_from_the_beginning() -> None:
    buffer = receive_buffer()
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for at in range(0, len(buffer), mmap.PAGESIZE):
        buffer[at] = 1
    faults = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
    assert faults < len(buffer) // mmap.PAGESIZE // 4
