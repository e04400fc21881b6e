"""sd_notify against a real notification socket."""

from __future__ import annotations

import array
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from zarrfs.daemon.notify import Notifier, take_stored_descriptors, watchdog_interval_s


class Manager:
    """The receiving end that a service manager would hold."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(30)
        self.notifier = Notifier(str(path))

    def receive(self) -> tuple[dict[str, str], list[int]]:
        data, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(16))
        descriptors = array.array("i")
        for _, _, payload in ancillary:
            descriptors.frombytes(payload[: len(payload) - len(payload) % 4])
        return dict(line.split("=", 1) for line in data.decode().split("\n")), list(descriptors)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    receiver = Manager(tmp_path / "notify")
    yield receiver
    receiver.socket.close()


def test_states_carry_a_status_of_one_line(manager: Manager) -> None:
    assert manager.notifier.ready("3 mounts\nup")
    assert manager.receive()[0] == {"READY": "1", "STATUS": "3 mounts up"}
    assert manager.notifier.stopping()
    assert manager.receive()[0] == {"STOPPING": "1"}
    assert manager.notifier.status("busy")
    assert manager.receive()[0] == {"STATUS": "busy"}
    assert manager.notifier.watchdog()
    assert manager.receive()[0] == {"WATCHDOG": "1"}
    assert manager.notifier.extend_timeout(1.5)
    assert manager.receive()[0] == {"EXTEND_TIMEOUT_USEC": "1500000"}


def test_reloading_says_when_in_monotonic_microseconds(manager: Manager) -> None:
    before_us = time.monotonic_ns() // 1000
    assert manager.notifier.reloading()
    fields, _ = manager.receive()
    assert fields["RELOADING"] == "1"
    assert before_us <= int(fields["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_a_stored_descriptor_is_the_same_open_file(manager: Manager, tmp_path: Path) -> None:
    with (tmp_path / "kept").open("w") as kept:
        assert manager.notifier.store("mount-a", kept.fileno())
        fields, (received,) = manager.receive()
        assert fields == {"FDSTORE": "1", "FDNAME": "mount-a", "FDPOLL": "0"}
        assert os.path.sameopenfile(received, kept.fileno())
        os.close(received)
    assert manager.notifier.remove("mount-a")
    assert manager.receive()[0] == {"FDSTOREREMOVE": "1", "FDNAME": "mount-a"}


def test_barrier_waits_for_the_manager_to_close_its_end(manager: Manager) -> None:
    assert not manager.notifier.barrier(timeout_s=0.01)
    _, (end,) = manager.receive()
    os.close(end)


def test_without_a_socket_nothing_happens() -> None:
    silent = Notifier.from_environment({})
    assert not silent.active
    assert not silent.ready()
    assert not silent.store("a", 0)
    assert not silent.barrier()
    assert not Notifier("/nonexistent/notify").ready()


def test_an_abstract_address_is_understood() -> None:
    name = f"zarrfs-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name)
        receiver.settimeout(30)
        assert Notifier.from_environment({"NOTIFY_SOCKET": "@" + name}).ready()
        assert receiver.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_interval_is_half_of_what_is_allowed(
    environment: dict[str, str], interval_s: float | None
) -> None:
    assert watchdog_interval_s(environment) == interval_s


def test_stored_descriptors_are_taken_once_and_not_inherited() -> None:
    first = 200
    with open(os.devnull) as null:
        os.dup2(null.fileno(), first, inheritable=True)
        os.dup2(null.fileno(), first + 1, inheritable=True)
    try:
        environment = {
            "LISTEN_FDS": "2",
            "LISTEN_FDNAMES": "mount-a:mount-b",
            "LISTEN_PID": str(os.getpid()),
            "HOME": "/",
        }
        taken = take_stored_descriptors(environment, first=first)
        assert taken == [("mount-a", first), ("mount-b", first + 1)]
        assert not os.get_inheritable(first)
        assert environment == {"HOME": "/"}
        assert take_stored_descriptors(environment, first=first) == []
    finally:
        os.close(first)
        os.close(first + 1)


def test_descriptors_meant_for_another_process_are_left() -> None:
    assert take_stored_descriptors({"LISTEN_FDS": "1", "LISTEN_PID": "1"}) == []
