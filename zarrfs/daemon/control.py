"""The control socket: how `zarrfs status` and `zarrfs unmount` reach a supervisor.

Owns the runtime folder, the socket's modes and the exchange: a client sends
one line of JSON, `{"op": NAME, ...}`, and gets one line back, an object with
`ok` or `error`. Only root and the supervisor's own user are answered
(SO_PEERCRED). The server is part of the supervisor's loop and never waits; the
client waits, with a limit.

Source: unix(7); XDG Base Directory Specification, "XDG_RUNTIME_DIR".
"""

from __future__ import annotations

import contextlib
import glob
import json
import logging
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from zarrfs.errors import DeniedError, UnavailableError, ZarrfsError

Handler = Callable[[dict[str, Any]], dict[str, Any]]

_MAX_LINE_BYTES: Final = 1 << 20
_PEER_CREDENTIALS: Final = struct.Struct("3i")
_log = logging.getLogger("zarrfs.control")


class Loop(Protocol):
    """What the server needs of the supervisor's loop."""

    def listen(self, fileobj: socket.socket, ready: Callable[[], None]) -> None: ...
    def unlisten(self, fileobj: socket.socket) -> None: ...


def runtime_folder() -> str:
    """Return this user's folder for sockets, made with mode 0700 if need be.

    Raises: DeniedError, when somebody else owns it or may write to it.
    """
    folder = _runtime_folder_path()
    with contextlib.suppress(FileExistsError):
        os.makedirs(folder, mode=0o700)
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise DeniedError(
            folder, "is not this user's own folder", remedy="remove it, or set XDG_RUNTIME_DIR"
        )
    return folder


def _runtime_folder_path() -> str:
    if given := os.environ.get("RUNTIME_DIRECTORY"):  # set by systemd for RuntimeDirectory=
        return given.split(":")[0]
    if os.geteuid() == 0:
        return "/run/zarrfs"
    if base := os.environ.get("XDG_RUNTIME_DIR"):
        return os.path.join(base, "zarrfs")
    return f"/tmp/zarrfs-{os.geteuid()}"


def find_sockets() -> list[str]:
    """Return the control sockets that this user may talk to; root's are all."""
    patterns = [os.path.join(_runtime_folder_path(), "*.sock"), "/run/zarrfs*/*.sock"]
    if os.geteuid() == 0:
        patterns += ["/run/user/*/zarrfs/*.sock", "/tmp/zarrfs-*/*.sock"]
    return sorted({path for pattern in patterns for path in glob.glob(pattern)})


class ControlServer:
    """Answers on one socket. Handlers are called in the loop's thread."""

    def __init__(self, loop: Loop, path: str, handlers: Mapping[str, Handler]) -> None:
        """Raises: OSError when the path cannot be bound."""
        self._loop = loop
        self.path = path
        self._handlers = handlers
        self._connections: dict[socket.socket, bytearray] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        previous = os.umask(0o177)
        try:
            self._socket.bind(path)
        except OSError:
            self._socket.close()
            raise
        finally:
            os.umask(previous)
        self._socket.listen(16)
        loop.listen(self._socket, self._accept)

    def close(self) -> None:
        for connection in list(self._connections):
            self._drop(connection)
        self._loop.unlisten(self._socket)
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        credentials = connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size
        )
        uid = _PEER_CREDENTIALS.unpack(credentials)[1]
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
        while b"\n" in buffer:
            line, _, rest = buffer.partition(b"\n")
            buffer[:] = rest
            answer = json.dumps(self._answer(bytes(line))).encode() + b"\n"
            if not _send_now(connection, answer):
                self._drop(connection)
                return

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            handler = self._handlers[request.pop("op")]
        except (ValueError, KeyError, AttributeError, TypeError):
            return {"error": "not a request"}
        try:
            return {"ok": True, **handler(request)}
        except (ZarrfsError, OSError) as error:
            return {"error": str(error)}

    def _drop(self, connection: socket.socket) -> None:
        del self._connections[connection]
        self._loop.unlisten(connection)
        connection.close()


def _send_now(connection: socket.socket, data: bytes) -> bool:
    """Send without waiting: a client that does not read is let go."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(data) + 4096)
    try:
        return connection.send(data) == len(data)
    except OSError:
        return False


def ask(path: str, op: str, *, timeout_s: float = 10.0, **parameters: Any) -> dict[str, Any]:
    """Send one request to a supervisor and return its answer.

    Raises: UnavailableError, when nobody answers or the answer is an error.
    """
    request = json.dumps({"op": op, **parameters}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(path)
            connection.sendall(request)
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline())
    except (OSError, ValueError) as error:
        raise UnavailableError(path, f"no answer: {error}") from error
    if "error" in answer:
        raise UnavailableError(path, str(answer["error"]))
    result: dict[str, Any] = answer
    return result


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
