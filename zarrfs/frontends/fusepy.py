"""The portable frontend: a mount through libfuse and its Python binding.

The only module that imports the binding: `mfusepy` where it is installed
(libfuse 2 or 3), else `fusepy` (libfuse 2). Owns libfuse's options and the
mount's life; `fusepy_operations` answers the callbacks. The native frontend has
the same methods and is faster; this one exists for other systems.
"""

from __future__ import annotations

import ctypes.util
import importlib
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self

from zarrfs.errors import BusyError, DeniedError, UnavailableError, UnsupportedError
from zarrfs.frontends.fusepy_callbacks import ENCODING
from zarrfs.frontends.fusepy_operations import FusepyOperations
from zarrfs.vfs.operations import FileSystem

_LIBRARY_CHOICES = ("FUSE_LIBRARY_PATH", "FUSE_LIBRARY_NAME")
_import_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class FusepyOptions:
    """How to mount. Plain values; any thread may read them."""

    fsname: str = "zarrfs"
    """The source that `mount` and `df` show."""
    allow_other: bool = False
    default_permissions: bool = True
    read_only: bool = False
    noexec: bool = False
    noatime: bool = False
    threads: int = 10
    """At most so many threads answer (libfuse 3.12 and later; others decide themselves)."""
    debug: bool = False
    """libfuse writes each request to stderr."""


class FusepyMount:
    """One mounted file system. All methods may be called from any thread."""

    def __init__(self, filesystem: FileSystem, target: str, options: FusepyOptions) -> None:
        self.target = target
        self._filesystem = filesystem
        self._options = options
        self._binding = _import_binding()
        self._operations = FusepyOperations(filesystem, self._binding.fuse_get_context)
        self._ended = threading.Event()
        self._failure: Exception | None = None

    def start(self) -> None:
        """Serve from threads; returns when the mount answers.

        Raises: UnavailableError.
        """
        thread = threading.Thread(target=self._run, name=f"libfuse {self.target}", daemon=True)
        with _StderrHeld() as held:
            thread.start()
            while not self._operations.initialised.wait(0.05) and not self._ended.is_set():
                pass
        if not self._operations.initialised.is_set():
            reason = held.last_line() or str(self._failure or "libfuse ended at once")
            raise UnavailableError(self.target, reason, remedy="zarrfs doctor") from self._failure

    def serve(self) -> None:
        """Serve in this thread and libfuse's own; return when the mount is gone.

        Raises: UnavailableError.
        """
        self._run()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._binding_class()(
                _callable_if_needed(self._operations, self._binding),
                os.fsencode(self.target).decode(ENCODING),
                raw_fi=True,
                encoding=ENCODING,
                **self._libfuse_options(),
            )
        except Exception as exc:
            self._failure = UnavailableError(self.target, f"libfuse could not mount (status {exc})")
        finally:
            try:
                self._operations.close()
                self._filesystem.destroy()
            finally:
                self._ended.set()

    def _binding_class(self) -> Any:
        if self._binding.__name__ != "mfusepy":
            return self._binding.FUSE
        from zarrfs.frontends.fusepy_complete import complete

        return complete(self._binding)

    def _libfuse_options(self) -> dict[str, Any]:
        """Source: mount.fuse3(8) and fuse(8). nosuid and nodev are libfuse's default."""
        chosen, policy = self._options, self._operations.policy
        options: dict[str, Any] = {
            "foreground": True,
            "nothreads": False,
            "debug": chosen.debug,
            "fsname": os.fsencode(chosen.fsname.replace(",", "_")).decode(ENCODING),
            "subtype": "zarrfs",
            "use_ino": True,
            "ro": chosen.read_only,
            "allow_other": chosen.allow_other,
            "default_permissions": chosen.default_permissions,
            "noexec": chosen.noexec,
            "noatime": chosen.noatime,
            "entry_timeout": policy.entry_timeout_s,
            # libfuse has a node for each name, so that the kernel would remember
            # the attributes of a file with several names apart.
            "attr_timeout": policy.attr_timeout_s if chosen.read_only else 0.0,
            "negative_timeout": policy.negative_timeout_s,
        }
        if _libfuse_version(self._binding) < (3, 0):
            # libfuse 3 has neither: it never refuses, and writes are always big.
            options |= {"nonempty": True, "big_writes": sys.platform == "linux"}
        elif _libfuse_version(self._binding) >= (3, 12):
            # Its own default number of idle threads is one that it then complains of.
            options |= {"max_threads": chosen.threads, "max_idle_threads": chosen.threads}
        return options

    def unmount(self, *, lazy: bool = False) -> None:
        """Unmount. Raises: BusyError, DeniedError."""
        if self._ended.is_set():
            return
        as_root = os.geteuid() == 0 or sys.platform != "linux"
        command = ["umount"] if as_root else ["fusermount3", "-u"]
        if lazy and sys.platform == "linux":
            command.append("-l" if as_root else "-z")
        done = subprocess.run(
            [*command, "--", self.target], capture_output=True, text=True, check=False
        )
        if done.returncode and not self._ended.wait(0.2):
            reason = done.stderr.strip()
            if "busy" in reason:
                raise BusyError(self.target, "files are open in it")
            raise DeniedError(self.target, reason)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the mount is gone and all is written; False when time ran out."""
        return self._ended.wait(timeout_s)


class _StderrHeld:
    """Holds back what is written to stderr: libfuse says there why it cannot mount.

    All of it is written in the end, so that nothing of others is lost.
    """

    def __enter__(self) -> Self:
        sys.stderr.flush()
        self._file = tempfile.TemporaryFile()
        self._stderr = os.dup(2)
        os.dup2(self._file.fileno(), 2)
        return self

    def __exit__(self, *_: object) -> None:
        sys.stderr.flush()
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        with self._file as file:
            file.seek(0)
            self._text = file.read()
        os.write(2, self._text)

    def last_line(self) -> str:
        lines = self._text.decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("fusermount3: ").removeprefix("fuse: ") if lines else ""


def mount_fusepy(
    filesystem: FileSystem, target: str, options: FusepyOptions | None = None
) -> FusepyMount:
    """Prepare a mount at `target`; it is made by `serve` or `start`.

    Raises: UnsupportedError when there is no binding or no libfuse.
    """
    return FusepyMount(filesystem, target, options or FusepyOptions())


def describe_binding() -> str:
    """Return which binding and libfuse this frontend uses here.

    Raises: UnsupportedError, whose remedy says what to install.
    """
    binding = _import_binding()
    name = "mfusepy" if binding.__name__ == "mfusepy" else "fusepy"
    version = ".".join(map(str, _libfuse_version(binding)))
    return f"{name} with libfuse {version}"


def _libfuse_version(binding: ModuleType) -> tuple[int, int]:
    """Source: fuse_version(), of `10 * major + minor`, or `100 *` in libfuse 3.10 and later."""
    number = int(binding._libfuse.fuse_version())
    return divmod(number, 10) if number < 100 else divmod(number, 100)


def _import_binding() -> ModuleType:
    failure: Exception | None = None
    with _import_lock:
        for name in ("mfusepy", "fuse"):
            try:
                return _import_quietly(name)
            except (ImportError, OSError, AttributeError) as exc:
                # Not installed; or no libfuse; or a libfuse it does not know.
                failure = failure or (exc if not isinstance(exc, ModuleNotFoundError) else None)
    if failure is None:
        reason = "neither mfusepy nor fusepy is installed"
        raise UnsupportedError("fusepy", reason, remedy="pip install mfusepy")
    remedy = "install macFUSE" if sys.platform == "darwin" else "apt-get install libfuse2"
    raise UnsupportedError("fusepy", str(failure), remedy=remedy) from failure


def _import_quietly(name: str) -> ModuleType:
    """Import the binding with libfuse 3 where there is one: only it has renameat2."""
    if (
        name != "mfusepy"
        or name in sys.modules
        or any(choice in os.environ for choice in _LIBRARY_CHOICES)
        or ctypes.util.find_library("fuse3") is None
    ):
        return importlib.import_module(name)
    os.environ["FUSE_LIBRARY_NAME"] = "fuse3"
    try:
        return importlib.import_module(name)
    finally:
        del os.environ["FUSE_LIBRARY_NAME"]


def _callable_if_needed(operations: FusepyOperations, binding: ModuleType) -> object:
    """fusepy calls the object with a method's name; mfusepy warns of callables."""
    return operations if binding.__name__ == "mfusepy" else _Dispatching(operations)


class _Dispatching:
    def __init__(self, operations: FusepyOperations) -> None:
        self._operations = operations

    def __getattr__(self, name: str) -> Any:
        return getattr(self._operations, name)

    def __call__(self, name: str, *args: Any) -> Any:
        return getattr(self._operations, name)(*args)
