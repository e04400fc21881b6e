"""systemd as PID 1 of namespaces of its own, with the units of this repository.

Its PID, mount and cgroup namespaces end with it, and so does everything in
them. Nothing of the machine is changed: `/run`, `/srv`, `/etc/passwd`,
`/dev/fuse` and the folders on the way to the interpreter are covered there.
Tests reach its files through `root`, which is the kernel's view of PID 1's.

Source: systemd(1), "PID 1" in the container interface; unshare(1), nsenter(1).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.commands import ZARRFS
from tests.namespaces import DETACH_FOREIGN_MOUNTS, OWN_FUSE_DEVICE, open_program_to_others
from tests.service import PATIENCE_S, wait_for

UNITS = Path(__file__).parent.parent / "systemd"
SYSTEMD = Path("/lib/systemd/systemd")
DBUS = shutil.which("dbus-daemon")
_TOOLS = ("unshare", "nsenter", "systemctl", "systemd-sysusers")

_BASIC_UNITS = {
    **dict.fromkeys(
        ("sysinit.target", "basic.target", "shutdown.target"), "[Unit]\nDefaultDependencies=no\n"
    ),
    "dbus.socket": "[Unit]\nDefaultDependencies=no\n[Socket]\n"
    "ListenStream=/run/dbus/system_bus_socket\n",
    "dbus.service": "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\n[Service]\n"
    f"ExecStart={DBUS} --system --address=systemd: --nofork --nopidfile --systemd-activation\n",
}

_BOOT = """\
{prepare}
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /srv
mkdir /run/units /run/dbus /run/root /run/root/etc
cp {scratch}/units/* /run/units
cp /etc/passwd /etc/group /run/root/etc
systemd-sysusers --root=/run/root {sysusers}
mount --bind /run/root/etc/passwd /etc/passwd
mount --bind /run/root/etc/group /etc/group
{cgroups}
exec env -i PATH="$PATH" container=test SYSTEMD_UNIT_PATH=/run/units \
    {systemd} --system --unit=basic.target --show-status=no --log-target=console
"""


class Systemd:
    """One running systemd."""

    def __init__(self, folder: Path) -> None:
        """Boot. Raises: pytest's skip, where this machine does not let us."""
        self.folder = folder
        self._log = folder / "systemd.log"
        self._groups = _make_control_groups(folder.name)
        self._write_units()
        (folder / "boot.sh").write_text(self._boot_script())
        join = "".join(f"echo $$ > {group}/cgroup.procs; " for group in self._groups)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-ec", join + f"exec unshare --fork --pid --mount --cgroup --kill-child"
                 f" bash {folder}/boot.sh"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.pid = 0
        wait_for("systemd to boot", self._has_booted)
        self.root = Path(f"/proc/{self.pid}/root")

    def _boot_script(self) -> str:
        return _BOOT.format(
            prepare=DETACH_FOREIGN_MOUNTS + open_program_to_others(self.folder) + OWN_FUSE_DEVICE,
            scratch=self.folder,
            sysusers=UNITS / "sysusers.d/zarrfs.conf",
            cgroups="\n".join(_mounts_of_control_groups()),
            systemd=SYSTEMD,
        )

    def _write_units(self) -> None:
        """Ours, with the paths of this machine; and the least that systemd wants."""
        units = self.folder / "units"
        units.mkdir()
        for name, text in _BASIC_UNITS.items():
            (units / name).write_text(text)
        for unit in UNITS.glob("*.service"):
            text = unit.read_text().replace("/usr/bin/zarrfs", str(ZARRFS))
            text = text.replace("/etc/zarrfs/", "/srv/etc/")
            logged = text.replace("[Service]", "[Service]\nStandardError=append:/srv/%p.log")
            (units / unit.name).write_text(logged)

    def _has_booted(self) -> bool:
        if self._process.poll() is not None:
            pytest.skip(f"optional: systemd does not run here: {self._log.read_text()[-500:]}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self.pid = int((children.read_text().split() or ["0"])[0])
        if not self.pid or not Path(f"/proc/{self.pid}/comm").read_text().startswith("systemd"):
            return False
        asked = self.run("systemctl", "is-active", "basic.target", check=False)
        return asked.stdout.strip() == "active"

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in systemd's namespaces."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", "-p", "-C", "--", *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * PATIENCE_S,
            check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.stdout}{done.stderr}\n{self.log()}")
        return done

    def systemctl(self, *arguments: str) -> str:
        return self.run("systemctl", *arguments).stdout

    def show(self, unit: str, what: str) -> str:
        """Return one property of a unit."""
        return self.systemctl("show", "--value", "--property", what, unit).strip()

    def log(self) -> str:
        logs = [self._log, *sorted((self.root / "srv").glob("*.log"))]
        return "\n".join(f"{log}:\n{log.read_text()}" for log in logs if log.exists())

    def close(self) -> None:
        """End PID 1, and with it all its processes and mounts."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for group in self._groups:
            wait_for(f"{group} to be empty", lambda group=group: _remove_group(group))  # type: ignore[misc]


def need_systemd() -> None:
    """Skip where there is no systemd, or nobody may make namespaces."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0 or not SYSTEMD.exists() or missing:
        pytest.skip(f"optional: needs root and systemd (missing: {', '.join(missing) or '-'})")


def _hierarchies() -> list[tuple[str, str]]:
    """Return where the hierarchies that systemd uses are mounted, and their types."""
    found = []
    for line in Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines():
        _, target, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append((target, kind))
    return found


def _make_control_groups(name: str) -> list[Path]:
    """Make a group in each hierarchy, to be the root of the namespace."""
    own = {
        "cgroup2" if number == "0" else "cgroup": path.strip("/")
        for number, controllers, path in (
            line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()
        )
        if number == "0" or controllers == "name=systemd"
    }
    groups = [
        Path(target, own.get(kind, ""), f"zarrfs-{os.getpid()}-{name}")
        for target, kind in _hierarchies()
    ]
    try:
        for group in groups:
            group.mkdir()
    except OSError as error:
        pytest.skip(f"optional: no control group can be made: {error}")
    if not groups:
        pytest.skip("optional: no control groups here")
    return groups


def _mounts_of_control_groups() -> list[str]:
    """Return commands that mount the hierarchies again, from the namespace's root on."""
    hierarchies = _hierarchies()
    commands = []
    if all(target != "/sys/fs/cgroup" for target, _ in hierarchies):
        commands.append("mount -t tmpfs tmpfs /sys/fs/cgroup")
    for target, kind in hierarchies:
        options = "-o none,name=systemd" if kind == "cgroup" else ""
        commands += [f"mkdir -p {target}", f"mount -t {kind} {options} {kind} {target}"]
    return commands


def _remove_group(group: Path) -> bool:
    """Remove a control group with those below it; False while a process is in one."""
    try:
        for folder, _, _ in sorted(os.walk(group), reverse=True):
            os.rmdir(folder)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return not group.exists()
