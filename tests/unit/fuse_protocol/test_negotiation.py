"""INIT between this package and kernels of all ages."""

from __future__ import annotations

import pickle
from struct import pack, unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fuse_protocol.wire import request
from zarrfs.errors import MalformedMessageError, UnsupportedError
from zarrfs.fuse_protocol.flags import KERNEL_MINOR, InitFlags
from zarrfs.fuse_protocol.negotiation import (
    FALLBACKS,
    InitRequest,
    Wishes,
    init_reply,
    negotiate,
    parse_init,
)
from zarrfs.fuse_protocol.opcodes import Opcode

WISHED = (
    InitFlags.ASYNC_READ
    | InitFlags.BIG_WRITES
    | InitFlags.DO_READDIRPLUS
    | InitFlags.MAX_PAGES
    | InitFlags.PASSTHROUGH
    | InitFlags.HAS_RESEND
)
ALL = sum(InitFlags)


def test_both_sizes_of_the_request() -> None:
    old = request(Opcode.INIT, pack("=IIII", 7, 31, 131072, InitFlags.ASYNC_READ))
    assert parse_init(old, len(old)) == (7, 31, 131072, InitFlags.ASYNC_READ)
    low = InitFlags.ASYNC_READ | InitFlags.INIT_EXT
    new = request(Opcode.INIT, pack("=IIIII44x", 7, 45, 131072, low, 1 << 5))
    assert parse_init(new, len(new)).flags == low | InitFlags.PASSTHROUGH
    with pytest.raises(MalformedMessageError):
        parse_init(new, len(new) - 1)
    with pytest.raises(MalformedMessageError):
        parse_init(old, len(old) - 1)


@pytest.mark.parametrize(
    ("minor", "offered", "reply_size", "missing"),
    [
        (12, InitFlags.ASYNC_READ, 24, {"BIG_WRITES", "DO_READDIRPLUS", "MAX_PAGES"}),
        (22, InitFlags.ASYNC_READ | InitFlags.DO_READDIRPLUS, 24, {"BIG_WRITES", "MAX_PAGES"}),
        (23, InitFlags.ASYNC_READ | InitFlags.BIG_WRITES, 64, {"DO_READDIRPLUS", "MAX_PAGES"}),
        (31, InitFlags((1 << 28) - 1), 64, set()),
        (38, InitFlags((1 << 36) - 1), 64, set()),
        (99, InitFlags(ALL), 64, None),
    ],
)
def test_what_a_kernel_lacks_is_recorded(
    minor: int, offered: InitFlags, reply_size: int, missing: set[str] | None
) -> None:
    settled = negotiate(InitRequest(7, minor, 131072, offered), Wishes(WISHED))
    assert settled.minor == min(minor, KERNEL_MINOR)
    assert settled.flags == (WISHED | InitFlags.INIT_EXT) & offered
    recorded = {text.partition(":")[0] for text in settled.fallbacks}
    if missing is None:
        assert recorded == set()
    else:
        newest = {"PASSTHROUGH", "HAS_RESEND"}
        newest |= set() if offered & InitFlags.INIT_EXT else {"INIT_EXT"}
        assert recorded == missing | newest
    assert len(init_reply(settled)) == reply_size


def test_the_reply_says_what_was_settled() -> None:
    settled = negotiate(InitRequest(7, 45, 131072, ALL), Wishes(WISHED))
    reply = init_reply(settled)
    major, minor, _, flags, _, _, max_write, time_gran, max_pages = unpack_from("=IIIIHHIIH", reply)
    assert (major, minor, max_write, time_gran, max_pages) == (7, 45, 1 << 20, 1, 256)
    flags2, max_stack_depth = unpack_from("=II", reply, 32)
    assert flags | flags2 << 32 == WISHED | InitFlags.INIT_EXT
    assert max_stack_depth == 1


def test_without_max_pages_requests_stay_small() -> None:
    settled = negotiate(InitRequest(7, 27, 131072, InitFlags.BIG_WRITES), Wishes(WISHED))
    assert settled.max_write == 128 << 10
    assert unpack_from("=H", init_reply(settled), 28) == (0,)


@pytest.mark.parametrize("version", [(7, 11), (6, 45), (8, 0)])
def test_other_protocols_are_refused(version: tuple[int, int]) -> None:
    with pytest.raises(UnsupportedError):
        negotiate(InitRequest(*version, 131072, ALL), Wishes(WISHED))


def test_a_successor_can_be_given_it() -> None:
    settled = negotiate(InitRequest(7, 31, 131072, InitFlags.ASYNC_READ), Wishes(WISHED))
    assert pickle.loads(pickle.dumps(settled)) == settled


def test_every_fallback_is_of_a_flag_and_says_something() -> None:
    assert all(text for text in FALLBACKS.values())


@given(st.integers(12, 60), st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 43) - 1))
def test_nothing_is_settled_that_one_side_did_not_want(
    minor: int, offered: int, wished: int
) -> None:
    settled = negotiate(InitRequest(7, minor, 0, offered), Wishes(InitFlags(wished)))
    assert settled.flags & ~offered == 0
    assert settled.flags & ~(wished | InitFlags.INIT_EXT) == 0
    assert len(init_reply(settled)) in (24, 64)
