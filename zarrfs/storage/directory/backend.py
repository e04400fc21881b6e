"""`DirectoryBackend`: the keys of a store as files of a folder.

A value is written beside its key under a temporary name and renamed over it,
so readers see the old value or the new one; `flush` makes all of it durable.
Nothing outside the folder is reached: see `folders`. Any thread may call it.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import suppress

from zarrfs.errors import (
    CreateFailedError,
    DeniedError,
    InvalidNameError,
    IsAFolderError,
    KeyNotFoundError,
    NameTooLongError,
    NoSpaceError,
    NotAFolderError,
    PathNotFoundError,
    PathRequiredError,
    ReadOnlyError,
    UnavailableError,
    ZarrfsError,
)
from zarrfs.storage.backend import Buffer, Key, KeyStat, Listed
from zarrfs.storage.directory import syscalls
from zarrfs.storage.directory.descriptors import Descriptor
from zarrfs.storage.directory.folders import FOLDER_FLAGS, RootFolder
from zarrfs.storage.directory.tree import DirectoryTree
from zarrfs.zarr_format.keys import check_key, encode_name, split_key

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_PATIENCE = 1000
_WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

# What is absent, is a value, or lies outside has no children here.
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EXDEV, errno.ELOOP)

_BY_ERRNO: dict[int, type[ZarrfsError]] = {
    errno.ENOENT: KeyNotFoundError,
    errno.ENOTDIR: KeyNotFoundError,
    errno.EISDIR: IsAFolderError,
    errno.EACCES: DeniedError,
    errno.EPERM: DeniedError,
    errno.ELOOP: DeniedError,
    errno.EXDEV: DeniedError,
    errno.EROFS: ReadOnlyError,
    errno.ENOSPC: NoSpaceError,
    errno.EDQUOT: NoSpaceError,
    errno.ENAMETOOLONG: NameTooLongError,
    errno.EINVAL: InvalidNameError,
}


def _convert(error: OSError, key: str) -> ZarrfsError:
    cls = _BY_ERRNO.get(error.errno or 0, UnavailableError)
    if error.errno == errno.ELOOP:
        return cls(key, "a symbolic link, which is not followed", remedy="-o follow_symlinks")
    return cls(key, error.strerror or str(error))


class _Converting:
    """Turns the operating system's errors into ours, at this edge."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None:
        pass

    def __exit__(self, cls: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise _convert(error, self._key) from error


class DirectoryBackend:
    """A folder of a file system: each key is a file."""

    def __init__(
        self,
        path: str,
        *,
        read_only: bool = False,
        follow_symlinks: bool = False,
        location: str | None = None,
    ) -> None:
        """`location` is what to call it where `path` only leads to it.

        Raises: PathNotFoundError, NotAFolderError, DeniedError.
        """
        try:
            self._root = RootFolder(path, follow_symlinks=follow_symlinks)
        except FileNotFoundError as error:
            raise PathNotFoundError(path) from error
        except NotADirectoryError as error:
            raise NotAFolderError(path) from error
        except OSError as error:
            raise DeniedError(path, error.strerror or str(error)) from error
        self._path = os.path.abspath(path) if location is None else location
        self._read_only = read_only
        self._tree: DirectoryTree | None = None
        self._unflushed = False

    @classmethod
    def init(cls, path: str | None) -> DirectoryBackend:
        """Make the folder, with those above it; one that is there is used as it is."""
        if path is None:
            raise PathRequiredError("directory")
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise CreateFailedError(path, error.strerror or str(error)) from error
        return cls(path)

    @classmethod
    def open(cls, path: str, *, read_only: bool) -> DirectoryBackend:
        return cls(path, read_only=read_only)

    @classmethod
    def recognises(cls, path: str) -> bool:
        return os.path.isdir(path)

    @property
    def kind(self) -> str:
        return "directory"

    @property
    def location(self) -> str:
        return self._path

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def static(self) -> bool:
        return False

    def file_tree(self) -> DirectoryTree:
        if self._tree is None:
            self._tree = DirectoryTree(
                self._root,
                read_only=self._read_only,
                ignores_flush=not _on_network(self._root.descriptor),
            )
        return self._tree

    # Reading

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        with _Converting(key):
            file = self._open_value(key, _READ)
            size = os.fstat(file.fd).st_size
            return _read_range(file, start, size if stop is None else min(stop, size))

    def stat(self, key: Key) -> KeyStat:
        with _Converting(key):
            file = self._open_value(key, syscalls.O_PATH)
            status = os.fstat(file.fd)
        return KeyStat(status.st_size, status.st_mtime_ns)

    def _open_value(self, key: Key, flags: int) -> Descriptor:
        check_key(key)
        file = Descriptor(self._root.open(encode_name(key), flags | self._root.no_follow))
        mode = os.fstat(file.fd).st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, "symbolic link")
        if not stat.S_ISREG(mode):
            raise KeyNotFoundError(key, "a folder" if stat.S_ISDIR(mode) else "not a file")
        return file

    def _open_folder(self, prefix: str) -> Descriptor:
        flags = FOLDER_FLAGS | self._root.no_follow
        return Descriptor(self._root.open(encode_name(prefix), flags))

    def list_dir(self, prefix: Key) -> Iterator[Listed]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | self._root.no_follow
        if not _is_prefix(prefix):
            return
        try:
            folder = Descriptor(self._root.open(encode_name(prefix), flags))
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return
            raise _convert(error, prefix) from error
        follow = self._root.follow_symlinks
        with os.scandir(folder.fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=follow):
                    yield Listed(entry.name, True)
                elif entry.is_file(follow_symlinks=follow):
                    yield Listed(entry.name, False)

    def list_keys(self, prefix: Key) -> Iterator[Key]:
        pending = [prefix]
        while pending:
            folder = pending.pop()
            lead = f"{folder}/" if folder else ""
            for name, is_prefix in self.list_dir(folder):
                if is_prefix:
                    pending.append(Key(lead + name))
                else:
                    yield Key(lead + name)

    # Writing

    def set(self, key: Key, data: Buffer) -> None:
        self._check_writable()
        check_key(key)
        prefix, name = split_key(key)
        with _Converting(key):
            for _ in range(_PATIENCE):
                try:
                    _replace(self._make_folders(prefix), encode_name(name), data)
                    break
                except FileNotFoundError:
                    continue  # a delete took the folder, empty as it was
            else:
                raise UnavailableError(key, "its folder is removed again and again")
        self._changed(key)

    def _make_folders(self, prefix: str) -> Descriptor:
        try:
            return self._open_folder(prefix)
        except FileNotFoundError:
            pass
        except NotADirectoryError as error:
            raise NotAFolderError(prefix, "a value, so nothing can be below it") from error
        above, name = split_key(prefix)
        parent = self._make_folders(above)
        try:
            os.mkdir(encode_name(name), dir_fd=parent.fd)
        except FileExistsError:
            pass  # another writer was faster
        return self._make_folders(prefix)

    def delete(self, key: Key) -> None:
        self._check_writable()
        check_key(key)
        prefix, name = split_key(key)
        with _Converting(key):
            try:
                folder = self._open_folder(prefix)
                os.unlink(encode_name(name), dir_fd=folder.fd)
            except IsADirectoryError as error:
                raise KeyNotFoundError(key, "a folder") from error
        self._changed(key)
        self._remove_empty(prefix)

    def _remove_empty(self, prefix: str) -> None:
        while prefix:
            above, name = split_key(prefix)
            try:
                folder = self._open_folder(above)
                os.rmdir(encode_name(name), dir_fd=folder.fd)
            except OSError:
                return  # not empty, or gone already
            self._changed(prefix)
            prefix = above

    def _check_writable(self) -> None:
        if self._read_only:
            raise ReadOnlyError(self._path)

    def _changed(self, key: str) -> None:
        self._unflushed = True
        if self._tree is not None:
            self._tree.tell_changed(key)

    def flush(self) -> None:
        if not self._unflushed:
            return
        self._unflushed = False
        folder = Descriptor(self._root.open(b".", os.O_RDONLY | os.O_DIRECTORY))
        try:
            syscalls.syncfs(folder.fd)
        except OSError as error:
            self._unflushed = True
            raise _convert(error, self._path) from error

    def hand_over(self) -> None:
        if self._tree is not None:
            self._tree.hand_over()

    def close(self) -> None:
        self.flush()
        if self._tree is not None:
            self._tree.close()


def _is_prefix(prefix: str) -> bool:
    try:
        if prefix:
            check_key(prefix)
    except InvalidNameError:
        return False
    return True


def _read_range(file: Descriptor, start: int, stop: int) -> bytes:
    pieces = []
    while start < stop:
        piece = os.pread(file.fd, stop - start, start)
        if not piece:  # truncated meanwhile
            break
        pieces.append(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _replace(folder: Descriptor, name: bytes, data: Buffer) -> None:
    """Write a file beside its name and rename it over what is there."""
    temporary = b"zarrfs.%s.partial" % uuid.uuid4().hex.encode()
    file = os.open(temporary, _WRITE_NEW, 0o666, dir_fd=folder.fd)
    try:
        try:
            view = memoryview(data)
            while len(view):
                view = view[os.write(file, view) :]
        finally:
            os.close(file)
        os.rename(temporary, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder.fd)
        raise


_NETWORK_TYPES = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs", "lustre"})


def _on_network(folder: Descriptor) -> bool:
    """Whether a folder's file system may report write errors only on close."""
    device = os.fstat(folder.fd).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                fields, _, rest = line.partition(" - ")
                if fields.split(" ", 3)[2] == wanted:
                    kind = rest.partition(" ")[0]
                    return kind in _NETWORK_TYPES or kind.startswith("fuse")
    except (OSError, IndexError):
        pass
    return True  # unknown: better one message more at each close
