"""One request: from the bytes that were read to the bytes that are written back.

The hot path: everything here runs for each request, several hundred thousand
times a minute. A body is written beside its header by one writev(2), without
a copy; a request that fails is answered with its errno; one that makes no
sense with EINVAL, an opcode without a route with ENOSYS.

Serving threads call `answer`, each with its own counters.

Source: fuse_dev_do_write() in fs/fuse/dev.c.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import time

from zarrfs.frontends.native.counters import IDLE, LastError, ThreadCounters
from zarrfs.frontends.native.crew import LARGE_BYTES, LONG_NS, Crew
from zarrfs.frontends.native.routes import Routes, UnansweredOpcodeError
from zarrfs.fuse_protocol import requests
from zarrfs.fuse_protocol.opcodes import OPCODE_LIMIT, Opcode
from zarrfs.fuse_protocol.structs import OUT_HEADER
from zarrfs.vfs.errnos import errno_of
from zarrfs.vfs.operations import Caller

logger = logging.getLogger(__name__)

# Looked up once.
_tuple = tuple.__new__
_now_ns = time.perf_counter_ns
_writev = os.writev
_pack_header = OUT_HEADER.pack
_READ = int(Opcode.READ)
_WRITE = int(Opcode.WRITE)

_HEADER_SIZE = OUT_HEADER.size
_NOT_ERRORS = frozenset({errno.ENOENT, errno.ENODATA, errno.ERANGE, errno.ENOSYS, errno.EEXIST})
"""Answers to ordinary questions, neither counted nor remembered as errors."""


class Answering:
    """Answers the requests of one connection."""

    def __init__(self, fd: int, crew: Crew, routes: Routes, *, debug: bool) -> None:
        self.routes = routes
        """Replaced as a whole when INIT was answered."""
        self.answer = self._answer_and_log if debug else self._answer
        self.fd = fd
        """What requests are read through; their answers go the same way."""
        self._crew = crew

    def _answer(self, buffer: memoryview, end: int, counters: ThreadCounters) -> None:
        """Answer the message in `buffer[:end]`.

        Raises: MalformedMessageError when there is not even a header to answer.
        """
        _, opcode, unique, nodeid, uid, gid, pid, extensions = requests.header(buffer, end)
        began_ns = _now_ns()
        counters.in_flight = (unique, opcode, pid, began_ns)
        if self._crew.watch_sleeps:
            self._crew.wake()
        is_long = False
        try:
            route = self.routes[opcode] if opcode < OPCODE_LIMIT else None
            if route is None:
                self.error(unique, errno.ENOSYS)
                return
            counters.operations[opcode] += 1
            parse, handle, build, is_answered = route
            arguments = parse(buffer, end - 8 * extensions)
            result = handle(_tuple(Caller, (uid, gid, pid, unique)), nodeid, *arguments)
            if is_answered:
                body = result if build is None else build(result)
                # Counted before the client can know that it was answered.
                if opcode == _READ:
                    counters.bytes_read += len(body)
                    is_long = len(body) > LARGE_BYTES
                elif opcode == _WRITE:
                    counters.bytes_written += len(arguments[2])
                    is_long = len(arguments[2]) > LARGE_BYTES
                if body:
                    if type(body) is memoryview:
                        _fetch(body)
                    _writev(self.fd, (_pack_header(_HEADER_SIZE + len(body), 0, unique), body))
                else:
                    os.write(self.fd, _pack_header(_HEADER_SIZE, 0, unique))
        except Exception as error:
            self._failed(Opcode(opcode), unique, error, counters)
        finally:
            counters.in_flight = IDLE
            took_ns = _now_ns() - began_ns
            counters.was_long = is_long or took_ns > LONG_NS
            if opcode < OPCODE_LIMIT:
                counters.latencies[opcode][took_ns.bit_length()] += 1

    def _answer_and_log(self, buffer: memoryview, end: int, counters: ThreadCounters) -> None:
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

    def _failed(
        self, opcode: Opcode, unique: int, error: Exception, counters: ThreadCounters
    ) -> None:
        if isinstance(error, UnansweredOpcodeError):
            code = errno.ENOSYS
        else:
            code = errno_of(error, opcode.name)
        if code not in _NOT_ERRORS:
            counters.errors[opcode] += 1
            counters.last_error = LastError(time.time(), opcode.name.lower(), code, str(error))
        route = self.routes[opcode]
        if route is not None and route.is_answered:
            self.error(unique, code)

    def error(self, unique: int, code: int) -> None:
        """Answer a request with an errno, or ENOSYS for ever."""
        try:
            os.write(self.fd, _pack_header(_HEADER_SIZE, -code, unique))
        except OSError:
            pass  # answered already (a reply that failed half-way), or given up


def _fetch(body: memoryview) -> None:
    """Have every page of a mapped file in memory before it is written.

    A process that is killed while the kernel waits for such a page makes the kernel
    end the request with EIO; killed here, its successor gets it again. Source:
    fuse_dev_do_write() and fuse_copy_fill() in fs/fuse/dev.c.
    """
    bytes(body[:: mmap.PAGESIZE])
    body[-1]
