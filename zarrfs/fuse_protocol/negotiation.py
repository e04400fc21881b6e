"""INIT: what the kernel offers, what we wish, what both settle on.

Pure. `Negotiated` is a plain value that can be pickled: INIT is sent once per
connection, so whoever takes over a descriptor needs what its predecessor
settled. Every wish that the kernel does not meet is recorded by name, together
with what happens instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from zarrfs.errors import MalformedMessageError, UnsupportedError
from zarrfs.fuse_protocol import structs
from zarrfs.fuse_protocol.flags import KERNEL_MAJOR, KERNEL_MINOR, OLDEST_MINOR, InitFlags
from zarrfs.fuse_protocol.requests import HEADER_SIZE, Message

_LOW_WORD = (1 << 32) - 1
PAGE_SIZE_BYTES = 4096

FALLBACKS: dict[InitFlags, str] = {
    InitFlags.ASYNC_READ: "reads are sent one by one",
    InitFlags.ATOMIC_O_TRUNC: "O_TRUNC arrives as a SETATTR of its own",
    InitFlags.BIG_WRITES: "writes arrive in pages",
    InitFlags.AUTO_INVAL_DATA: "content changed underneath is seen at the next open",
    InitFlags.DO_READDIRPLUS: "each listed name costs a LOOKUP",
    InitFlags.READDIRPLUS_AUTO: "listings always carry attributes",
    InitFlags.ASYNC_DIO: "direct reads and writes are sent one by one",
    InitFlags.WRITEBACK_CACHE: "small writes are sent one by one",
    InitFlags.NO_OPEN_SUPPORT: "each open costs a round trip",
    InitFlags.PARALLEL_DIROPS: "lookups in one folder wait for each other",
    InitFlags.ABORT_ERROR: "an aborted mount looks like an unmounted one",
    InitFlags.MAX_PAGES: "requests carry at most 128 KiB",
    InitFlags.CACHE_SYMLINKS: "each readlink costs a round trip",
    InitFlags.NO_OPENDIR_SUPPORT: "each opendir costs a round trip",
    InitFlags.HANDLE_KILLPRIV_V2: "each write costs a GETXATTR",
    InitFlags.INIT_EXT: "no flags above 31",
    InitFlags.HAS_EXPIRE_ONLY: "invalidated names are dropped rather than expired",
    InitFlags.DIRECT_IO_ALLOW_MMAP: "no shared mmap of files opened for direct I/O",
    InitFlags.PASSTHROUGH: "files are read and written through the daemon",
    InitFlags.HAS_RESEND: "requests in flight fail when a worker dies",
}
"""What happens where the kernel lacks a flag."""


class InitRequest(NamedTuple):
    """fuse_init_in, with `flags2` above bit 31 of `flags`."""

    major: int
    minor: int
    max_readahead: int
    flags: int


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a session asks for."""

    flags: InitFlags
    max_write: int = 1 << 20
    max_readahead: int = 16 << 20
    """An upper bound: the kernel keeps to its own where that is lower."""
    max_background: int = 64
    max_stack_depth: int = 1
    """File systems that may be stacked below a passthrough file, plus one."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What INIT settled; all that a successor needs besides the descriptor."""

    minor: int
    flags: int
    max_write: int
    max_readahead: int
    max_background: int
    max_stack_depth: int
    fallbacks: tuple[str, ...] = ()

    def has(self, flag: InitFlags) -> bool:
        return bool(self.flags & flag)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Negotiated:
        """Make it again of `dataclasses.asdict`, perhaps another version's."""
        known = {name: values[name] for name in cls.__slots__ if name in values}
        return cls(**{**known, "fallbacks": tuple(values.get("fallbacks", ()))})


def parse_init(message: Message, end: int) -> InitRequest:
    """Return an INIT request, of 16 bytes up to minor 35, of 64 since."""
    if end < HEADER_SIZE + structs.INIT_IN.size:
        raise MalformedMessageError("INIT", f"{end - HEADER_SIZE} bytes")
    major, minor, max_readahead, flags = structs.INIT_IN.unpack_from(message, HEADER_SIZE)
    if flags & InitFlags.INIT_EXT:
        if end < HEADER_SIZE + structs.INIT_IN_EXT.size:
            raise MalformedMessageError("INIT", f"{end - HEADER_SIZE} bytes with INIT_EXT")
        *_, flags2 = structs.INIT_IN_EXT.unpack_from(message, HEADER_SIZE)
        flags |= flags2 << 32
    return InitRequest(major, minor, max_readahead, flags)


def negotiate(request: InitRequest, wishes: Wishes) -> Negotiated:
    """Settle on what both sides can do.

    Raises: UnsupportedError for a kernel older than protocol 7.12.
    """
    if request.major != KERNEL_MAJOR or request.minor < OLDEST_MINOR:
        version = f"{request.major}.{request.minor}"
        oldest = f"{KERNEL_MAJOR}.{OLDEST_MINOR}"
        raise UnsupportedError("kernel", f"FUSE protocol {version} is older than {oldest}")
    wished = wishes.flags
    if wished >> 32:
        wished |= InitFlags.INIT_EXT
    agreed = wished & request.flags
    max_write = wishes.max_write
    if not agreed & InitFlags.MAX_PAGES:
        max_write = min(max_write, 32 * PAGE_SIZE_BYTES)
    return Negotiated(
        minor=min(request.minor, KERNEL_MINOR),
        flags=int(agreed),
        max_write=max_write,
        max_readahead=wishes.max_readahead,
        max_background=wishes.max_background,
        max_stack_depth=wishes.max_stack_depth if agreed & InitFlags.PASSTHROUGH else 0,
        fallbacks=_fallbacks(wished & ~agreed),
    )


def _fallbacks(missing: int) -> tuple[str, ...]:
    return tuple(
        f"{flag.name}: {FALLBACKS.get(flag, 'not offered')}" for flag in InitFlags if flag & missing
    )


def init_reply(negotiated: Negotiated) -> bytes:
    """Return fuse_init_out: 24 bytes up to minor 22, 64 since."""
    settled = negotiated
    congestion_threshold = settled.max_background * 3 // 4
    start = (
        KERNEL_MAJOR,
        settled.minor,
        settled.max_readahead,
        settled.flags & _LOW_WORD,
        settled.max_background,
        congestion_threshold,
        settled.max_write,
    )
    if settled.minor < 23:
        return structs.INIT_OUT_22.pack(*start)
    max_pages = -(-settled.max_write // PAGE_SIZE_BYTES) if settled.has(InitFlags.MAX_PAGES) else 0
    return structs.INIT_OUT.pack(
        *start,
        1,  # time_gran: nanoseconds
        max_pages,
        0,  # map_alignment
        settled.flags >> 32,
        settled.max_stack_depth,
        0,  # request_timeout: a slow backend is not a dead one
    )
