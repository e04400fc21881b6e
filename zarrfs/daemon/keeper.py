"""A worker's side of what outlives it: descriptors given to the supervisor by name."""

from __future__ import annotations

import os
from collections.abc import Mapping

from zarrfs.daemon.channel import Channel, Forget, Keep


class Keeper:
    """What a predecessor left, and what this worker leaves. Any thread may call."""

    def __init__(self, kept: Mapping[str, int], channel: Channel) -> None:
        self._kept = dict(kept)
        self._channel = channel

    @property
    def names(self) -> Mapping[str, int]:
        """What is kept now, a predecessor's and ours."""
        return self._kept

    def get(self, name: str) -> int | None:
        """Return the descriptor that a predecessor left under a name."""
        return self._kept.get(name)

    def keep(self, name: str, descriptor: int) -> None:
        """Let a successor have a copy of a descriptor, from now on."""
        self._kept[name] = descriptor
        self._channel.send(Keep((name,)), [descriptor])

    def forget(self, name: str) -> None:
        if self._kept.pop(name, None) is not None:
            self._channel.send(Forget((name,)))

    def memory(self, name: str) -> int:
        """Return the memfd a predecessor left under a name, or a new, empty one."""
        descriptor = self._kept.get(name)
        if descriptor is None:
            descriptor = os.memfd_create(f"zarrfs-{name}", os.MFD_CLOEXEC)
            self.keep(name, descriptor)
        return descriptor
