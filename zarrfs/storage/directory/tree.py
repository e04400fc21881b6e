"""A folder of a real file system as a `FileTree`, passed through as it is.

What the file system underneath does, this tree does: types, owners, times,
links, extended attributes, holes. It owns which file a nodeid means, and sees
to it that nothing outside the folder is reached: each call names a single
component below the descriptor of a folder (see `folders`), symbolic links are
shown and never followed (unless asked to), and before a node is opened or
changed its identity is checked.

What changes underneath without this tree is seen with the next call; how long
the kernel remembers is for `vfs` to say. Any thread may call any method.

Specification: POSIX.1-2017 and the Linux man pages of section 2.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from functools import partial

from zarrfs.errors import StaleError
from zarrfs.storage.directory import syscalls
from zarrfs.storage.directory.descriptors import Descriptor
from zarrfs.storage.directory.folders import FolderDescriptors, RootFolder
from zarrfs.storage.directory.node_table import Node, NodeTable, Place
from zarrfs.storage.directory.real_file import RealFile
from zarrfs.storage.directory.survival import Survival
from zarrfs.storage.tree import (
    ROOT,
    Attr,
    AttrChange,
    Change,
    ChangeListener,
    DirEntry,
    Entry,
    NodeId,
    Owner,
    StatFs,
)

RENAME_EXCHANGE = 2
_MOST_HANDED_OVER = 128
"""Whoever keeps them does so for many mounts, and may have 1024 descriptors."""
_tuple = tuple.__new__
_S_IFREG = stat.S_IFREG
# What os.fsencode does for each name anew.
_NAMES, _STRANGE_NAMES = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_REACH = syscalls.O_PATH | os.O_CLOEXEC
# Whoever waits on a FIFO that was swapped in for a file would wait for ever.
_OPEN_ALWAYS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def attr_of(status: os.stat_result) -> Attr:
    # Twice as quick as Attr(...), once for each name that is listed or looked up.
    return _tuple(
        Attr,
        (
            status.st_ino, status.st_mode, status.st_nlink, status.st_uid, status.st_gid,
            status.st_rdev, status.st_size, status.st_blocks,
            status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns,
        ),
    )  # fmt: skip


class DirectoryTree:
    """Implements `FileTree`, `CreatesOpen`, `ListsEntries`, `IgnoresFlush`, `Watchable`."""

    def __init__(
        self, root: RootFolder, *, read_only: bool = False, ignores_flush: bool = True
    ) -> None:
        self._root = root
        self._read_only = read_only
        self._ignores_flush = ignores_flush
        self._no_follow = root.no_follow
        self.nodes = NodeTable(os.fstat(root.descriptor.fd))
        self._folders = FolderDescriptors(root, self.nodes)
        # Only root may give files away; for others everything made is theirs.
        self._gives_away = os.geteuid() == 0
        self._listeners: list[ChangeListener] = []
        self._survival: Survival | None = None

    def survive(self, survival: Survival) -> None:
        """Go on where a predecessor died, and leave a successor what it needs.

        The tree must be fresh: nobody was given a nodeid yet.
        """
        self.nodes.keep_log(survival.log)
        for nodeid, fd in survival.orphans.items():
            if nodeid in self.nodes:
                self.nodes.opened(self.nodes.get(nodeid), Descriptor(os.dup(fd)))
        self._survival = survival
        self._finish_renaming()

    def hand_over(self) -> None:
        """Leave a successor the files that are open: their names may go, folders and all.

        Those first whose names are gone already, since there is a bound.
        """
        if self._survival is None:
            return
        files = self.nodes.open_files()
        files.sort(key=lambda found: os.fstat(found[1].fd).st_nlink)
        for nodeid, descriptor in files[:_MOST_HANDED_OVER]:
            self._survival.keep_orphan(nodeid, descriptor.fd)

    def _finish_renaming(self) -> None:
        """Renames were begun: see which were done, and note so."""
        for node, new in self.nodes.take_renaming():
            if not self._is_at(node, new) or not node.places or new in node.places:
                continue
            old, displaced = node.places[-1], self.nodes.at(*new)
            exchange = displaced is not None and self._is_at(displaced, old)
            last = displaced is not None and not exchange
            self.nodes.renamed(old, new, exchange=exchange, last=last)

    def _is_at(self, node: Node, place: Place) -> bool:
        """Whether a place holds this very inode, whatever the table says."""
        try:
            return node.is_of(self._status_at(self._folders.get(place[0]), place[1]))
        except (OSError, StaleError):
            return False

    def _hold(self, node: Node) -> None:
        """A name of a node is about to go: who looked it up may still open it."""
        if node.references <= 0 or len(node.places) > 1:
            return
        in_use = self._held(node) is not None
        try:
            held = self._open_node(node, _REACH | self._no_follow)
        except StaleError:
            return  # replaced underneath: another file's name goes
        self.nodes.opened(node, held)
        # A predecessor may have had it open, which we would not know.
        if self._survival is not None and (in_use or self._survival.inherited):
            self._survival.keep_orphan(node.nodeid, held.fd)

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def static(self) -> bool:
        return False

    @property
    def ignores_flush(self) -> bool:
        return self._ignores_flush

    @property
    def changes_underneath(self) -> bool:
        return True

    # Reaching nodes

    def _status_at(self, folder: Descriptor, name: bytes) -> os.stat_result:
        if not self._root.follow_symlinks:
            return os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        try:
            return os.stat(name, dir_fd=folder.fd)
        except FileNotFoundError:  # a link to nothing is shown as the link it is
            return os.stat(name, dir_fd=folder.fd, follow_symlinks=False)

    def _held(self, node: Node) -> Descriptor | None:
        """Return a descriptor of the node that is open already."""
        descriptors = node.descriptors
        try:
            return descriptors[-1] if descriptors else self._folders.kept(node.nodeid)
        except IndexError:  # closed meanwhile
            return None

    def _status(self, nodeid: NodeId) -> os.stat_result:
        node = self.nodes.get(nodeid)
        held = self._held(node)
        if held is not None:
            return os.fstat(held.fd)
        for parent, name in reversed(node.places):
            try:
                status = self._status_at(self._folders.get(parent), name)
            except (FileNotFoundError, NotADirectoryError, StaleError):
                continue
            if node.is_of(status):
                return status
        raise StaleError(f"node {nodeid}", "it is gone from where it was")

    def _reach(self, nodeid: NodeId) -> Descriptor:
        """Return a descriptor, perhaps O_PATH, of this very node."""
        node = self.nodes.get(nodeid)
        return self._held(node) or self._open_node(node, _REACH | self._no_follow)

    def _open_node(self, node: Node, flags: int) -> Descriptor:
        for parent, name in reversed(node.places):
            try:
                folder = self._folders.get(parent)
                descriptor = Descriptor(os.open(name, flags, dir_fd=folder.fd))
            except (FileNotFoundError, NotADirectoryError, StaleError):
                continue
            if node.is_of(os.fstat(descriptor.fd)):
                return descriptor
        raise StaleError(f"node {node.nodeid}", "it is gone from where it was")

    # Names and attributes

    def lookup(self, parent: NodeId, name: bytes) -> Entry:
        folder = self._folders.get(parent)
        while True:
            version = self.nodes.version
            status = self._status_at(folder, name)
            nodeid = self.nodes.seen(parent, name, status, version)
            if nodeid is not None:
                return _tuple(Entry, (nodeid, attr_of(status), 0))

    def forget(self, nodeid: NodeId, count: int) -> None:
        self.nodes.forget(nodeid, count)
        if nodeid not in self.nodes:
            if self._folders.kept(nodeid) is not None:
                self._folders.drop(nodeid)
            if self._survival is not None:
                self._survival.forget_orphan(nodeid)

    def count_reference(self, nodeid: NodeId) -> None:
        self.nodes.count(nodeid)

    def attr(self, nodeid: NodeId) -> Attr:
        return attr_of(self._status(nodeid))

    def set_attr(self, nodeid: NodeId, change: AttrChange) -> Attr:
        descriptor = self._reach(nodeid)
        path = descriptor.proc_path()
        if change.uid is not None or change.gid is not None:
            uid = -1 if change.uid is None else change.uid
            gid = -1 if change.gid is None else change.gid
            os.chown(path, uid, gid)
        if change.mode is not None:
            os.chmod(path, stat.S_IMODE(change.mode))
        if change.size is not None:
            os.truncate(path, change.size)
        if change.atime_ns is not None or change.mtime_ns is not None:
            syscalls.utimensat(path, change.atime_ns, change.mtime_ns)
        return attr_of(os.fstat(descriptor.fd))

    def read_link(self, nodeid: NodeId) -> bytes:
        # readlinkat(2) with an empty name reads the link that the descriptor is.
        link = self._reach(nodeid)
        return os.readlink(b"", dir_fd=link.fd)

    def list_dir(self, nodeid: NodeId) -> Sequence[DirEntry]:
        folder = self._open_for_reading(nodeid)
        type_bits = self._type_bits
        with os.scandir(folder.fd) as entries:
            return [
                _tuple(
                    DirEntry,
                    (
                        entry.name.encode(_NAMES, _STRANGE_NAMES),
                        entry.inode(),
                        _S_IFREG if entry.is_file(follow_symlinks=False) else type_bits(entry),
                    ),
                )
                for entry in entries
            ]

    def _open_for_reading(self, nodeid: NodeId) -> Descriptor:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        folder = self._folders.get(nodeid)
        return Descriptor(os.open(b".", flags, dir_fd=folder.fd))

    def _type_bits(self, entry: os.DirEntry[str]) -> int:
        if entry.is_dir(follow_symlinks=False):
            return stat.S_IFDIR
        if entry.is_symlink() and not self._root.follow_symlinks:
            return stat.S_IFLNK
        return 0  # unknown; whoever wants to know asks

    def list_entries(self, nodeid: NodeId, start: int) -> Iterator[tuple[bytes, Entry]]:
        folder = self._folders.get(nodeid)
        for found in self.list_dir(nodeid)[start:]:
            try:
                status = self._status_at(folder, found.name)
            except FileNotFoundError:
                continue
            known = self.nodes.found(nodeid, found.name, status)
            yield found.name, Entry(known, attr_of(status))
            self.nodes.forget(known, 1)

    # Files

    def open(self, nodeid: NodeId, flags: int) -> RealFile:
        node = self.nodes.get(nodeid)
        opening = flags & ~os.O_TRUNC | _OPEN_ALWAYS
        try:
            descriptor = self._open_node(node, opening | self._no_follow)
        except StaleError:
            held = node.descriptors[-1:]
            if not held:
                raise
            # Its name has gone to another file: /proc opens the inode itself.
            descriptor = Descriptor(os.open(held[0].proc_path(), opening))
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor.fd, 0)
        return self._file(node, descriptor)

    def _file(self, node: Node, descriptor: Descriptor) -> RealFile:
        self.nodes.opened(node, descriptor)
        return RealFile(descriptor, partial(self.nodes.closed, node))

    def create(
        self, parent: NodeId, name: bytes, mode: int, owner: Owner, flags: int
    ) -> tuple[Entry, RealFile]:
        folder = self._folders.get(parent)
        opening = flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | _OPEN_ALWAYS
        descriptor = Descriptor(os.open(name, opening, stat.S_IMODE(mode), dir_fd=folder.fd))
        status = self._hand_over(descriptor, mode, owner)
        nodeid = self.nodes.found(parent, name, status)
        return Entry(nodeid, attr_of(status)), self._file(self.nodes.get(nodeid), descriptor)

    def _hand_over(self, descriptor: Descriptor, mode: int, owner: Owner) -> os.stat_result:
        """Give a new node its owner and the mode that our umask may have cut."""
        status = os.fstat(descriptor.fd)
        path = descriptor.proc_path()
        if self._gives_away and (status.st_uid, status.st_gid) != (owner.uid, owner.gid):
            os.chown(path, owner.uid, owner.gid)
            status = os.fstat(descriptor.fd)  # set-ID bits went with the owner
        if status.st_mode != mode and not stat.S_ISLNK(mode):
            os.chmod(path, stat.S_IMODE(mode))
            status = os.fstat(descriptor.fd)
        return status

    # Making, linking, removing, renaming

    def make(
        self,
        parent: NodeId,
        name: bytes,
        mode: int,
        owner: Owner,
        *,
        rdev: int = 0,
        target: bytes = b"",
    ) -> Entry:
        folder = self._folders.get(parent)
        if stat.S_ISDIR(mode):
            os.mkdir(name, stat.S_IMODE(mode), dir_fd=folder.fd)
        elif stat.S_ISLNK(mode):
            os.symlink(target, name, dir_fd=folder.fd)
        else:
            os.mknod(name, mode, rdev, dir_fd=folder.fd)
        made = Descriptor(os.open(name, _REACH | os.O_NOFOLLOW, dir_fd=folder.fd))
        status = self._hand_over(made, mode, owner)
        nodeid = self.nodes.found(parent, name, status)
        if stat.S_ISDIR(status.st_mode):
            self._folders.keep(nodeid, made)
        return Entry(nodeid, attr_of(status))

    def link(self, nodeid: NodeId, parent: NodeId, name: bytes) -> Entry:
        node = self.nodes.get(nodeid)
        folder = self._folders.get(parent)
        if not node.places:
            raise FileNotFoundError(errno.ENOENT, "unlinked")
        old_parent, old_name = node.places[-1]
        source = self._folders.get(old_parent)
        os.link(old_name, name, src_dir_fd=source.fd, dst_dir_fd=folder.fd, follow_symlinks=False)
        status = self._status_at(folder, name)
        if not node.is_of(status):
            os.unlink(name, dir_fd=folder.fd)
            raise StaleError(f"node {nodeid}", "another file took its place")
        return Entry(self.nodes.found(parent, name, status), attr_of(status))

    def unlink(self, parent: NodeId, name: bytes) -> None:
        folder = self._folders.get(parent)
        last = self._is_last_name(folder, parent, name)
        node = self.nodes.at(parent, name)
        if node is not None:
            self._hold(node)
        try:
            os.unlink(name, dir_fd=folder.fd)
        except FileNotFoundError:
            self._found_gone(parent, name)
            raise
        self.nodes.unlinked(parent, name, last=last)

    def _found_gone(self, parent: NodeId, name: bytes) -> None:
        """A name is gone already: a predecessor died as it noted that, or who works underneath."""
        node = self.nodes.at(parent, name)
        if node is not None:
            self.nodes.unlinked(parent, name, last=len(node.places) == 1)

    def _is_last_name(self, folder: Descriptor, parent: NodeId, name: bytes) -> bool:
        """Whether the inode of a node we know goes when this name goes."""
        if self.nodes.at(parent, name) is None:
            return False
        try:
            return os.stat(name, dir_fd=folder.fd, follow_symlinks=False).st_nlink == 1
        except FileNotFoundError:
            return False

    def remove_dir(self, parent: NodeId, name: bytes) -> None:
        folder = self._folders.get(parent)
        node = self.nodes.at(parent, name)
        kept = None if node is None else self._kept_folder(node)
        try:
            os.rmdir(name, dir_fd=folder.fd)
        except FileNotFoundError:
            self._found_gone(parent, name)
            raise
        if node is not None and kept is not None:
            self.nodes.opened(node, kept)  # somebody may stand in it
            self._folders.drop(node.nodeid)
        self.nodes.unlinked(parent, name, last=True)

    def _kept_folder(self, node: Node) -> Descriptor | None:
        """Return a folder's descriptor; None when it is gone (a predecessor removed it)."""
        try:
            return self._folders.get(node.nodeid)
        except StaleError:
            return None

    def rename(
        self, parent: NodeId, name: bytes, new_parent: NodeId, new_name: bytes, flags: int
    ) -> None:
        source, target = self._folders.get(parent), self._folders.get(new_parent)
        exchange = flags == RENAME_EXCHANGE
        displaced = self.nodes.at(new_parent, new_name)
        last = (
            not exchange
            and displaced is not None
            and (
                stat.S_ISDIR(displaced.identity[2])
                or self._is_last_name(target, new_parent, new_name)
            )
        )
        if displaced is not None and not exchange:
            self._hold(displaced)
        self.nodes.about_to_rename((parent, name), (new_parent, new_name))
        if flags:
            syscalls.renameat2(source.fd, name, target.fd, new_name, flags)
        else:
            os.rename(name, new_name, src_dir_fd=source.fd, dst_dir_fd=target.fd)
        if last and displaced is not None:
            self._folders.drop(displaced.nodeid)
        self.nodes.renamed((parent, name), (new_parent, new_name), exchange=exchange, last=last)

    # Extended attributes

    def list_xattr(self, nodeid: NodeId) -> Sequence[bytes]:
        reached = self._reach(nodeid)
        names = os.listxattr(reached.proc_path())
        return [os.fsencode(name) for name in names if _passed_through(name)]

    def get_xattr(self, nodeid: NodeId, name: bytes) -> bytes:
        _check_passed_through(name)
        reached = self._reach(nodeid)
        return os.getxattr(reached.proc_path(), name)

    def set_xattr(self, nodeid: NodeId, name: bytes, value: bytes, flags: int) -> None:
        _check_passed_through(name)
        reached = self._reach(nodeid)
        os.setxattr(reached.proc_path(), name, value, flags)

    def remove_xattr(self, nodeid: NodeId, name: bytes) -> None:
        _check_passed_through(name)
        reached = self._reach(nodeid)
        os.removexattr(reached.proc_path(), name)

    # The whole

    def sync(self, nodeid: NodeId, *, data_only: bool) -> None:
        descriptor = self._open_for_reading(nodeid)
        if data_only:
            os.fdatasync(descriptor.fd)
        else:
            os.fsync(descriptor.fd)

    def statfs(self) -> StatFs:
        found = os.statvfs(self._root.descriptor.fd)
        return StatFs(
            found.f_frsize or found.f_bsize,
            found.f_blocks,
            found.f_bfree,
            found.f_bavail,
            found.f_files,
            found.f_ffree,
            found.f_namemax,
        )

    def nodeids(self) -> Iterator[NodeId]:
        return (nodeid for nodeid in self.nodes.all() if nodeid != ROOT)

    def key_of(self, nodeid: NodeId) -> str | None:
        names = self.nodes.names_to(nodeid)
        return None if names is None else os.fsdecode(b"/".join(names))

    def watch(self, listener: ChangeListener) -> None:
        self._listeners.append(listener)

    def tell_changed(self, key: str) -> None:
        """A key was set or deleted by Storage: tell the kernel if it knows the place."""
        if not self._listeners:
            return
        parent, names = ROOT, os.fsencode(key).split(b"/")
        for name in names[:-1]:
            node = self.nodes.at(parent, name)
            if node is None:  # perhaps known to be absent, and everything below with it
                self._tell(Change(parent, name, None))
                return
            parent = node.nodeid
        node = self.nodes.at(parent, names[-1])
        self._tell(Change(parent, names[-1], None if node is None else node.nodeid))

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            listener(change)

    def close(self) -> None:
        self._folders.clear()
        self.nodes.close()


def _passed_through(name: str) -> bool:
    return not name.startswith("system.")


def _check_passed_through(name: bytes) -> None:
    # The kernel checks permissions by mode alone (default_permissions); an
    # access control list that is shown but not obeyed would be a lie.
    if name.startswith(b"system."):
        raise OSError(errno.EOPNOTSUPP, "access control lists are not passed through")
