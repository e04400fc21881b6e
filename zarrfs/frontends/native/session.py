"""A session: threads that read requests from the descriptor and answer them.

Owns the descriptor's stream: INIT, the reading threads, interrupts, and the
end. How a request becomes an answer is `answering`'s, what it means `routes`'
and `vfs`'.

A session can be taken over. All it needs to go on is the descriptor and the
`Negotiated` value; `Session.resume` makes the kernel send again what its
predecessor read and did not answer (FUSE_NOTIFY_RESEND, protocol 7.40), with
bit 63 of `unique` set, and answers with the same `unique`. Older kernels fail
such requests instead; `clone` sees to it that they do so at once.

Several threads read one descriptor, each into a buffer of its own. They end
when the kernel says ENODEV (unmounted) or ECONNABORTED (aborted).

Source: fs/fuse/dev.c, Documentation/filesystems/fuse/fuse.rst.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Any

from zarrfs.errors import MalformedMessageError, UnavailableError, UnsupportedError
from zarrfs.frontends.native.answering import Answering
from zarrfs.frontends.native.callers import is_being_killed
from zarrfs.frontends.native.clone import clone_device
from zarrfs.frontends.native.counters import Counters, ThreadCounters
from zarrfs.frontends.native.crew import SHORT_RUN, Crew
from zarrfs.frontends.native.expectation import Expectation, expectation_of
from zarrfs.frontends.native.notifier import Notifier
from zarrfs.frontends.native.options import NativeOptions
from zarrfs.frontends.native.passthrough import BackingFiles
from zarrfs.frontends.native.receive_buffer import receive_buffer
from zarrfs.frontends.native.request_log import RequestLog
from zarrfs.frontends.native.routes import routes, routes_of
from zarrfs.frontends.native.spinner import Spinner
from zarrfs.frontends.native.wishes import wishes_for
from zarrfs.fuse_protocol import notifications
from zarrfs.fuse_protocol.flags import UNIQUE_RESEND, InitFlags
from zarrfs.fuse_protocol.negotiation import InitRequest, Negotiated, negotiate
from zarrfs.fuse_protocol.opcodes import Opcode
from zarrfs.storage.tree import NodeId
from zarrfs.vfs.operations import Caller, FileSystem

logger = logging.getLogger(__name__)

# ENOENT: the request was withdrawn while it was being read.
_READ_AGAIN = frozenset({errno.ENOENT, errno.EINTR, errno.EAGAIN})
_ENDED = frozenset({errno.ENODEV, errno.ECONNABORTED, errno.ENOTCONN})
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
        self._stream_fd = fd
        """What the threads read and answer through."""
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
        self._size = max(options.threads, 1)
        self._crew = Crew(self._size, self.counters)
        self._own_routes: dict[Opcode, Callable[..., Any]] = {
            Opcode.INIT: self._init,
            Opcode.INTERRUPT: self._interrupt,
        }
        self._answering = Answering(
            fd, self._crew, routes_of(self._own_routes), debug=options.debug
        )
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
        buffer = receive_buffer()
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
        if self._stream_fd != self.fd:
            os.close(self._stream_fd)

    def _prepare(self, negotiated: Negotiated) -> None:
        for fallback in negotiated.fallbacks:
            logger.info("kernel without %s", fallback)
        if self._resumed and not negotiated.has(InitFlags.HAS_RESEND):
            self._stream_fd = self._answering.fd = clone_device(self.fd)
        if negotiated.has(InitFlags.PASSTHROUGH):
            self._backing = BackingFiles(self.fd, self._ledger_fd)
        policy = self._filesystem.policy
        if policy.stateless_open:
            self._expectation = expectation_of(self._filesystem)
        self._answering.routes = routes(
            self._filesystem,
            policy,
            self._own_routes,
            backing=self._backing,
            request_log=self._request_log,
            expectation=self._expectation,
        )
        self._notifier.start(can_expire=negotiated.has(InitFlags.HAS_EXPIRE_ONLY))

    def _ask_again(self) -> None:
        """Have the predecessor's unanswered requests sent again, where the kernel can.

        Raises: UnavailableError when it cannot, and INIT is one of them.
        """
        can_resend = self._options.resend
        if self.negotiated is not None:
            can_resend = self.negotiated.has(InitFlags.HAS_RESEND)
        if can_resend:
            try:
                os.write(self.fd, notifications.resend())
                return
            except OSError as error:
                logger.info("RESEND refused: %s", error.strerror)
        if self.negotiated is None and not _has_request(self.fd):
            raise UnavailableError("INIT", "was lost with the process that read it")

    # The loop

    def _serve_when_needed(self) -> None:
        if self._crew.rest():
            self._serve(self.counters.add_thread())

    def _serve(self, counters: ThreadCounters) -> None:
        """Read and answer until the connection ends; rest when others suffice."""
        crew = self._crew
        buffer = receive_buffer()
        spinner = Spinner(self._stream_fd)
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

    def _serve_one(self, buffer: memoryview, counters: ThreadCounters) -> bool:
        """Read and answer one request; False when there will be no more."""
        try:
            end = os.readv(self._stream_fd, (buffer,))
        except OSError as error:
            if error.errno in _READ_AGAIN:
                return True
            if error.errno not in _ENDED:
                logger.error("cannot read requests: %s", error)
            return False
        if end == 0:
            return False
        try:
            self._answering.answer(buffer, end, counters)
        except MalformedMessageError as error:  # a header that is none: nobody to answer
            logger.error("%s", error)
        return True

    # What concerns the session itself

    def _init(self, caller: Caller, nodeid: NodeId, *offered: int) -> Negotiated:
        """Answer INIT: with what a predecessor settled, if it came to that."""
        if self.negotiated is None:
            policy = self._filesystem.policy
            wishes = wishes_for(policy, self._options, read_only=self._filesystem.read_only)
            try:
                negotiated = negotiate(InitRequest(*offered), wishes)
            except UnsupportedError as error:
                self._refusal = error  # for whoever waits in `start`
                raise
            if self._on_negotiated is not None:
                self._on_negotiated(negotiated)
            self.negotiated = negotiated
        return self.negotiated

    def _interrupt(self, caller: Caller, nodeid: NodeId, interrupted: int) -> None:
        """Let a caller that is being killed go, though a thread still works for it.

        Other signals wait for the answer: readers of regular files are not
        prepared for EINTR. The thread's own reply meets ENOENT later.
        """
        for unique, opcode, pid, _ in self.counters.in_flight():
            if unique & ~UNIQUE_RESEND == interrupted & ~UNIQUE_RESEND:
                if opcode in _MAY_BE_GIVEN_UP and is_being_killed(pid):
                    self._answering.error(unique, errno.EINTR)
                return


def _has_request(fd: int) -> bool:
    """Whether a request waits to be read."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
