"""A session: threads that read requests from the descriptor and answer them.

Owns the descriptor's stream: INIT, the reading threads, replies, interrupts,
notifications, and the end. What a request means is `routes`' and `vfs`'.

A session can be taken over. All it needs to go on is the descriptor and the
`Negotiated` value; `Session.resume` makes the kernel send again what its
predecessor read and did not answer (FUSE_NOTIFY_RESEND, protocol 7.40), with
bit 63 of `unique` set, and answers with the same `unique`.

Several threads read one descriptor, each into a buffer of its own. They end
when the kernel says ENODEV (unmounted) or ECONNABORTED (aborted).

Source: fs/fuse/dev.c, Documentation/filesystems/fuse/fuse.rst.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from zarrfs.errors import MalformedMessageError, UnsupportedError
from zarrfs.frontends.native.callers import is_being_killed
from zarrfs.frontends.native.counters import IDLE, Counters, LastError, ThreadCounters
from zarrfs.frontends.native.crew import LARGE_BYTES, LONG_NS, SHORT_RUN, Crew
from zarrfs.frontends.native.expectation import Expectation, expectation_of
from zarrfs.frontends.native.notifier import Notifier
from zarrfs.frontends.native.options import NativeOptions
from zarrfs.frontends.native.passthrough import BackingFiles
from zarrfs.frontends.native.request_log import RequestLog
from zarrfs.frontends.native.routes import Route, UnansweredOpcodeError, routes
from zarrfs.frontends.native.spinner import Spinner
from zarrfs.frontends.native.wishes import wishes_for
from zarrfs.fuse_protocol import notifications, requests
from zarrfs.fuse_protocol.flags import UNIQUE_RESEND, InitFlags
from zarrfs.fuse_protocol.negotiation import Negotiated, init_reply, negotiate, parse_init
from zarrfs.fuse_protocol.opcodes import OPCODE_LIMIT, WIRE, Answer, Opcode
from zarrfs.fuse_protocol.structs import OUT_HEADER
from zarrfs.storage.tree import Buffer
from zarrfs.vfs.errnos import errno_of
from zarrfs.vfs.operations import Caller, FileSystem

logger = logging.getLogger(__name__)

# Looked up once: these run for every request.
_tuple = tuple.__new__
_now_ns = time.perf_counter_ns
_readv = os.readv
_writev = os.writev
_pack_header = OUT_HEADER.pack
_READ = int(Opcode.READ)
_WRITE = int(Opcode.WRITE)
_UNANSWERED = frozenset(wire.opcode for wire in WIRE.values() if wire.answer is Answer.NOTHING)

_HEADER_SIZE = OUT_HEADER.size
_BUFFER_SIZE_BYTES = (1 << 20) + 4096
"""max_write and the headers before it; the kernel refuses smaller reads."""

# ENOENT: the request was withdrawn while it was being read.
_READ_AGAIN = frozenset({errno.ENOENT, errno.EINTR, errno.EAGAIN})
_ENDED = frozenset({errno.ENODEV, errno.ECONNABORTED, errno.ENOTCONN})
_NOT_ERRORS = frozenset({errno.ENOENT, errno.ENODATA, errno.ERANGE, errno.ENOSYS, errno.EEXIST})
"""Answers to ordinary questions, not worth being remembered as the last error."""

_MAY_BE_GIVEN_UP = frozenset({Opcode.READ, Opcode.GETATTR, Opcode.GETXATTR, Opcode.READDIR})
"""Requests that may be answered EINTR while a thread still works on them,
because they change nothing and hand out no reference."""


class Session:
    """Serves one connection. `start` once; any thread may call the rest."""

    def __init__(
        self,
        fd: int,
        filesystem: FileSystem,
        options: NativeOptions,
        *,
        negotiated: Negotiated | None = None,
        on_negotiated: Callable[[Negotiated], None] | None = None,
        ledger_fd: int | None = None,
        requests_fd: int | None = None,
    ) -> None:
        self.fd = fd
        self.negotiated = negotiated
        self.counters = Counters()
        self._filesystem = filesystem
        self._options = options
        self._on_negotiated = on_negotiated
        self._ledger_fd = ledger_fd
        self._request_log = None if requests_fd is None else RequestLog(requests_fd)
        self._resumed = False
        self._refusal: UnsupportedError | None = None
        self._notifier = Notifier(fd)
        self._backing: BackingFiles | None = None
        self._expectation: Expectation | None = None
        self._answer_one = self._answer_and_log if options.debug else self._answer
        self._size = max(options.threads, 1)
        self._crew = Crew(self._size, self.counters)
        self._routes: Sequence[Route | None] = [None] * OPCODE_LIMIT
        self._threads: list[threading.Thread] = []

    @classmethod
    def resume(
        cls,
        fd: int,
        negotiated: Negotiated | None,
        filesystem: FileSystem,
        options: NativeOptions,
        *,
        on_negotiated: Callable[[Negotiated], None] | None = None,
        ledger_fd: int | None = None,
        requests_fd: int | None = None,
    ) -> Session:
        """Return a session that goes on where a killed one stopped.

        `negotiated` is None when the predecessor never came to answer INIT.
        """
        session = cls(
            fd,
            filesystem,
            options,
            negotiated=negotiated,
            on_negotiated=on_negotiated,
            ledger_fd=ledger_fd,
            requests_fd=requests_fd,
        )
        session._resumed = True
        return session

    # Life cycle

    def start(self) -> None:
        """Answer INIT if nobody did, then serve from threads.

        Raises: UnsupportedError for a kernel that is too old.
        """
        self._filesystem.watch(self._notifier)  # before `policy`, which depends on it
        if self._resumed:
            self._ask_again()
        counters = self.counters.add_thread()
        buffer = bytearray(_BUFFER_SIZE_BYTES)
        while self.negotiated is None:
            if self._refusal is not None:
                raise self._refusal
            if not self._serve_one(buffer, counters):
                return
        self._prepare(self.negotiated)
        self._start_thread("serve-0", self._serve, counters)
        for number in range(1, self._size):
            self._start_thread(f"serve-{number}", self._serve_when_needed)
        if self._size > 1:
            self._start_thread("watch", self._crew.watch)

    def _start_thread(self, name: str, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name=f"zarrfs-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the connection has ended; False when time ran out first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if deadline is None else max(deadline - time.monotonic(), 0))
            if thread.is_alive():
                return False
        return True

    def close(self) -> None:
        """Let go of what `start` took, after the threads have ended; not of `fd`."""
        self._notifier.stop()
        if self._backing is not None:
            self._backing.close()
        if self._request_log is not None:
            self._request_log.close()

    def _prepare(self, negotiated: Negotiated) -> None:
        for fallback in negotiated.fallbacks:
            logger.info("kernel without %s", fallback)
        if negotiated.has(InitFlags.PASSTHROUGH):
            self._backing = BackingFiles(self.fd, self._ledger_fd)
        policy = self._filesystem.policy
        if policy.stateless_open:
            self._expectation = expectation_of(self._filesystem)
        self._routes = routes(
            self._filesystem, policy, self._backing, self._request_log, self._expectation
        )
        self._notifier.start(can_expire=negotiated.has(InitFlags.HAS_EXPIRE_ONLY))

    def _ask_again(self) -> None:
        """Have the predecessor's unanswered requests sent again, where the kernel can."""
        try:
            os.write(self.fd, notifications.resend())
        except OSError as error:
            logger.warning("requests in flight are lost: RESEND refused (%s)", error.strerror)

    # The loop

    def _serve_when_needed(self) -> None:
        if self._crew.rest():
            self._serve(self.counters.add_thread())

    def _serve(self, counters: ThreadCounters) -> None:
        """Read and answer until the connection ends; rest when others suffice."""
        crew = self._crew
        buffer = bytearray(_BUFFER_SIZE_BYTES)
        spinner = Spinner(self.fd)
        expectation = self._expectation
        short_run = 0
        while True:
            if crew.is_alone:
                if expectation is not None and expectation.is_due:
                    expectation.act()
                spinner.look()
            if not self._serve_one(buffer, counters):
                crew.end()
                return
            if counters.was_long:
                short_run = 0
                crew.bring_in()
            elif crew.is_alone:
                continue
            elif short_run < SHORT_RUN:
                short_run += 1
            elif crew.leave():
                short_run = 0
                if not crew.rest():
                    return

    def _serve_one(self, buffer: bytearray, counters: ThreadCounters) -> bool:
        """Read and answer one request; False when there will be no more."""
        try:
            end = _readv(self.fd, (buffer,))
        except OSError as error:
            if error.errno in _READ_AGAIN:
                return True
            if error.errno not in _ENDED:
                logger.error("cannot read requests: %s", error)
            return False
        if end == 0:
            return False
        try:
            self._answer_one(buffer, end, counters)
        except MalformedMessageError as error:  # a header that is none: nobody to answer
            logger.error("%s", error)
        return True

    def _answer(self, buffer: bytearray, end: int, counters: ThreadCounters) -> None:
        _, opcode, unique, nodeid, uid, gid, pid, extensions = requests.header(buffer, end)
        began_ns = _now_ns()
        counters.in_flight = (unique, opcode, pid, began_ns)
        if self._crew.watch_sleeps:
            self._crew.wake()
        route = None
        is_long = False
        try:
            if opcode < OPCODE_LIMIT:
                route = self._routes[opcode]
                counters.operations[opcode] += 1
            if route is None:
                self._answer_ourselves(opcode, unique, buffer, end)
                return
            parse, handle, build, is_answered = route
            arguments = parse(buffer, end - 8 * extensions)
            caller = _tuple(Caller, (uid, gid, pid, unique))
            result = handle(caller, nodeid, *arguments)
            if is_answered:
                body = result if build is None else build(result)
                # Counted before the client can know that it was answered.
                if opcode == _READ:
                    counters.bytes_read += len(body)
                    is_long = len(body) > LARGE_BYTES
                elif opcode == _WRITE:
                    counters.bytes_written += len(arguments[2])
                    is_long = len(arguments[2]) > LARGE_BYTES
                self._reply(unique, body)
        except Exception as error:
            self._reply_error(opcode, unique, error, counters)
        finally:
            counters.in_flight = IDLE
            took_ns = _now_ns() - began_ns
            counters.was_long = is_long or took_ns > LONG_NS
            if opcode < OPCODE_LIMIT:
                counters.latencies[opcode][took_ns.bit_length()] += 1

    def _answer_and_log(self, buffer: bytearray, end: int, counters: ThreadCounters) -> None:
        """Answer, and log what was asked: for `NativeOptions.debug`."""
        _, opcode, unique, nodeid, uid, _, pid, _ = requests.header(buffer, end)
        name = Opcode(opcode).name if opcode in Opcode.__members__.values() else str(opcode)
        began_ns = _now_ns()
        self._answer(buffer, end, counters)
        took_us = (_now_ns() - began_ns) // 1000
        logger.debug(
            "%s unique=%d nodeid=%d uid=%d pid=%d bytes=%d took_us=%d",
            *(name, unique, nodeid, uid, pid, end, took_us),
        )

    def _reply(self, unique: int, body: Buffer | None) -> None:
        if body:
            _writev(self.fd, (_pack_header(_HEADER_SIZE + len(body), 0, unique), body))
        else:
            os.write(self.fd, _pack_header(_HEADER_SIZE, 0, unique))

    def _reply_error(
        self, opcode: int, unique: int, error: Exception, counters: ThreadCounters
    ) -> None:
        if isinstance(error, UnansweredOpcodeError):
            code = errno.ENOSYS
        else:
            name = Opcode(opcode).name
            code = errno_of(error, name)
            if code not in _NOT_ERRORS:
                counters.last_error = LastError(time.time(), name.lower(), code, str(error))
        if opcode < OPCODE_LIMIT:
            counters.errors[opcode] += 1
        if opcode not in _UNANSWERED:
            self._write_error(unique, code)

    def _write_error(self, unique: int, code: int) -> None:
        try:
            os.write(self.fd, OUT_HEADER.pack(_HEADER_SIZE, -code, unique))
        except OSError:
            pass  # answered already (a reply that failed half-way), or given up

    # What concerns the session itself

    def _answer_ourselves(self, opcode: int, unique: int, buffer: bytearray, end: int) -> None:
        if opcode == Opcode.INIT:
            self._init(unique, buffer, end)
        elif opcode == Opcode.INTERRUPT:
            self._interrupt(*requests.interrupt(buffer, end))
        else:
            self._write_error(unique, errno.ENOSYS)

    def _init(self, unique: int, buffer: bytearray, end: int) -> None:
        """Answer INIT: with what a predecessor settled, if it came to that."""
        if self.negotiated is None:
            policy = self._filesystem.policy
            wishes = wishes_for(policy, self._options, read_only=self._filesystem.read_only)
            try:
                negotiated = negotiate(parse_init(buffer, end), wishes)
            except UnsupportedError as error:
                self._refusal = error  # for whoever waits in `start`
                raise
            if self._on_negotiated is not None:
                self._on_negotiated(negotiated)
            self.negotiated = negotiated
        self._reply(unique, init_reply(self.negotiated))

    def _interrupt(self, interrupted: int) -> None:
        """Let a caller that is being killed go, though a thread still works for it.

        Other signals wait for the answer: readers of regular files are not
        prepared for EINTR. The thread's own reply meets ENOENT later.
        """
        for unique, opcode, pid, _ in self.counters.in_flight():
            if unique & ~UNIQUE_RESEND == interrupted & ~UNIQUE_RESEND:
                if opcode in _MAY_BE_GIVEN_UP and is_being_killed(pid):
                    self._write_error(unique, errno.EINTR)
                return
