"""A worker's side of what outlives it: descriptors given to the supervisor by name.

What a client was told must not depend on anything that a successor would not
have. So whoever gives something into keeping goes on only when the supervisor
has stored it. While there is no supervisor that thread waits, and with it the
request it works for: the next supervisor's worker is sent that request again.
Any thread may call.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from zarrfs.daemon.channel import Channel, Forget, Keep, Negotiated
from zarrfs.daemon.kept import FUSE, is_unmounted

_LOOK_S: Final = 1.0
_log = logging.getLogger("zarrfs.worker")


class Keeper:
    """What a predecessor left, and what this worker leaves."""

    def __init__(self, kept: Mapping[str, int], channel: Channel) -> None:
        self._kept = dict(kept)
        self._channel = channel
        self._exchange = threading.Lock()
        self.connection = kept.get(FUSE)
        """The mount's descriptor, once there is one."""

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
        self._tell(Keep((name,)), [descriptor])

    def forget(self, name: str) -> None:
        if self._kept.pop(name, None) is not None:
            self._tell(Forget((name,)))

    def note_negotiated(self, values: dict[str, Any]) -> None:
        """Let a successor know what INIT is about to be answered with."""
        self._tell(Negotiated(values))

    def memory(self, name: str) -> int:
        """Return the memfd a predecessor left under a name, or a new, empty one."""
        descriptor = self._kept.get(name)
        if descriptor is None:
            descriptor = os.memfd_create(f"zarrfs-{name}", os.MFD_CLOEXEC)
            self.keep(name, descriptor)
        return descriptor

    def _tell(self, message: Keep | Forget | Negotiated, descriptors: Sequence[int] = ()) -> None:
        with self._exchange:
            if self._channel.send(message, descriptors) and self._channel.receive() is not None:
                return
        _log.warning("no supervisor to keep what is changed; it waits for the next one")
        while not self._is_unmounted():
            time.sleep(_LOOK_S)

    def _is_unmounted(self) -> bool:
        """Whether nobody will ask again, so that nothing need outlive this worker."""
        return self.connection is None or is_unmounted(self.connection)
