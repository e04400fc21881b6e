"""A mount's supervisor begins again after it was killed: `python -m zarrfs.daemon.revival`.

Started by the store that keeps the mount's descriptors, as a new program: after
an upgrade it is the new version. What is mounted how it learns from the store.
"""

from __future__ import annotations

import logging
import os
import sys

from zarrfs.daemon.background_log import log_to
from zarrfs.daemon.process_name import SUPERVISOR, name_process
from zarrfs.daemon.single import go_on
from zarrfs.errors import ZarrfsError

_log = logging.getLogger("zarrfs.mount")


def revival_command(target: str, *, log: str, log_level: str) -> list[str]:
    """Return the command that goes on with a mount; `log` is as for `log_to`."""
    # -P: whatever lies in the folder that it is started in is no module of ours.
    return [sys.executable, "-P", "-m", "zarrfs.daemon.revival", target, log, log_level]


class _Logged:
    """Nobody waits for a mount that was there before: `StartReport`."""

    def serving(self) -> bool:
        _log.info("supervisor %d goes on", os.getpid())
        return True

    def failed(self, error: ZarrfsError | OSError) -> None:
        _log.error("cannot go on: %s", error)


def main(target: str, log: str, log_level: str) -> int:
    name_process(SUPERVISOR)
    log_to(log, log_level)
    command = revival_command(target, log=log, log_level=log_level)
    return 0 if go_on(target, _Logged(), revive=command) else 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
