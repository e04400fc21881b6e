"""Whatever bytes come: a parser returns arguments or raises MalformedMessageError."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.fuse_protocol.wire import request
from zarrfs.errors import MalformedMessageError
from zarrfs.fuse_protocol import requests
from zarrfs.fuse_protocol.opcodes import WIRE, Opcode

# Bodies that are random, and bodies that nearly make sense.
BODIES = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda words, names: b"".join(word.to_bytes(4, "little") for word in words) + names,
        st.lists(st.sampled_from([0, 1, 2, 3, 8, 0x7FFFFFFF, 0xFFFFFFFF]), max_size=24),
        st.sampled_from([b"", b"a\0", b"a\0b\0", b"a", b"\0", b"a\0b\0c\0", b"\xff\0"]),
    ),
)


@settings(max_examples=150)
@given(st.sampled_from(sorted(WIRE)), BODIES, st.binary(max_size=64))
def test_parsers(opcode: Opcode, body: bytes, stale: bytes) -> None:
    message = bytearray(request(opcode, body))
    end = len(message)
    message += stale
    try:
        parsed = WIRE[opcode].parse(message, end)
    except MalformedMessageError:
        return
    assert isinstance(parsed, tuple)


@settings(max_examples=100)
@given(st.binary(max_size=120), st.integers(0, 160))
def test_headers(message: bytes, end: int) -> None:
    try:
        fields = requests.header(message, min(end, len(message)))
    except MalformedMessageError:
        return
    assert fields[0] == min(end, len(message))
