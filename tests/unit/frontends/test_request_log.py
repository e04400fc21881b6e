"""What a predecessor began or did is not done twice."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from zarrfs.errors import ExistsError
from zarrfs.frontends.native.request_log import Once, RequestLog
from zarrfs.fuse_protocol.flags import UNIQUE_RESEND
from zarrfs.fuse_protocol.opcodes import Opcode
from zarrfs.storage.tree import NodeId
from zarrfs.vfs.operations import Caller

EXCHANGE = 2
UNIQUE = 40


class Folder:
    """Names and nodeids: as much of a tree as these requests need."""

    def __init__(self, **names: int) -> None:
        self.names = {name.encode(): NodeId(number) for name, number in names.items()}
        self.references = 0

    def lookup(self, caller: Caller, parent: NodeId, name: bytes) -> bytes:
        self.references += 1
        return struct.pack("=Q", self.names[name])

    def forget(self, nodeid: NodeId, count: int) -> None:
        self.references -= count

    def link(self, caller: Caller, parent: NodeId, nodeid: NodeId, name: bytes) -> bytes:
        if name in self.names:
            raise ExistsError(name.decode())
        self.names[name] = nodeid
        return self.lookup(caller, parent, name)

    def rename(
        self, caller: Caller, parent: NodeId, old: bytes, to: NodeId, new: bytes, flags: int
    ) -> None:
        assert flags == EXCHANGE
        self.names[old], self.names[new] = self.names[new], self.names[old]


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = os.memfd_create("requests")
    yield descriptor
    os.close(descriptor)


class KilledError(BaseException):
    """Nothing after this happens in a process that was killed."""


def ask(
    memory: int,
    folder: Folder,
    opcode: Opcode,
    handle: Callable[..., Any],
    *arguments: Any,
    again: bool = True,
    killed: bool = False,
) -> Any:
    """Be one process: carry the request out, perhaps killed before it can say so."""
    log = RequestLog(memory)

    def die(*_: object) -> None:
        raise KilledError

    log.give_up = lambda at: None  # type: ignore[method-assign]  # the dead do not tidy up
    if killed:
        log.finish = die  # type: ignore[method-assign,assignment]
    once = Once(log, folder.lookup, lambda *_: b"", folder.forget).wrap(opcode, handle)
    try:
        return once(Caller(0, 0, 1, UNIQUE | (UNIQUE_RESEND if again else 0)), *arguments)
    except KilledError:
        return None
    finally:
        log.close()


def die_first(*_: object) -> None:
    raise KilledError


A_AND_B = (NodeId(1), b"a", NodeId(1), b"b", EXCHANGE)


@pytest.mark.parametrize("deaths", [0, 1, 2, 3])
def test_an_exchange_is_done_once(memory: int, deaths: int) -> None:
    folder = Folder(a=5, b=6)
    for number in range(deaths):
        ask(memory, folder, Opcode.RENAME2, folder.rename, *A_AND_B, again=number > 0, killed=True)
        assert folder.names == {b"a": 6, b"b": 5}
    ask(memory, folder, Opcode.RENAME2, folder.rename, *A_AND_B, again=deaths > 0)
    ask(memory, folder, Opcode.RENAME2, folder.rename, *A_AND_B)
    assert folder.names == {b"a": 6, b"b": 5}
    assert folder.references == 0


def test_an_exchange_that_was_only_begun_is_done(memory: int) -> None:
    folder = Folder(a=5, b=6)
    for again in (False, True):
        ask(memory, folder, Opcode.RENAME2, die_first, *A_AND_B, again=again)
    ask(memory, folder, Opcode.RENAME2, folder.rename, *A_AND_B)
    assert folder.names == {b"a": 6, b"b": 5}


def test_a_link_that_is_there_already_is_ours_or_it_is_not(memory: int) -> None:
    folder = Folder(a=5)
    link = (NodeId(1), NodeId(5), b"key")
    ask(memory, folder, Opcode.LINK, folder.link, *link, again=False, killed=True)
    assert ask(memory, folder, Opcode.LINK, folder.link, *link)
    taken = Folder(a=5, key=7)
    with pytest.raises(ExistsError):
        ask(memory, taken, Opcode.LINK, taken.link, *link, again=False)
    with pytest.raises(ExistsError):
        ask(memory, taken, Opcode.LINK, taken.link, *link)
    assert taken.references == 0
