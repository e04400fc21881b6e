"""`zarrfs serve` as a process of its own, with a runtime folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ZARRFS
from tests.mount_table import fuse_mounts_below, remove
from zarrfs.daemon.control import ask
from zarrfs.errors import UnavailableError

PATIENCE_S = 60.0


def wait_for(what: str, true: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Wait until a condition holds, and return what it returned."""
    deadline = time.monotonic() + patience_s
    while not (found := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience_s:.0f} s in vain for: {what}")
        time.sleep(0.02)
    return found


class ServiceRun:
    """One running service."""

    def __init__(
        self,
        folder: Path,
        config: str,
        environment: dict[str, str] | None = None,
        *,
        under: Sequence[str] = (),
    ) -> None:
        """`under` is a command that becomes the service's, such as unshare's; it may change."""
        self.folder = folder
        self.config = folder / "zarrfs.yaml"
        self.config.write_text(config)
        self.runtime = folder / "run"
        self.log = folder / "service.log"
        self._environment = {**os.environ, "RUNTIME_DIRECTORY": str(self.runtime)}
        self._environment |= environment or {}
        self.under = under
        self._prepared: list[subprocess.Popen[bytes]] = []
        self.process = self._start()

    def _start(
        self, before: Sequence[str] = (), *, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*before, *self.under, str(ZARRFS), "serve", "--config", str(self.config)],
                stdin=stdin,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    @property
    def socket(self) -> str:
        return str(self.runtime / f"{self.process.pid}.sock")

    def mounts(self) -> dict[str, dict[str, Any]]:
        """Return every mount's status by name; empty while nobody answers."""
        try:
            return {mount["name"]: mount for mount in ask(self.socket, "status")["mounts"]}
        except UnavailableError:
            return {}

    def mount(self, name: str) -> dict[str, Any]:
        return self.mounts().get(name, {})

    def wait_until(self, name: str, state: str) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            assert self.process.poll() is None, self.log.read_text()
            mount = self.mount(name)
            return mount if mount.get("state") == state else {}

        found: dict[str, Any] = wait_for(f"{name} to be {state}", look)
        return found

    def wait_until_serving(self, *names: str) -> None:
        for name in names or self.mounts_in_config():
            self.wait_until(name, "serving")

    def mounts_in_config(self) -> list[str]:
        import yaml

        return [mount["name"] for mount in yaml.safe_load(self.config.read_text())["mounts"]]

    def kill_worker(self, name: str) -> int:
        """Kill a worker that serves; wait until its successor serves; return its pid."""
        pid: int = self.wait_until(name, "serving")["pid"]
        os.kill(pid, signal.SIGKILL)

        def replaced() -> bool:
            mount = self.mount(name)
            return mount.get("state") == "serving" and mount.get("pid") != pid

        wait_for(f"a successor of {pid}", replaced)
        return pid

    def reload(self, config: str) -> None:
        self.config.write_text(config)
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def kill(self, *, workers_too: bool) -> None:
        """Kill the supervisor, and its workers if they are to go with it."""
        workers = [mount["pid"] for mount in self.mounts().values() if workers_too]
        for pid in [self.process.pid, *workers]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def prepare_next(self) -> subprocess.Popen[bytes]:
        """Return a process that becomes the service's next run once its input ends.

        Started before clients have files open: to start one later would close
        copies of those in the child, and wait for whoever serves them.
        """
        process = self._start(["sh", "-c", 'read _; exec "$@"', "sh"], stdin=subprocess.PIPE)
        self._prepared.append(process)
        return process

    def kill_and_go_on_with(self, process: subprocess.Popen[bytes], *, workers_too: bool) -> None:
        self.kill(workers_too=workers_too)
        assert process.stdin is not None
        process.stdin.close()
        self._prepared.remove(process)
        self.process = process
        self.wait_until_serving()

    def clean_up(self) -> None:
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        for process in self._prepared:
            process.kill()
            process.communicate()
        for mount in fuse_mounts_below(self.folder):
            remove(mount)


@contextmanager
def running(
    folder: Path,
    config: str,
    environment: dict[str, str] | None = None,
    *,
    under: Sequence[str] = (),
) -> Iterator[ServiceRun]:
    """Run a service until the end of the block; its log is shown when the test fails."""
    run = ServiceRun(folder, config, environment, under=under)
    try:
        yield run
    finally:
        print(run.log.read_text())
        run.clean_up()


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("optional: needs root")
