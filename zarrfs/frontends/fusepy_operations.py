"""The callbacks of libfuse's high-level interface, answered by a `FileSystem`.

Only translates: paths to nodeids, numbers to attributes, errors to errnos. The
names and signatures are those of fusepy's `Operations`, with `raw_fi`; this
module does not import the binding. libfuse calls from several threads at once.
Source: `struct fuse_operations` (libfuse's fuse.h).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeAlias

from zarrfs.errors import StaleError
from zarrfs.frontends.fusepy_callbacks import ENCODING, FileInfo, answered, as_bytes, os_error
from zarrfs.frontends.fusepy_names import NameCallbacks
from zarrfs.frontends.fusepy_paths import Pinned, split
from zarrfs.storage.tree import Attr, AttrChange
from zarrfs.vfs.operations import Opened

UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
"""Source: utimensat(2); they arrive as nanoseconds of second 0."""

_CAP_HANDLE_KILLPRIV = 1 << 20
"""Source: FUSE_CAP_HANDLE_KILLPRIV, fuse_common.h of libfuse 3."""

Times: TypeAlias = tuple[int, int] | None


class ConnectionInfo(Protocol):
    """The field of `struct fuse_conn_info` that is used."""

    want: int


class FusepyOperations(NameCallbacks):
    """What fusepy and mfusepy call; one object serves one mount."""

    use_ns = True
    # libfuse then neither builds paths for open files nor needs one when an
    # open file has been unlinked; times may be UTIME_OMIT.
    flag_nullpath_ok = 1
    flag_nopath = 1
    flag_utime_omit_ok = 1

    def init(self, path: str) -> None:
        self.initialised.set()

    def init_with_config(self, connection: ConnectionInfo | None, config: object) -> None:
        """What mfusepy calls in place of `init`."""
        if connection is not None:
            # libfuse 3 claims it by itself; then the kernel would expect us to
            # clear set-user-ID bits, of which libfuse does not tell us.
            connection.want &= ~_CAP_HANDLE_KILLPRIV
        self.initialised.set()

    def close(self) -> None:
        """Give all references back; the mount is gone."""
        for node in self._departures.take_all():
            self._paths.unpin(node)
        for fh in list(self._open):
            self._release(fh, self._fs.release)
        self._paths.clear()

    # -- attributes ---------------------------------------------------------

    @answered
    def getattr(self, path: str | None, fi: FileInfo | None = None) -> dict[str, int]:
        caller = self._caller()
        if fi is not None and (opened := self._open.get(fi.fh)):
            return _stat(self._fs.getattr(caller, opened.node.nodeid, opened.handle))
        if path is None:
            raise StaleError("", "unlinked")
        if path == "/" or self._departures.hidden(as_bytes(path)) is not None:
            with self._node(caller, path) as nodeid:
                return _stat(self._fs.getattr(caller, nodeid, None))
        self._departures.settle()
        # LOOKUP arrives as getattr too: what the name means is asked anew.
        entry, pinned = self._paths.look_up(caller, as_bytes(path))
        self._paths.unpin(pinned)
        return _stat(entry.attr)

    def _set(self, path: str | None, change: AttrChange, fi: FileInfo | None) -> int:
        caller = self._caller()
        with self._node_or_handle(caller, path, fi) as (nodeid, handle):
            self._fs.setattr(caller, nodeid, change, handle)
        return 0

    @answered
    def chmod(self, path: str | None, mode: int, fi: FileInfo | None = None) -> int:
        return self._set(path, AttrChange(mode=mode), fi)

    @answered
    def chown(self, path: str | None, uid: int, gid: int, fi: FileInfo | None = None) -> int:
        change = AttrChange(uid=None if uid < 0 else uid, gid=None if gid < 0 else gid)
        return self._set(path, change, fi)

    @answered
    def truncate(self, path: str | None, length: int, fi: FileInfo | None = None) -> int:
        return self._set(path, AttrChange(size=length), fi)

    @answered
    def utimens(self, path: str | None, times: Times = None, fi: FileInfo | None = None) -> int:
        now_ns = time.time_ns()
        chosen = [
            now_ns if time_ns == UTIME_NOW else None if time_ns == UTIME_OMIT else time_ns
            for time_ns in (times or (now_ns, now_ns))
        ]
        return self._set(path, AttrChange(atime_ns=chosen[0], mtime_ns=chosen[1]), fi)

    @answered
    def access(self, path: str, amode: int) -> int:
        caller = self._caller()
        with self._node(caller, path) as nodeid:
            self._fs.access(caller, nodeid, amode)
        return 0

    @answered
    def statfs(self, path: str) -> dict[str, int]:
        caller = self._caller()
        with self._node(caller, path) as nodeid:
            found = self._fs.statfs(caller, nodeid)
        return {
            "f_bsize": found.block_size,
            "f_frsize": found.block_size,
            "f_blocks": found.blocks,
            "f_bfree": found.blocks_free,
            "f_bavail": found.blocks_available,
            "f_files": found.files,
            "f_ffree": found.files_free,
            "f_favail": found.files_free,
            "f_namemax": found.name_max,
        }

    # -- extended attributes ------------------------------------------------

    @answered
    def listxattr(self, path: str) -> Sequence[str]:
        caller = self._caller()
        with self._node(caller, path) as nodeid:
            return [name.decode(ENCODING) for name in self._fs.listxattr(caller, nodeid)]

    @answered
    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        caller = self._caller()
        with self._node(caller, path) as nodeid:
            return self._fs.getxattr(caller, nodeid, as_bytes(name))[position:]

    @answered
    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> int:
        caller = self._caller()
        with self._node(caller, path) as nodeid:
            self._fs.setxattr(caller, nodeid, as_bytes(name), value, options)
        return 0

    @answered
    def removexattr(self, path: str, name: str) -> int:
        caller = self._caller()
        with self._node(caller, path) as nodeid:
            self._fs.removexattr(caller, nodeid, as_bytes(name))
        return 0

    # -- files --------------------------------------------------------------

    @answered
    def open(self, path: str, fi: FileInfo) -> int:
        caller = self._caller()
        node = self._pin(caller, path)
        try:
            opened = self._fs.open(caller, node.nodeid, fi.flags)
        except BaseException:
            self._paths.unpin(node)
            raise
        self._fill(fi, node, opened)
        return 0

    @answered
    def create(self, path: str, mode: int, fi: FileInfo) -> int:
        caller = self._caller()
        folder, name = split(as_bytes(path))
        with self._node(caller, folder) as parent:
            # The kernel has applied the umask already.
            entry, opened = self._fs.create(caller, parent, name, mode, fi.flags, 0)
        self._fill(fi, self._paths.remember(as_bytes(path), entry), opened)
        return 0

    def _fill(self, fi: FileInfo, node: Pinned, opened: Opened) -> None:
        fi.fh = self._keep(node, opened)
        fi.direct_io = int(opened.direct_io)
        fi.keep_cache = int(opened.keep_cache)

    @answered
    def read(self, path: str | None, size: int, offset: int, fi: FileInfo) -> bytes:
        node, handle = self._opened(fi.fh)
        data = self._fs.read(self._caller(), node.nodeid, handle, offset, size)
        return data if isinstance(data, bytes) else bytes(data)

    @answered
    def write(self, path: str | None, data: bytes, offset: int, fi: FileInfo) -> int:
        node, handle = self._opened(fi.fh)
        return self._fs.write(self._caller(), node.nodeid, handle, offset, data)

    @answered
    def fallocate(self, path: str | None, mode: int, offset: int, size: int, fi: FileInfo) -> int:
        node, handle = self._opened(fi.fh)
        self._fs.fallocate(self._caller(), node.nodeid, handle, mode, offset, size)
        return 0

    @answered
    def lseek(self, path: str | None, offset: int, whence: int, fi: FileInfo) -> int:
        node, handle = self._opened(fi.fh)
        return self._fs.lseek(self._caller(), node.nodeid, handle, offset, whence)

    @answered
    def flush(self, path: str | None, fi: FileInfo) -> int:
        node, handle = self._opened(fi.fh)
        self._fs.flush(self._caller(), node.nodeid, handle)
        return 0

    @answered
    def fsync(self, path: str | None, datasync: int, fi: FileInfo) -> int:
        node, handle = self._opened(fi.fh)
        self._fs.fsync(self._caller(), node.nodeid, handle, data_only=bool(datasync))
        return 0

    @answered
    def release(self, path: str | None, fi: FileInfo) -> int:
        return self._release(fi.fh, self._fs.release)

    # -- folders ------------------------------------------------------------

    @answered
    def opendir(self, path: str) -> int:
        caller = self._caller()
        node = self._pin(caller, path)
        try:
            return self._keep(node, self._fs.opendir(caller, node.nodeid))
        except BaseException:
            self._paths.unpin(node)
            raise

    def readdir(self, path: str | None, fh: int) -> Iterator[tuple[str, dict[str, int], int]]:
        """List a folder whole; offset 0 tells libfuse to keep the list itself."""
        return ((name, stat, 0) for name, stat, _ in self.readdir_with_offset(path, 0, fh))

    def readdir_with_offset(
        self, path: str | None, offset: int, fh: int
    ) -> Iterator[tuple[str, dict[str, int], int]]:
        try:
            node, handle = self._opened(fh)
            self._departures.settle()
            names = self._fs.readdir(self._caller(), node.nodeid, handle, offset, plus=False)
            for listing in names:
                stat = {"st_mode": listing.type_bits, "st_ino": listing.ino}
                yield listing.name.decode(ENCODING), stat, listing.next_offset
        except Exception as exc:
            raise os_error(exc, "readdir") from exc

    @answered
    def fsyncdir(self, path: str | None, datasync: int, fh: int) -> int:
        node, handle = self._opened(fh)
        self._fs.fsyncdir(self._caller(), node.nodeid, handle, data_only=bool(datasync))
        return 0

    @answered
    def releasedir(self, path: str | None, fh: int) -> int:
        return self._release(fh, self._fs.releasedir)


def _stat(attr: Attr) -> dict[str, Any]:
    return {
        "st_ino": attr.ino,
        "st_mode": attr.mode,
        "st_nlink": attr.nlink,
        "st_uid": attr.uid,
        "st_gid": attr.gid,
        "st_rdev": attr.rdev,
        "st_size": attr.size,
        "st_blocks": attr.blocks,
        "st_atime": attr.atime_ns,
        "st_mtime": attr.mtime_ns,
        "st_ctime": attr.ctime_ns,
    }
