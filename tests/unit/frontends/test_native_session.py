"""The session against a socket in the kernel's place: every answer, and every bad message."""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.frontends.session_peer import LIMIT_S, NEWEST, Peer, served
from tests.unit.frontends.test_native_parts import wait_until
from tests.unit.fuse_protocol.test_fuzz import BODIES
from tests.unit.fuse_protocol.wire import request
from zarrfs.errors import UnsupportedError
from zarrfs.frontends.native.counters import percentile_s
from zarrfs.fuse_protocol.flags import UNIQUE_RESEND, InitFlags
from zarrfs.fuse_protocol.opcodes import WIRE, Answer, Opcode
from zarrfs.storage.memory import MemoryBackend
from zarrfs.storage.tree import Buffer, NodeId
from zarrfs.vfs.filesystem import Vfs
from zarrfs.vfs.operations import Caller, FileHandle

CHUNK = bytes(range(256)) * 16


def filesystem(kind: type[Vfs] = Vfs) -> Vfs:
    backend = MemoryBackend.init(None)
    backend.set("0.0", CHUNK)  # type: ignore[arg-type]  # a Key by name only
    return kind(backend.file_tree())


@pytest.fixture
def peer() -> Iterator[Peer]:
    files = filesystem()
    with served(files) as (peer, _):
        yield peer
    files.destroy()


def opened(peer: Peer, name: bytes = b"0.0", flags: int = os.O_RDWR) -> tuple[int, int]:
    """Look up and open; return nodeid and file handle."""
    nodeid = peer.lookup(name)
    answer = peer.ask(Opcode.OPEN, struct.pack("=II", flags, 0), nodeid=nodeid)
    assert answer.error == 0
    (handle,) = struct.unpack_from("=Q", answer.body)
    return nodeid, handle


def test_a_chunk_is_looked_up_read_and_written(peer: Peer) -> None:
    nodeid, handle = opened(peer)
    read = struct.pack("=QQIIQII", handle, 256, 512, 0, 0, 0, 0)
    assert peer.ask(Opcode.READ, read, nodeid=nodeid).body == CHUNK[256:768]
    write = struct.pack("=QQIIQII", handle, 256, 3, 0, 0, 0, 0) + b"abc"
    assert peer.ask(Opcode.WRITE, write, nodeid=nodeid).body == struct.pack("=II", 3, 0)
    assert peer.ask(Opcode.READ, read, nodeid=nodeid).body == b"abc" + CHUNK[259:768]
    release = struct.pack("=QIIQ", handle, 0, 0, 0)
    assert peer.ask(Opcode.RELEASE, release, nodeid=nodeid) == (0, 2, b"")


def test_the_same_unique_comes_back_bit_63_included(peer: Peer) -> None:
    answer = peer.ask(Opcode.STATFS, unique=UNIQUE_RESEND | 6)
    assert (answer.error, len(answer.body)) == (0, 80)


def test_what_is_not_there_is_enoent_or_may_be_remembered(peer: Peer) -> None:
    """Memory stores tell of changes, so the kernel may remember that nothing is there."""
    answer = peer.ask(Opcode.LOOKUP, b"none\0")
    assert answer.error == 0 and struct.unpack_from("=Q", answer.body) == (0,)
    answer = peer.ask(Opcode.UNLINK, b"none\0")
    assert answer == (-errno.ENOENT, 2, b"")


def test_opcodes_that_we_lack_are_enosys(peer: Peer) -> None:
    for opcode in (Opcode.SETLK, Opcode.POLL, Opcode.STATX, Opcode.IOCTL, 60, 99, 4096, 1 << 31):
        assert peer.ask(opcode, b"\0" * 80).error == -errno.ENOSYS


def test_extended_attributes_answer_size_then_value(peer: Peer) -> None:
    nodeid = peer.lookup(b"0.0")
    value = struct.pack("=II", 3, 0) + b"user.note\0" + b"abc"
    assert peer.ask(Opcode.SETXATTR, value, nodeid=nodeid).error == 0
    for size, error, body in (
        (0, 0, struct.pack("=II", 3, 0)),
        (2, -errno.ERANGE, b""),
        (3, 0, b"abc"),
    ):
        asked = struct.pack("=II", size, 0) + b"user.note\0"
        assert peer.ask(Opcode.GETXATTR, asked, nodeid=nodeid) == (error, 2, body)


def test_a_listing_continues_where_it_stopped(peer: Peer) -> None:
    for number in range(50):
        body = struct.pack("=III4x", 0o100644, 0, 0) + b"f%d\0" % number
        assert peer.ask(Opcode.MKNOD, body).error == 0
    answer = peer.ask(Opcode.OPENDIR, b"\0" * 8)
    (handle,) = struct.unpack_from("=Q", answer.body)
    for opcode, fixed in ((Opcode.READDIR, 24), (Opcode.READDIRPLUS, 152)):
        names, offset = [], 0
        while True:
            asked = struct.pack("=QQIIQII", handle, offset, 1024, 0, 0, 0, 0)
            packed = peer.ask(opcode, asked).body
            if not packed:
                break
            assert len(packed) <= 1024
            while packed:
                _, offset, length, _ = struct.unpack_from("=QQII", packed, fixed - 24)
                names.append(packed[fixed : fixed + length])
                packed = packed[(fixed + length + 7) & ~7 :]
        assert sorted(names) == sorted([b".", b"..", b"0.0", *(b"f%d" % n for n in range(50))])


def test_forgetting_is_not_answered(peer: Peer) -> None:
    nodeid = peer.lookup(b"0.0")
    peer.send(request(Opcode.FORGET, struct.pack("=Q", 1), nodeid=nodeid))
    peer.send(request(Opcode.BATCH_FORGET, struct.pack("=I4xQQ", 1, 9999, 1)))
    peer.send(request(Opcode.INTERRUPT, struct.pack("=Q", 77)))
    assert peer.ask(Opcode.STATFS).error == 0
    assert peer.is_silent()


def test_malformed_messages_are_answered_einval_and_survived(peer: Peer) -> None:
    for opcode in sorted(WIRE):
        if WIRE[opcode].answer is Answer.BODY and opcode not in (
            Opcode.INIT, Opcode.READLINK, Opcode.STATFS,
        ):  # fmt: skip
            assert peer.ask(opcode, b"\xff").error == -errno.EINVAL
    peer.send(b"short")
    peer.send(request(Opcode.LOOKUP, b"0.0\0") + b"more than it says")
    assert peer.lookup(b"0.0")


def test_fuzzed_messages_get_an_answer_each() -> None:
    files = filesystem()
    with served(files) as (peer, session):

        @settings(max_examples=100)
        @given(
            st.one_of(st.sampled_from(sorted(WIRE)), st.integers(0, 0xFFFFFFFF)),
            BODIES,
            st.sampled_from([0, 1, 2, 3, 1 << 63, (1 << 64) - 1]),
        )
        def fuzz(opcode: int, body: bytes, nodeid: int) -> None:
            peer.send(request(opcode, body, nodeid=nodeid))
            wire = WIRE.get(opcode)  # type: ignore[call-overload]
            if wire is None or wire.answer is not Answer.NOTHING:
                assert -4096 < peer.receive().error <= 0

        fuzz()
        assert peer.lookup(b"0.0")
        assert peer.is_silent()
    assert session.counters.in_flight() == []
    files.destroy()


def test_init_is_negotiated_and_told_before_it_is_answered() -> None:
    files = filesystem()
    told = []
    with served(files, negotiated=None) as (peer, session):
        session._on_negotiated = lambda settled: told.append((settled, peer.is_silent()))
        flags = int(InitFlags.ASYNC_READ | InitFlags.BIG_WRITES)
        peer.send(request(Opcode.INIT, struct.pack("=IIII", 7, 27, 1 << 17, flags)))
        session.start()
        answer = peer.receive()
        assert answer.error == 0 and len(answer.body) == 64
        assert told == [(session.negotiated, True)]
        assert session.negotiated is not None and session.negotiated.flags == flags
        assert any("READDIRPLUS" in text for text in session.negotiated.fallbacks)
        # A successor that is sent INIT again answers what was settled before.
        again = struct.pack("=IIII", 7, 27, 1 << 17, 0)
        assert peer.ask(Opcode.INIT, again, unique=UNIQUE_RESEND | 2).body == answer.body
    files.destroy()


def test_a_kernel_that_is_too_old_is_refused_by_name() -> None:
    files = filesystem()
    with served(files, negotiated=None) as (peer, session):
        peer.send(request(Opcode.INIT, struct.pack("=IIII", 7, 8, 1 << 17, 0)))
        with pytest.raises(UnsupportedError, match=r"7\.8"):
            session.start()
        assert peer.receive().error < 0
    files.destroy()


class Slow(Vfs):
    """Reads wait until they are let go."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.entered = threading.Semaphore(0)
        self.let_go = threading.Event()

    def read(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, offset: int, size: int
    ) -> Buffer:
        self.entered.release()
        assert self.let_go.wait(LIMIT_S)
        return super().read(caller, nodeid, handle, offset, size)


def test_one_that_waits_does_not_keep_others_waiting() -> None:
    """However many threads there are but one may be stuck, and the last still answers."""
    files = filesystem(Slow)
    assert isinstance(files, Slow)
    with served(files, threads=4) as (peer, session):
        nodeid, handle = opened(peer)
        # Only then does the watch, which looks for stuck threads, sleep.
        wait_until(lambda: session._crew.watch_sleeps)
        for unique in (10, 12, 14):
            read = struct.pack("=QQIIQII", handle, 0, 16, 0, 0, 0, 0)
            peer.send(request(Opcode.READ, read, nodeid=nodeid, unique=unique))
            assert files.entered.acquire(timeout=LIMIT_S)
            assert peer.ask(Opcode.STATFS, unique=100 + unique).error == 0
        assert {unique for unique, *_ in session.counters.in_flight()} >= {10, 12, 14}
        assert session.counters.snapshot().longest_in_flight_s > 0
        files.let_go.set()
        assert {peer.receive().unique for _ in range(3)} == {10, 12, 14}
        for _ in range(200):
            assert peer.ask(Opcode.STATFS).error == 0
    files.destroy()


def test_a_caller_that_lives_is_not_answered_eintr() -> None:
    files = filesystem(Slow)
    assert isinstance(files, Slow)
    with served(files, threads=3) as (peer, _):
        nodeid, handle = opened(peer)
        read = struct.pack("=QQIIQII", handle, 0, 16, 0, 0, 0, 0)
        message = request(Opcode.READ, read, nodeid=nodeid, unique=10, pid=os.getpid())
        peer.send(message)
        assert files.entered.acquire(timeout=LIMIT_S)
        peer.send(request(Opcode.INTERRUPT, struct.pack("=Q", 10), unique=11))
        assert peer.ask(Opcode.STATFS, unique=12).error == 0
        files.let_go.set()
        assert peer.receive() == (0, 10, CHUNK[:16])
    files.destroy()


class Broken(Vfs):
    """A defect of ours."""

    def readlink(self, caller: Caller, nodeid: NodeId) -> bytes:
        raise ZeroDivisionError("a defect")


def test_counters_tell_what_happened(caplog: pytest.LogCaptureFixture) -> None:
    files = filesystem(Broken)
    with served(files) as (peer, session):
        nodeid, handle = opened(peer)
        read = struct.pack("=QQIIQII", handle, 0, 512, 0, 0, 0, 0)
        for _ in range(3):
            peer.ask(Opcode.READ, read, nodeid=nodeid)
        write = struct.pack("=QQIIQII", handle, 0, 5, 0, 0, 0, 0) + b"abcde"
        peer.ask(Opcode.WRITE, write, nodeid=nodeid)
        assert peer.ask(Opcode.READLINK, nodeid=nodeid).error == -errno.EIO
        peer.ask(Opcode.STATFS)
    told = session.counters.snapshot()
    assert told.operations["read"] == 3 and told.operations["lookup"] == 1
    assert (told.bytes_read, told.bytes_written) == (3 * 512, 5)
    assert told.errors == {"readlink": 1}
    assert told.last_error is not None
    assert (told.last_error.operation, told.last_error.errno) == ("readlink", errno.EIO)
    assert sum(told.latencies["read"]) == 3 and percentile_s(told.latencies["read"], 0.5) > 0
    assert "ZeroDivisionError" in caplog.text
    files.destroy()


def test_debugging_logs_each_request(caplog: pytest.LogCaptureFixture) -> None:
    files = filesystem()
    with caplog.at_level("DEBUG"), served(files, debug=True) as (peer, _):
        peer.ask(Opcode.STATFS)
        peer.ask(60)
    assert "STATFS unique=2 nodeid=1 uid=1000 pid=4242" in caplog.text
    assert "60 unique=2" in caplog.text
    files.destroy()


def test_the_end_of_the_connection_ends_every_thread() -> None:
    before = threading.active_count()
    files = filesystem()
    with served(files, negotiated=NEWEST, threads=8):
        assert threading.active_count() > before
    assert threading.active_count() == before
    files.destroy()
