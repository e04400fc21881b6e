"""The units under a real systemd: clients live through all that it does to the service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients_at_work import Client
from tests.commands import ZARRFS
from tests.service import wait_for
from tests.systemd import DBUS, UNITS, Systemd, need_systemd

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("systemd")]

FILES = {f"array/c/{i}": bytes([i]) * 50_000 for i in range(10)}
UNIT = "zarrfs.service"
CONFIG = """\
defaults: {permissions: {allow_other: true}, mkdir: true, threads: 2}
mounts:
  - {name: zip, source: ../data/a.zip, target: ../data/zip}
  - {name: folder, source: ../data/source, target: ../data/folder, mode: rw}
"""
HIGHEST_EXPOSURE = 4.5
"""What `systemd-analyze security` may say at most; 10 is a service without any bound."""


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """A systemd whose zarrfs.service was started; the tests share it, in their order."""
    need_systemd()
    if DBUS is None:
        pytest.skip("optional: no dbus-daemon, by which a user other than root asks systemd")
    systemd = Systemd(tmp_path_factory.mktemp("systemd"))
    try:
        srv = systemd.root / "srv"
        for folder in ("etc", "data", "data/source"):
            (srv / folder).mkdir()
        with zipfile.ZipFile(srv / "data/a.zip", "w") as archive:
            for key, content in FILES.items():
                archive.writestr(key, content)
        systemd.run("chown", "-R", "zarrfs:zarrfs", "/srv/data")
        (srv / "etc/zarrfs.yaml").write_text(CONFIG)
        systemd.systemctl("start", "dbus.service", UNIT)
        yield systemd
    finally:
        systemd.close()


def fuse_mounts(systemd: Systemd) -> set[str]:
    """Return the names of the folders below /srv/data that are mounts of zarrfs."""
    mounts = systemd.run("cat", "/proc/self/mounts").stdout
    return set(re.findall(r" /srv/data/(\S+) fuse\.zarrfs ", mounts))


def main_pid(systemd: Systemd) -> str:
    return systemd.show(UNIT, "MainPID")


def status(systemd: Systemd) -> dict[str, dict[str, object]]:
    asked = systemd.run(str(ZARRFS), "status", "--json", check=False)
    return {mount["name"]: mount for mount in json.loads(asked.stdout or "[]")}


@contextmanager
def working(systemd: Systemd) -> Iterator[None]:
    """Read and write all the time, with files held open throughout."""
    data = systemd.root / "srv/data"
    held = os.open(data / "zip/array/c/3", os.O_RDONLY)
    log = os.open(data / "folder/log", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    lines = os.fstat(log).st_size // 8

    def read() -> None:
        for key, content in FILES.items():
            assert (data / "zip" / key).read_bytes() == content
        assert os.pread(held, 100_000, 0) == FILES["array/c/3"]
        assert sorted(os.listdir(data / "zip/array/c")) == sorted(map(str, range(len(FILES))))

    def write() -> None:
        nonlocal lines
        os.write(log, b"%7d\n" % lines)
        os.fsync(log)
        lines += 1
        part, final = data / "folder/chunk.partial", data / "folder/chunk"
        part.write_bytes(b"%d" % lines * 1000)
        os.rename(part, final)
        assert final.read_bytes() == b"%d" % lines * 1000

    clients = [Client(read), Client(write)]
    try:
        yield
        for client in clients:
            client.wait_for_more()
    except BaseException:
        print(systemd.log())
        raise
    finally:
        errors = [client.end() for client in clients]
        written = os.pread(log, 1 << 24, 0)
        os.close(held)
        os.close(log)
    for error in filter(None, errors):
        print(systemd.log())
        raise error
    assert [int(line) for line in written.split()] == list(range(lines))


def test_start_and_reload(systemd: Systemd) -> None:
    assert systemd.show(UNIT, "StatusText") == "2 of 2 mounts serving"
    assert systemd.run("stat", "-c", "%U", f"/proc/{main_pid(systemd)}").stdout == "zarrfs\n"
    assert fuse_mounts(systemd) == {"zip", "folder"}
    before = status(systemd)
    text = CONFIG + "  - {name: memory, source: 'memory:', target: ../data/memory}\n"
    (systemd.root / "srv/etc/zarrfs.yaml").write_text(text)
    systemd.systemctl("reload", UNIT)
    wait_for("the new mount", lambda: "memory" in fuse_mounts(systemd))
    wait_for("READY again", lambda: systemd.show(UNIT, "StatusText") == "3 mounts")
    (systemd.root / "srv/etc/zarrfs.yaml").write_text("mounts: nothing")
    systemd.systemctl("reload", UNIT)
    refused = "3 mounts; the last reload was refused"
    wait_for("the refusal", lambda: systemd.show(UNIT, "StatusText") == refused)
    (systemd.root / "srv/etc/zarrfs.yaml").write_text(text)
    after = status(systemd)
    assert [after[name]["pid"] for name in before] == [mount["pid"] for mount in before.values()]
    assert int(systemd.show(UNIT, "NFileDescriptorStore")) > 3


@pytest.mark.parametrize(
    "orders",
    [
        ["restart"],
        ["try-restart"],
        ["kill --signal=KILL --kill-who=main"],
        ["kill --signal=KILL --kill-who=all"],
        ["daemon-reexec", "restart"],
    ],
    ids=["restart", "try-restart", "supervisor killed", "all killed", "systemd executed anew"],
)
def test_clients_live_through(systemd: Systemd, orders: list[str]) -> None:
    def next_run() -> bool:
        return main_pid(systemd) not in (before, "0") and (
            systemd.show(UNIT, "ActiveState") == "active"
        )

    with working(systemd):
        before, mounts = main_pid(systemd), fuse_mounts(systemd)
        for order in orders:
            systemd.systemctl(*order.split(), *([UNIT] if order != "daemon-reexec" else []))
        wait_for("the next run", next_run)
        assert fuse_mounts(systemd) == mounts


def test_stop_unmounts_and_keeps_nothing(systemd: Systemd) -> None:
    systemd.systemctl("stop", UNIT)
    assert fuse_mounts(systemd) == set()
    assert systemd.show(UNIT, "Result") == "success"
    assert systemd.show(UNIT, "NFileDescriptorStore") == "0"


def test_an_instance_serves_a_file_of_its_own(systemd: Systemd) -> None:
    systemd.systemctl("stop", UNIT)  # whose mounts are not in question here
    srv = systemd.root / "srv"
    (srv / "etc/climate.yaml").write_text(CONFIG.replace("/folder", "/other"))
    (srv / "etc/any.yaml").write_text(
        "mounts: [{name: '${INSTANCE}', source: '../data/${INSTANCE}.zip', mkdir: true, "
        "target: '../data/${INSTANCE}', permissions: {allow_other: true}}]"
    )
    (srv / "etc/a.yaml").symlink_to("any.yaml")
    systemd.systemctl("start", "zarrfs@climate.service", "zarrfs@a.service")
    assert (srv / "data/zip/array/c/1").read_bytes() == FILES["array/c/1"]
    assert (srv / "data/a/array/c/2").read_bytes() == FILES["array/c/2"]
    (srv / "data/other/new").write_text("new")
    assert (srv / "data/source/new").read_text() == "new"
    systemd.systemctl("stop", "zarrfs@climate.service", "zarrfs@a.service")
    assert fuse_mounts(systemd) == set()


def test_what_another_start_would_not_mend_is_not_started_again(systemd: Systemd) -> None:
    etc = systemd.root / "srv/etc"
    (etc / "wrong.yaml").write_text("mounts: nothing")
    (etc / "required.yaml").write_text(
        "mounts: [{name: a, source: gone.zip, target: ../data/b, mkdir: true, required: true}]"
    )
    for name, status in (("wrong", "2"), ("required", "3")):
        unit = f"zarrfs@{name}.service"
        systemd.run("systemctl", "start", unit, check=False)
        wait_for("its end", lambda unit=unit: systemd.show(unit, "ActiveState") == "failed")  # type: ignore[misc]
        assert systemd.show(unit, "ExecMainStatus") == status
        assert systemd.show(unit, "NRestarts") == "0"
    assert "mounts: must be a list" in systemd.log()


MOUNT_UNIT = """\
[Mount]
What=/srv/data/a.zip
Where=/srv/{name}
Type=zarrfs
Options=ro,_netdev,x-systemd.idle-timeout=60
"""
AUTOMOUNT_UNIT = "[Automount]\nWhere=/srv/{name}\n"


def test_mount_units_and_automount_units(systemd: Systemd) -> None:
    own_sbin = "lowerdir=/usr/sbin,upperdir=/srv/upper,workdir=/srv/work"
    systemd.run("mkdir", "/srv/upper", "/srv/work")
    systemd.run("mount", "-t", "overlay", "-o", own_sbin, "overlay", "/usr/sbin")
    systemd.run(str(ZARRFS), "install-helper")
    units = systemd.root / "run/units"
    for name in ("plain", "demand"):
        (systemd.root / "srv" / name).mkdir()
        (units / f"srv-{name}.mount").write_text(MOUNT_UNIT.format(name=name))
    (units / "srv-demand.automount").write_text(AUTOMOUNT_UNIT.format(name="demand"))
    systemd.systemctl("daemon-reload")
    systemd.systemctl("start", "srv-plain.mount")
    assert (systemd.root / "srv/plain/array/c/1").read_bytes() == FILES["array/c/1"]
    systemd.systemctl("stop", "srv-plain.mount")
    assert list((systemd.root / "srv/plain").iterdir()) == []
    if systemd.run("systemctl", "start", "srv-demand.automount", check=False).returncode != 0:
        pytest.skip("optional: no autofs here")
    assert systemd.show("srv-demand.mount", "ActiveState") == "inactive"
    found = systemd.run("cmp", "-n", "50000", "/srv/demand/array/c/1", "/srv/demand/array/c/1")
    assert found.returncode == 0
    assert systemd.show("srv-demand.mount", "ActiveState") == "active"
    systemd.systemctl("stop", "srv-demand.automount", "srv-demand.mount")


# What systemd-analyze says of the files, without a systemd that runs


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The unit files, with a program that exists."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("optional: no systemd-analyze")
    for unit in UNITS.glob("*.service"):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/bin/zarrfs", "/bin/true"))
    return tmp_path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["zarrfs.service", "zarrfs@climate.service"])
def test_systemd_finds_nothing_wrong(units: Path, name: str) -> None:
    verified = analyze("verify", units / name)
    assert verified.returncode == 0
    assert "zarrfs" not in verified.stderr, verified.stderr


@pytest.mark.parametrize("name", ["zarrfs.service", "zarrfs@.service"])
def test_exposure_stays_bounded(
    units: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    judged = analyze("security", "--offline=true", "--no-pager", units / name)
    found = re.search(r"Overall exposure level for \S+ ([0-9.]+)", judged.stdout)
    assert found is not None, judged.stdout + judged.stderr
    record_property(f"exposure of {name}", found[1])
    print(f"exposure of {name}: {found[1]}")
    assert float(found[1]) <= HIGHEST_EXPOSURE
