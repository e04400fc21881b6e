"""`zarrfs serve`: reloads, failures, idle mounts, hung workers, the end."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.commands import ZARRFS, zarrfs
from tests.mount_table import fuse_mounts_below
from tests.namespaces import DETACH_FOREIGN_MOUNTS
from tests.service import PATIENCE_S, ServiceRun, need_root, running, wait_for
from zarrfs.daemon.control import ask
from zarrfs.errors import UnavailableError, UnsupportedError
from zarrfs.frontends.fusepy import describe_binding

pytestmark = pytest.mark.timeout(240)


def archive(path: Path, content: str = "content") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("file", content)
    return path


def config(*rows: str, head: str = "") -> str:
    return head + "mounts:\n" + "".join(f"  - {{{row}}}\n" for row in rows)


A = "name: a, source: a.zip, target: a, mkdir: true"
B = "name: b, source: b.zip, target: b, mkdir: true"
M = "name: m, source: 'memory:', target: m, mode: rw, mkdir: true"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    archive(tmp_path / "a.zip", "a")
    archive(tmp_path / "b.zip", "b")
    return tmp_path


def is_mounted(target: Path) -> bool:
    return any(mount.target == target for mount in fuse_mounts_below(target.parent))


def test_serves_until_told_to_end(folder: Path) -> None:
    with running(folder, config(A, B, M)) as service:
        service.wait_until_serving("a", "b", "m")
        assert (folder / "a/file").read_text() == "a"
        assert (folder / "b/file").read_text() == "b"
        (folder / "m/new").write_text("written")
        assert service.stop() == 0
        assert fuse_mounts_below(folder) == []
        assert os.listdir(service.runtime) == []


def test_open_files_do_not_keep_the_service_from_ending(folder: Path) -> None:
    with running(folder, config(A)) as service:
        service.wait_until_serving("a")
        held = os.open(folder / "a/file", os.O_RDONLY)
        assert service.stop() == 0
        assert fuse_mounts_below(folder) == []
        with pytest.raises(OSError, match="not connected"):
            os.read(held, 1)
        with suppress(OSError):
            os.close(held)


def test_a_reload_touches_only_what_changed(folder: Path) -> None:
    with running(folder, config(A, B)) as service:
        service.wait_until_serving("a", "b")
        before = service.mounts()
        with (folder / "a/file").open() as held:
            service.reload(config(A, B.replace("target: b", "target: c"), M))
            service.wait_until_serving("a", "b", "m")
            wait_for("b to move", lambda: service.mount("b").get("target") == f"{folder}/c")
            service.wait_until_serving("b")
            assert held.read() == "a"
        assert service.mount("a")["pid"] == before["a"]["pid"]
        assert (folder / "c/file").read_text() == "b"
        assert not is_mounted(folder / "b")
        service.reload(config(A))
        wait_for("b and m to end", lambda: list(service.mounts()) == ["a"])
        assert [mount.target for mount in fuse_mounts_below(folder)] == [folder / "a"]


def test_the_umask_of_the_service_is_for_its_own_files_alone(folder: Path) -> None:
    """What clients make in a folder has the mode that they ask for."""
    (folder / "source").mkdir()
    rows = (
        "name: d, source: source, target: d, mode: rw, mkdir: true",
        "name: n, source: n.zip, target: n, mode: rw, create: true, mkdir: true",
    )
    under = ("sh", "-c", 'umask 077; exec "$@"', "sh")
    with running(folder, config(*rows), under=under) as service:
        service.wait_until_serving("d", "n")
        script = "umask 002; touch d/file; mkdir d/folder; touch n/file"
        subprocess.run(["sh", "-ec", script], cwd=folder, check=True, timeout=PATIENCE_S)
        assert stat.S_IMODE((folder / "source/file").stat().st_mode) == 0o664
        assert stat.S_IMODE((folder / "source/folder").stat().st_mode) == 0o775
        assert stat.S_IMODE((folder / "n/file").stat().st_mode) == 0o664
        assert service.stop() == 0
    assert stat.S_IMODE((folder / "n.zip").stat().st_mode) == 0o600


def test_mounts_by_libfuse_come_back_and_leave_nothing(folder: Path) -> None:
    """Their connection is lost with their worker, so a kill is an error for clients."""
    try:
        describe_binding()
    except UnsupportedError as error:
        pytest.skip(f"optional: {error}")
    row = "name: f, source: b.zip, target: new/f, frontend: fusepy, mkdir: true"
    with running(folder, config(A, row)) as service:
        service.wait_until_serving("f")
        assert (folder / "new/f/file").read_text() == "b"
        pid = service.mount("f")["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for("a successor", lambda: service.mount("f").get("pid") not in (pid, None))
        service.wait_until_serving("f")
        held = os.open(folder / "new/f/file", os.O_RDONLY)
        assert os.read(held, 9) == b"b"
        assert service.stop() == 0
        assert fuse_mounts_below(folder) == []
        with suppress(OSError):
            os.close(held)


def test_targets_are_swapped_and_names_changed(folder: Path) -> None:
    with running(folder, config(A, B)) as service:
        service.wait_until_serving("a", "b")
        swapped = A.replace("target: a", "target: b"), B.replace("target: b", "target: a")
        service.reload(config(*swapped))
        wait_for("a to move", lambda: service.mount("a").get("target") == f"{folder}/b")
        wait_for("b to move", lambda: service.mount("b").get("target") == f"{folder}/a")
        service.wait_until_serving("a", "b")
        assert (folder / "b/file").read_text() == "a"
        assert (folder / "a/file").read_text() == "b"
        pid = service.mount("b")["pid"]
        service.reload(config(swapped[0].replace("name: a", "name: z"), swapped[1]))
        wait_for("the new name", lambda: set(service.mounts()) == {"z", "b"})
        service.wait_until_serving("z")
        assert (folder / "b/file").read_text() == "a"
        service.config.unlink()
        service.process.send_signal(signal.SIGHUP)
        wait_for("the refusal", lambda: "No such file" in service.log.read_text())
        assert service.mount("b")["pid"] == pid
        assert (folder / "a/file").read_text() == "b"


def test_what_workers_need_not_know_changes_without_a_new_mount(folder: Path) -> None:
    """And a mount that waits is tried at once: the back-off would be longer than the test."""
    waiting = "name: c, source: c.zip, target: c, mkdir: true"
    with running(folder, config(A, M, waiting)) as service:
        service.wait_until_serving("a", "m")
        before = service.mounts()
        (folder / "m/kept").write_text("in memory")
        with (folder / "a/file").open() as held:
            changed = config(f"{A}, required: true, log_level: debug", f"{M}, idle_timeout: 0.3s")
            service.reload(changed + f"  - {{{waiting}}}\n")
            service.wait_until("m", "idle")
            assert held.read() == "a"
        assert service.mount("a")["pid"] == before["a"]["pid"]
        assert (folder / "m/kept").read_text() == "in memory"
        archive(folder / "c.zip")
        service.process.send_signal(signal.SIGHUP)
        service.wait_until_serving("c")
        service.kill_worker("a")
        assert (folder / "a/file").read_text() == "a"


def test_a_bad_file_changes_nothing(folder: Path) -> None:
    with running(folder, config(A)) as service:
        service.wait_until_serving("a")
        before = service.mount("a")["pid"]
        service.reload("mounts: [{name: a}]")
        wait_for("the refusal", lambda: "everything stays as it is" in service.log.read_text())
        assert "mounts[0].source: missing" in service.log.read_text()
        assert service.mount("a")["pid"] == before
        assert (folder / "a/file").read_text() == "a"


def test_one_failure_keeps_nobody_down_and_is_retried(folder: Path) -> None:
    (folder / "b.zip").write_text("no archive")
    with running(folder, config(A, B, "name: c, source: gone.zip, target: c, mkdir: true")) as (
        service
    ):
        service.wait_until_serving("a")
        assert "gone.zip" in service.wait_until("c", "waiting")["reason"]
        assert "b.zip" in service.wait_until("b", "waiting")["reason"]
        assert not is_mounted(folder / "b")
        archive(folder / "new.zip", "late")
        os.replace(folder / "new.zip", folder / "gone.zip")
        service.wait_until_serving("c")
        assert (folder / "c/file").read_text() == "late"


def test_a_required_mount_that_fails_ends_the_service(folder: Path) -> None:
    gone = "name: c, source: gone.zip, target: c, mkdir: true, required: true"
    with running(folder, config(A, gone)) as service:
        assert service.process.wait(60) == 3
        assert "c is required and failed" in service.log.read_text()
        assert fuse_mounts_below(folder) == []


def test_an_idle_mount_rests_and_wakes_unnoticed(folder: Path) -> None:
    rows = (
        f"{A}, idle_timeout: 0.3s, hang_timeout: 2s",
        f"{M}, idle_timeout: 0.3s, hang_timeout: 2s",
    )
    with running(folder, config(*rows)) as service:
        service.wait_until_serving("m")
        (folder / "m/kept").write_text("kept")
        with (folder / "m/kept").open("a") as held:
            for name in ("a", "m"):
                assert service.wait_until(name, "idle")["pid"] is None
            assert (folder / "m/kept").read_text() == "kept"
            held.write(" on")
        assert (folder / "m/kept").read_text() == "kept on"
        assert (folder / "a/file").read_text() == "a"
        service.wait_until("m", "idle")
        assert service.stop() == 0


def test_a_hung_worker_is_replaced_after_its_stacks_are_logged(folder: Path) -> None:
    with running(folder, config(f"{A}, hang_timeout: 1s")) as service:
        pid = service.wait_until("a", "serving")["pid"]
        os.kill(pid, signal.SIGSTOP)
        assert (folder / "a/file").read_text() == "a"
        wait_for("a successor", lambda: service.mount("a").get("pid") not in (pid, None))
        log = service.log.read_text()
        assert "was silent for" in log


def test_a_hung_worker_hangs_nobody_who_asks(folder: Path) -> None:
    """Questions that it does not read fill its socket, which holds a few hundred."""
    with running(folder, config(f"{A}, hang_timeout: 10m", B)) as service:
        service.wait_until_serving("a", "b")
        pid = service.mount("a")["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(3000):
                ask(service.socket, "report")
            assert service.mount("a")["pid"] == pid
        finally:
            os.kill(pid, signal.SIGCONT)
        service.kill_worker("b")


def test_a_worker_that_hangs_again_and_again_is_given_up(folder: Path) -> None:
    with running(folder, config(f"{A}, hang_timeout: 1s", B)) as service:
        service.wait_until_serving("a", "b")
        stopped: set[int] = set()

        def stopped_until_given_up() -> bool:
            mount = service.mount("a")
            if mount.get("state") == "serving" and mount["pid"] not in stopped:
                os.kill(mount["pid"], signal.SIGSTOP)
                stopped.add(mount["pid"])
            return mount.get("state") == "given up"

        wait_for("a to be given up", stopped_until_given_up, 90)
        assert len(stopped) <= 6
        wait_for("a to be unmounted", lambda: not is_mounted(folder / "a"))
        assert (folder / "b/file").read_text() == "b"


def test_unmounted_by_somebody_else_it_stays_down(folder: Path) -> None:
    with running(folder, config(A, B)) as service:
        service.wait_until_serving("a", "b")
        zarrfs("unmount", folder / "a")
        service.wait_until("a", "stopped")
        assert (folder / "b/file").read_text() == "b"
        service.reload(config(A, B))
        service.wait_until_serving("a")
        assert (folder / "a/file").read_text() == "a"


def test_status_shows_what_is_served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(folder, config(A)) as service:
        service.wait_until_serving("a")
        assert (folder / "a/file").read_text() == "a"
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(service.runtime))
        shown = zarrfs("status", folder / "a")
        assert "serving" in shown.stdout
        assert str(folder / "a") in shown.stdout.replace("\n", "").replace(" ", "")
        assert zarrfs("status", folder / "nowhere", check=False).returncode == 3


SNAPSHOT = f"{M}, snapshot: m.zip, size: 4MiB"


def saved(path: Path) -> dict[str, str]:
    """Return what an archive holds; nothing while there is none."""
    if not path.exists():
        return {}
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name).decode() for name in file.namelist()}


def test_signals_log_statistics_and_save(folder: Path) -> None:
    (folder / "m.zip").write_bytes((folder / "a.zip").read_bytes())
    with running(folder, config(SNAPSHOT)) as service:
        service.wait_until_serving("m")
        assert (folder / "m/file").read_text() == "a"
        (folder / "m/new").write_text("written")
        service.process.send_signal(signal.SIGUSR1)
        service.process.send_signal(signal.SIGUSR2)
        wait_for("the statistics", lambda: "statistics: {" in service.log.read_text())
        wait_for("the stacks", lambda: "most recent call first" in service.log.read_text())
        wait_for("the snapshot", lambda: saved(folder / "m.zip").get("new") == "written")
        with pytest.raises(OSError, match="No space left"):
            (folder / "m/large").write_bytes(bytes(8 << 20))
        (folder / "m/large").unlink()
        service.kill_worker("m")
        (folder / "m/last").write_text("too")
        assert service.stop() == 0
    assert saved(folder / "m.zip") == {"file": "a", "new": "written", "last": "too"}


def test_unmount_waits_until_a_killed_workers_successor_has_written(folder: Path) -> None:
    with running(folder, config(SNAPSHOT)) as service:
        pid = service.wait_until("m", "serving")["pid"]
        (folder / "m/new").write_text("written")
        os.kill(pid, signal.SIGSTOP)
        with subprocess.Popen(
            [str(ZARRFS), "unmount", str(folder / "m")],
            env={**os.environ, "RUNTIME_DIRECTORY": str(service.runtime)},
        ) as unmount:
            wait_for("m to be unmounted", lambda: not is_mounted(folder / "m"))
            assert unmount.poll() is None
            assert saved(folder / "m.zip") == {}
            os.kill(pid, signal.SIGKILL)
            assert unmount.wait(PATIENCE_S) == 0
        assert saved(folder / "m.zip") == {"new": "written"}
        assert service.mount("m")["state"] == "stopped"


def test_a_target_that_is_mounted_already_is_refused(folder: Path) -> None:
    with running(folder, config(A)) as first:
        first.wait_until_serving("a")
        (folder / "second").mkdir()
        text = config(f"name: a, source: {folder}/a.zip, target: {folder}/a")
        with running(folder / "second", text) as second:
            assert "is mounted here" in second.wait_until("a", "waiting")["reason"]
            assert second.stop() == 0
        assert (folder / "a/file").read_text() == "a"


def test_two_services_that_start_at_once_mount_once(folder: Path) -> None:
    (folder / "second").mkdir()
    text = config(f"name: a, source: {folder}/a.zip, target: {folder}/a, mkdir: true")
    with running(folder, text) as first, running(folder / "second", text) as second:

        def states() -> list[str]:
            return sorted(run.mount("a").get("state", "") for run in (first, second))

        wait_for("one to serve, one to wait", lambda: states() == ["serving", "waiting"])
        assert [mount.target for mount in fuse_mounts_below(folder)] == [folder / "a"]
        assert (folder / "a/file").read_text() == "a"


def test_a_control_socket_elsewhere_is_private_and_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(folder, config(A, head="control: {socket: my.sock}\n")) as service:
        service.wait_until_serving("a")
        assert stat.S_IMODE((folder / "my.sock").stat().st_mode) == 0o600
        assert stat.S_IMODE(service.runtime.stat().st_mode) == 0o700
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(service.runtime))
        (shown,) = json.loads(zarrfs("status", folder / "a", "--json").stdout)
        assert (shown["target"], shown["supervisor"]) == (f"{folder}/a", service.process.pid)
        zarrfs("unmount", folder / "a")
        service.wait_until("a", "stopped")


def test_a_full_runtime_folder_takes_no_mount_down(folder: Path) -> None:
    need_root()
    (folder / "run").mkdir(mode=0o700)
    boot = DETACH_FOREIGN_MOUNTS + 'mount -t tmpfs -o mode=700,nr_inodes=1 tmpfs "$0"\nexec "$@"'
    under = ("unshare", "--mount", "bash", "-c", boot, str(folder / "run"))
    with running(folder, config(A), under=under) as service:
        wait_for("the mount", lambda: "ready: 1 of 1" in service.log.read_text())
        assert "No space left" in service.log.read_text()
        root = Path(f"/proc/{service.process.pid}/root{folder}")
        assert (root / "a/file").read_text() == "a"
        assert service.stop() == 0


def test_a_report_asked_for_while_it_starts_does_no_harm(folder: Path) -> None:
    rows = [f"name: m{n}, source: 'memory:', target: m{n}, mkdir: true" for n in range(6)]
    with running(folder, config(*rows)) as service:
        while len(serving := [m for m in service.mounts().values() if m["pid"]]) < len(rows):
            with suppress(UnavailableError):
                ask(service.socket, "report")
        service.wait_until_serving()
        assert {mount["restarts"] for mount in serving} == {0}


@pytest.fixture
def crashing(folder: Path) -> Iterator[ServiceRun]:
    with running(folder, config(A, B)) as service:
        service.wait_until_serving("a", "b")
        yield service


def test_a_worker_that_dies_again_and_again_is_given_up(crashing: ServiceRun) -> None:
    """SIGSEGV is a worker's own fault; five in a row leave no dead mount behind."""
    for _ in range(5):
        pid = crashing.wait_until("a", "serving")["pid"]
        os.kill(pid, signal.SIGSEGV)
        wait_for(
            f"the end of {pid}",
            lambda pid=pid: crashing.mount("a")["pid"] != pid,  # type: ignore[misc]
        )
    crashing.wait_until("a", "given up")
    assert crashing.log.read_text().count("given up") == 1
    wait_for("a to be unmounted", lambda: not is_mounted(crashing.folder / "a"))
    assert (crashing.folder / "b/file").read_text() == "b"
