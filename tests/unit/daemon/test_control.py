"""The control socket, both ends, over a real socket and loop."""

from __future__ import annotations

import os
import selectors
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zarrfs.daemon.control import ControlServer, Later, Question, ask, ask_all, find_sockets
from zarrfs.daemon.runtime_folders import find_files, make_way_for_socket, runtime_folder
from zarrfs.errors import BusyError, DeniedError, ExistsError, UnavailableError


class Loop:
    """A loop in a thread."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.stopping = False
        self.thread = threading.Thread(target=self._run)
        self.after_each_turn: Callable[[], None] = lambda: None

    def listen(self, fileobj: socket.socket, ready: Callable[[], None]) -> None:
        self.selector.register(fileobj, selectors.EVENT_READ, ready)

    def unlisten(self, fileobj: socket.socket) -> None:
        self.selector.unregister(fileobj)

    def _run(self) -> None:
        while not self.stopping:
            for key, _ in self.selector.select(0.05):
                key.data()
            self.after_each_turn()


def echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"echo": request}


def fail(_request: dict[str, Any]) -> dict[str, Any]:
    raise UnavailableError("mount a", "is not there")


answers: list[dict[str, Any]] = []


def later(_request: dict[str, Any]) -> Later:
    return lambda: answers.pop() if answers else None


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlServer]:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    loop = Loop()
    server = ControlServer(
        loop,
        os.path.join(runtime_folder(), "1.sock"),
        {"echo": echo, "fail": fail, "later": later},
    )
    loop.after_each_turn = server.look
    loop.thread.start()
    yield server
    loop.stopping = True
    loop.thread.join()
    server.close()
    loop.selector.close()
    assert not os.path.exists(server.path)


def test_a_request_gets_its_answer(server: ControlServer) -> None:
    assert ask(server.path, "echo", name="ä", count=3) == {
        "ok": True,
        "echo": {"name": "ä", "count": 3},
    }
    assert server.path in find_sockets()
    assert [answer["echo"] for path, answer in ask_all("echo") if path == server.path] == [{}]


def test_only_the_owner_may_reach_it(server: ControlServer) -> None:
    assert stat.S_IMODE(os.stat(server.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(server.path)).st_mode) == 0o700


def test_errors_are_told(server: ControlServer) -> None:
    with pytest.raises(UnavailableError, match="mount a: is not there"):
        ask(server.path, "fail")
    with pytest.raises(UnavailableError, match="not a request"):
        ask(server.path, "unheard of")


@pytest.mark.parametrize("garbage", [b"\n", b"{}\n", b"[1]\n", b"\xff\xfe\n", b"3\n"])
def test_garbage_is_refused(server: ControlServer, garbage: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(server.path)
        connection.sendall(garbage)
        assert connection.recv(100) == b'{"error": "not a request"}\n'


def test_a_line_without_end_is_cut_off(server: ControlServer) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(server.path)
        with pytest.raises(OSError):
            while True:
                connection.sendall(b"x" * 65536)
    assert ask(server.path, "echo")["ok"]


def test_a_socket_nobody_listens_on_is_removed(server: ControlServer) -> None:
    dead = os.path.join(os.path.dirname(server.path), "2.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(dead)
    assert dead in find_sockets()
    list(ask_all("echo"))
    assert not os.path.exists(dead)


def test_a_folder_that_others_may_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    with pytest.raises(DeniedError):
        runtime_folder()


def test_a_request_may_be_answered_later(server: ControlServer) -> None:
    with Question(server.path, "later") as question:
        with pytest.raises(TimeoutError):
            question.answer(0.2)
        answers.append({"number": 8})
        assert question.answer(30) == {"ok": True, "number": 8}
    with Question(server.path, "later"):
        pass  # gone before it is answered
    answers.append({"number": 9})
    assert ask(server.path, "echo")["ok"]


def test_other_runtime_folders_of_the_user_are_looked_into(
    server: ControlServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run/mount-0:1.json").touch()
    assert find_files("mount-0:1.json") == [str(tmp_path / "run/mount-0:1.json")]
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    assert find_files("mount-0:1.json") == []


def test_a_socket_takes_the_place_of_a_dead_one_only(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with pytest.raises(BusyError, match="another process answers there"):
            make_way_for_socket(path)
    make_way_for_socket(path)
    make_way_for_socket(path)
    Path(path).write_text("precious")
    with pytest.raises(ExistsError, match="not a socket"):
        make_way_for_socket(path)
    assert Path(path).read_text() == "precious"


def test_sockets_are_found_wherever_the_runtime_folder_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "mine"))
    (tmp_path / "zarrfs").mkdir()
    theirs = tmp_path / "zarrfs/123.sock"
    other = tmp_path / "zarrfs/other"
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.bind(str(theirs))
        second.bind(str(other))
        assert str(theirs) in find_sockets()
        assert str(other) not in find_sockets()
        if os.geteuid() == 0:
            os.chown(theirs, 65534, 65534)
            assert str(theirs) not in find_sockets()
