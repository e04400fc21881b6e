"""The control socket: how `zarrfs status` and `zarrfs unmount` reach a supervisor.

Owns the socket's modes and the exchange: a client sends one line of JSON,
`{"op": NAME, ...}`, and gets one line back, an object with `ok` or `error`. A
request may be answered later, when what it waits for has come. Only root and
the supervisor's own user are answered (SO_PEERCRED). The server is part of the
supervisor's loop and never waits; the client waits, with a limit.

Source: unix(7).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol, TypeAlias

from zarrfs.daemon.runtime_folders import (
    bound_sockets,
    find_files,
    make_way_for_socket,
    peer_uid,
    sockets_of_mode,
)
from zarrfs.errors import UnavailableError, ZarrfsError

Answer: TypeAlias = dict[str, Any]
Later: TypeAlias = Callable[[], Answer | None]
"""Returns the answer once there is one; called after each turn of the loop."""
Handler: TypeAlias = Callable[[dict[str, Any]], Answer | Later]

_MAX_LINE_BYTES: Final = 1 << 20
_CONNECT_LIMIT_S: Final = 10.0
_log = logging.getLogger("zarrfs.control")


class Loop(Protocol):
    """What the server needs of the supervisor's loop."""

    def listen(self, fileobj: socket.socket, ready: Callable[[], None]) -> None: ...
    def unlisten(self, fileobj: socket.socket) -> None: ...


def find_sockets() -> list[str]:
    """Return the control sockets that this user may talk to; root's are all."""
    paths = sorted({*find_files("*.sock"), *bound_sockets()})
    # A folder may be known by two paths.
    return list({os.path.realpath(path): path for path in paths}.values())


class ControlServer:
    """Answers on one socket. Handlers are called in the loop's thread."""

    def __init__(self, loop: Loop, path: str, handlers: Mapping[str, Handler]) -> None:
        """Raises: OSError when the path cannot be bound; as `make_way_for_socket`."""
        self._loop = loop
        self.path = path
        self._handlers = handlers
        self._connections: dict[socket.socket, bytearray] = {}
        self._later: dict[socket.socket, Later] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            make_way_for_socket(path)
            with sockets_of_mode(0o600):
                self._socket.bind(path)
        except (ZarrfsError, OSError):
            self._socket.close()
            raise
        self._socket.listen(16)
        loop.listen(self._socket, self._accept)

    def look(self) -> None:
        """Give the answers that were waited for and have come."""
        for connection, later in list(self._later.items()):
            if (answer := later()) is not None:
                del self._later[connection]
                self._send(connection, {"ok": True, **answer})

    def close(self) -> None:
        self._accept()  # who asked just now is answered still
        for connection in list(self._connections):
            self._read(connection)
        self.look()
        for connection in list(self._connections):
            self._drop(connection)
        self._loop.unlisten(self._socket)
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _accept(self) -> None:
        """Take on everybody who waits: several may, and at the end nobody looks again."""
        with contextlib.suppress(OSError):
            while True:
                self._take_on(self._socket.accept()[0])

    def _take_on(self, connection: socket.socket) -> None:
        uid = peer_uid(connection)
        if uid not in (0, os.geteuid()):
            _log.warning("user %d may not control this service", uid)
            connection.close()
            return
        connection.setblocking(False)
        self._connections[connection] = bytearray()
        self._loop.listen(connection, lambda: self._read(connection))

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        buffer = self._connections[connection]
        buffer += data
        if not data or len(buffer) > _MAX_LINE_BYTES:
            self._drop(connection)
            return
        while b"\n" in buffer and connection in self._connections:
            line, _, rest = buffer.partition(b"\n")
            buffer[:] = rest
            answer = self._answer(bytes(line))
            if callable(answer):
                self._later[connection] = answer
            else:
                self._send(connection, answer)

    def _answer(self, line: bytes) -> Answer | Later:
        try:
            request = json.loads(line)
            handler = self._handlers[request.pop("op")]
        except (ValueError, KeyError, AttributeError, TypeError):
            return {"error": "not a request"}
        try:
            answer = handler(request)
        except (ZarrfsError, OSError) as error:
            return {"error": str(error)}
        return answer if callable(answer) else {"ok": True, **answer}

    def _send(self, connection: socket.socket, answer: Answer) -> None:
        if not _send_now(connection, json.dumps(answer).encode() + b"\n"):
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        del self._connections[connection]
        self._later.pop(connection, None)
        self._loop.unlisten(connection)
        connection.close()


def _send_now(connection: socket.socket, data: bytes) -> bool:
    """Send without waiting: a client that does not read is let go."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(data) + 4096)
    try:
        return connection.send(data) == len(data)
    except OSError:
        return False


class Question:
    """A request on its way to a supervisor; ask first, and take the answer when it suits."""

    def __init__(self, path: str, op: str, **parameters: Any) -> None:
        """Send it. Raises: UnavailableError."""
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_CONNECT_LIMIT_S)
        try:
            self._socket.connect(path)
            self._socket.sendall(json.dumps({"op": op, **parameters}).encode() + b"\n")
        except OSError as error:
            self._socket.close()
            raise UnavailableError(path, f"no answer: {error}") from error

    def __enter__(self) -> Question:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def answer(self, timeout_s: float | None) -> Answer:
        """Wait for the answer. Raises: UnavailableError; TimeoutError when time ran out."""
        self._socket.settimeout(timeout_s)
        try:
            with self._socket.makefile("rb") as answers:
                answer: Answer = json.loads(answers.readline())
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:
            raise UnavailableError(self._path, f"no answer: {error}") from error
        if "error" in answer:
            raise UnavailableError(self._path, str(answer["error"]))
        return answer


def ask(path: str, op: str, *, timeout_s: float = 10.0, **parameters: Any) -> Answer:
    """Send one request to a supervisor and return its answer.

    Raises: UnavailableError, when nobody answers or the answer is an error.
    """
    with Question(path, op, **parameters) as question:
        try:
            return question.answer(timeout_s)
        except TimeoutError as error:
            raise UnavailableError(path, f"no answer in {timeout_s:.0f} s") from error


def ask_all(op: str, **parameters: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ask every supervisor that can be reached; the silent ones are passed over.

    A socket that nobody listens on any more is removed.
    """
    for path in find_sockets():
        try:
            yield path, ask(path, op, **parameters)
        except UnavailableError as error:
            if isinstance(error.__cause__, ConnectionRefusedError):
                with contextlib.suppress(OSError):
                    os.unlink(path)
