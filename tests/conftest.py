"""What holds for every test: settings, a guard against hung mounts, nothing left behind.

A test that touches a mount carries the marker `mounted` (all of `tests/mounted`,
`tests/clients` and `tests/fault` do, by where they lie). Such tests are skipped where
`/dev/fuse` cannot be used; where it can, the run fails when one was skipped all the
same, unless its reason starts with `optional:` (a tool that cannot be installed here).
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.mount_table import abort, fuse_mounts_below, fuse_usable, remove

MOUNTED_FOLDERS = ("mounted", "clients", "fault")
RUN_VARIABLE = "ZARRFS_TEST_RUN"
LEFT_PROCESSES_LIMIT_S = 30.0

hypothesis.settings.register_profile(
    "zarrfs",
    deadline=None,
    database=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("zarrfs")

wrongly_skipped: list[str] = []


def is_controller(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if is_controller(config):
        # Inherited by all we start, and so the mark of a process that this run left.
        os.environ[RUN_VARIABLE] = uuid.uuid4().hex


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    usable = fuse_usable()
    soak_asked = "soak" in (config.getoption("markexpr") or "")
    for item in items:
        if item.path.is_relative_to(tests) and (
            item.path.relative_to(tests).parts[0] in MOUNTED_FOLDERS
        ):
            item.add_marker(pytest.mark.mounted)
        if item.get_closest_marker("mounted") and not usable:
            item.add_marker(pytest.mark.skip(reason="/dev/fuse cannot be used here"))
        if item.get_closest_marker("soak") and not soak_asked:
            item.add_marker(pytest.mark.skip(reason="optional: long; `make soak` runs it"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Abort the test's mounts before its time is up, so that it fails instead of hanging.

    A process that waits in a FUSE request which the daemon has read but never answers
    cannot be killed, not even by pytest-timeout's exit; an abort sets it free.
    """
    marker = item.get_closest_marker("timeout")
    limit_s = float(marker.args[0]) if marker and marker.args else item.config.getini("timeout")
    guard = threading.Timer(float(limit_s) * 0.75, abort_mounts, [item.config])
    guard.daemon = True
    if item.get_closest_marker("mounted"):
        guard.start()
    try:
        return (yield)
    finally:
        guard.cancel()


def base_folder(config: pytest.Config) -> Path:
    return config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined, no-any-return]


def abort_mounts(config: pytest.Config) -> None:
    for mount in fuse_mounts_below(base_folder(config)):
        abort(mount)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if not (report.skipped and "mounted" in report.keywords and fuse_usable()):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not reason.removeprefix("Skipped: ").startswith("optional:"):
        wrongly_skipped.append(f"{report.nodeid}: {reason}")


def left_processes() -> dict[int, str]:
    """Return the processes, other than this one, that this run started and that still run."""
    mark = f"{RUN_VARIABLE}={os.environ[RUN_VARIABLE]}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        if mark in environment and int(folder.name) != os.getpid():
            found[int(folder.name)] = command.decode(errors="replace").strip()
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run when it leaves mounts or daemons, or skipped what it could have tested."""
    if not is_controller(session.config):
        return
    faults = [f"skipped though /dev/fuse works: {test}" for test in wrongly_skipped]
    for mount in fuse_mounts_below(base_folder(session.config)):
        faults.append(f"left mounted: {mount.target}")
        remove(mount)
    deadline = time.monotonic() + LEFT_PROCESSES_LIMIT_S
    while (left := left_processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    faults += [f"left running: {pid} {command}" for pid, command in left.items()]
    if faults:
        print("\n" + "\n".join(faults))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
