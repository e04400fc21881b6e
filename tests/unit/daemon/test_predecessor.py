"""A worker begins only when the one before it is gone."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import pytest

from zarrfs.daemon.predecessor import end_predecessor

LOG = logging.getLogger("zarrfs.test")


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = os.memfd_create("alive")
    yield descriptor
    os.close(descriptor)


def holding(memory: int) -> int:
    """Start a process that holds the lock until it is killed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        end_predecessor(memory, LOG)
        os.write(writer, b".")
        while True:
            signal.pause()
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return pid


def test_a_living_predecessor_is_ended(memory: int) -> None:
    pid = holding(memory)
    end_predecessor(memory, LOG)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_a_dead_one_is_not_missed(memory: int) -> None:
    pid = holding(memory)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    end_predecessor(memory, LOG)
    end_predecessor(memory, LOG)  # and one's own lock is no obstacle
