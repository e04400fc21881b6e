"""A process that serves a native mount and does as it is told, for tests of the frontend.

Run as `python -m tests.native_serving JSON`; `Server` is the test's end of it. It
answers each line on stdin (a JSON list: a command and its arguments) with a line on
stdout. It never touches the mount that it serves.
"""

from __future__ import annotations

import codecs
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zarrfs.errors import ZarrfsError
from zarrfs.frontends.native import NativeMount, NativeOptions, adopt_native, mount_native
from zarrfs.fuse_protocol.negotiation import Negotiated
from zarrfs.storage.backend import Key
from zarrfs.storage.storage import Storage
from zarrfs.storage.tree import Buffer, NodeId
from zarrfs.vfs.filesystem import Vfs
from zarrfs.vfs.operations import Caller, FileHandle
from zarrfs.vfs.options import VfsOptions

# The test's end


class Server:
    """A serving process and its answers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.first = self._answer()

    def ask(self, command: str, *arguments: object) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the serving process ended"
        return json.loads(line)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def serving(target: Path, source: str = "memory", **settings: Any) -> Iterator[Server]:
    """Serve until the block ends, and then unmount; see `main` for the settings."""
    fds = [settings[name] for name in ("fd", "ledger_fd") if name in settings]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.native_serving",
         json.dumps({"target": str(target), "source": source, **settings})],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=fds,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    try:
        yield Server(process)
    finally:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()  # it unmounts and ends
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


# The serving process


class Hanging(Vfs):
    """Reads never end, once `marker` has been made to say that one began."""

    marker = ""

    def read(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, offset: int, size: int
    ) -> Buffer:
        Path(self.marker).touch()
        while True:
            time.sleep(3600)


def open_filesystem(
    source: str, hang: str | None = None, *, read_only: bool = False
) -> tuple[Vfs, Storage]:
    from zarrfs.daemon.mounting import tree_of

    kind, _, path = source.partition(":")
    if kind == "memory":
        storage = Storage.init("memory")
    else:
        storage = Storage.open(path, kind, read_only=read_only)
    options = VfsOptions(read_only=read_only)
    if hang is None:
        return Vfs(tree_of(storage), options, storage), storage
    hanging = Hanging(tree_of(storage), options, storage)
    hanging.marker = hang
    return hanging, storage


class Commands:
    """What the process can be told to do."""

    def __init__(self, storage: Storage, mount: NativeMount) -> None:
        self.storage = storage
        self.mount = mount

    def set(self, key: str, value: str) -> None:
        self.storage.backend.set(Key(key), value.encode())

    def delete(self, key: str) -> None:
        self.storage.backend.delete(Key(key))

    def operations(self) -> dict[str, int]:
        return self.mount.counters.snapshot().operations

    def state(self) -> dict[str, object]:
        settled = self.mount.negotiated
        assert settled is not None
        return {"negotiated": asdict(settled), "fd": self.mount.fd, "pid": os.getpid()}

    def wait(self, timeout_s: float) -> bool:
        return self.mount.wait(timeout_s)

    def abort(self) -> bool:
        self.mount.abort()
        return self.mount.wait(30.0)

    def unmount(self) -> None:
        self.mount.unmount()


def cycles(target: str, count: int) -> dict[str, object]:
    """Mount and unmount so often; return what was there before and what is after."""
    counted = []
    for number in range(count + 1):
        vfs, storage = open_filesystem("memory")
        mount = mount_native(vfs, target)
        mount.start()
        mount.unmount()
        storage.close()
        if number in (0, count):
            counted.append([len(os.listdir("/proc/self/fd")), threading.active_count()])
    return {"before": counted[0], "after": counted[1]}


def become(uid: int) -> None:
    """Be an ordinary user, for good."""
    # He may not be able to read what Python would still load when it is needed.
    codecs.lookup("ascii")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def mounted(settings: dict[str, Any]) -> tuple[NativeMount, Storage]:
    options = NativeOptions(**settings.get("options", {}))
    vfs, storage = open_filesystem(
        settings["source"], settings.get("hang"), read_only=options.read_only
    )
    for key, value in settings.get("content", {}).items():
        storage.backend.set(Key(key), value.encode())
    if "uid" in settings:
        become(settings["uid"])
    target = settings["target"]
    if "fd" not in settings:
        return mount_native(vfs, target, options, ledger_fd=settings.get("ledger_fd")), storage
    settled = settings.get("negotiated")
    negotiated = settled and Negotiated(**{**settled, "fallbacks": ()})
    mount = adopt_native(
        vfs, target, settings["fd"], negotiated, options, ledger_fd=settings.get("ledger_fd")
    )
    return mount, storage


def say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


def main(settings: dict[str, Any]) -> None:
    """Serve `target`; unmount at the end of stdin.

    Settings: source (`memory`, `zip:PATH`, `directory:PATH`), content of a memory
    store, options, uid to become, fd and negotiated and ledger_fd to take over,
    hang (a marker file), cycles (only mount and unmount so often).
    """
    if "cycles" in settings:
        say(cycles(settings["target"], settings["cycles"]))
        return
    try:
        mount, storage = mounted(settings)
    except ZarrfsError as error:
        say({"error": type(error).__name__, "reason": error.reason, "remedy": error.remedy})
        return
    mount.start()
    commands = Commands(storage, mount)
    say(commands.state())
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        say(getattr(commands, command)(*arguments))
    if not mount.wait(0):
        mount.unmount()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
