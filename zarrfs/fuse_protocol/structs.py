"""The kernel's structs as precompiled `struct.Struct`s, named as in fuse.h.

Host byte order, no implicit padding (`=`): fuse.h pads every struct to 64 bits
by itself. The size in each comment is checked by a test.
"""

from __future__ import annotations

from struct import Struct

_ATTR = "6Q10I"
_ATTR_FIELDS = 16

IN_HEADER = Struct("=IIQQIIIHxx")
"""fuse_in_header, 40: len, opcode, unique, nodeid, uid, gid, pid, total_extlen."""
OUT_HEADER = Struct("=IiQ")
"""fuse_out_header, 16: len, error, unique."""

# Requests.
FORGET_IN = Struct("=Q")  # 8: nlookup
BATCH_FORGET_IN = Struct("=I4x")  # 8: count; then fuse_forget_one each
FORGET_ONE = Struct("=QQ")  # 16: nodeid, nlookup
GETATTR_IN = Struct("=I4xQ")  # 16: getattr_flags, fh (7.9)
SETATTR_IN = Struct("=I4xQQQ3Q3II4xII4x")
"""fuse_setattr_in, 88: valid, fh, size, lock_owner, atime, mtime, ctime, their
nanoseconds, mode, uid, gid (ctime since 7.23)."""
MKNOD_IN = Struct("=III4x")  # 16: mode, rdev, umask (7.12)
MKDIR_IN = Struct("=II")  # 8: mode, umask (7.12)
RENAME_IN = Struct("=Q")  # 8: newdir
RENAME2_IN = Struct("=QI4x")  # 16: newdir, flags (7.23)
LINK_IN = Struct("=Q")  # 8: oldnodeid
OPEN_IN = Struct("=II")  # 8: flags, open_flags
CREATE_IN = Struct("=IIII")  # 16: flags, mode, umask, open_flags (7.12)
READ_IN = Struct("=QQI")
"""fuse_read_in, the first 20 of 40: fh, offset, size. The rest (read_flags,
lock_owner, flags) is of no use here and not unpacked."""
WRITE_IN = Struct("=QQIIQI4x")  # 40: fh, offset, size, write_flags, lock_owner, flags
RELEASE_IN = Struct("=QIIQ")  # 24: fh, flags, release_flags, lock_owner
FLUSH_IN = Struct("=Q8xQ")  # 24: fh, lock_owner
FSYNC_IN = Struct("=QI4x")  # 16: fh, fsync_flags
SETXATTR_IN = Struct("=II")  # 8: size, flags (16 with SETXATTR_EXT, not negotiated)
GETXATTR_IN = Struct("=I4x")  # 8: size; LISTXATTR too
ACCESS_IN = Struct("=I4x")  # 8: mask
INIT_IN = Struct("=IIII")  # 16: major, minor, max_readahead, flags
INIT_IN_EXT = Struct("=IIIII44x")  # 64: as above and flags2 (7.36)
INTERRUPT_IN = Struct("=Q")  # 8: unique
FALLOCATE_IN = Struct("=QQQI4x")  # 32: fh, offset, length, mode (7.19)
LSEEK_IN = Struct("=QQI4x")  # 24: fh, offset, whence (7.24)
COPY_FILE_RANGE_IN = Struct("=7Q")
"""fuse_copy_file_range_in, 56: fh_in, off_in, nodeid_out, fh_out, off_out, len,
flags (7.28)."""

READ_IN_SIZE = 40

# Replies.
ENTRY_OUT = Struct("=4QII" + _ATTR)
"""fuse_entry_out, 128: nodeid, generation, entry_valid, attr_valid, their
nanoseconds; then fuse_attr: ino, size, blocks, atime, mtime, ctime, their
nanoseconds, mode, nlink, uid, gid, rdev, blksize, flags."""
ATTR_OUT = Struct("=QI4x" + _ATTR)  # 104: attr_valid, its nanoseconds, fuse_attr
OPEN_OUT = Struct("=QIi")  # 16: fh, open_flags, backing_id (7.40; padding before)
WRITE_OUT = Struct("=I4x")  # 8: size
STATFS_OUT = Struct("=5Q3I28x")
"""fuse_kstatfs, 80: blocks, bfree, bavail, files, ffree, bsize, namelen, frsize."""
GETXATTR_OUT = Struct("=I4x")  # 8: size
LSEEK_OUT = Struct("=Q")  # 8: offset
INIT_OUT_22 = Struct("=IIIIHHI")  # 24: up to 7.22
INIT_OUT = Struct("=IIIIHHIIHHIIH22x")
"""fuse_init_out, 64: major, minor, max_readahead, flags, max_background,
congestion_threshold, max_write, time_gran, max_pages, map_alignment, flags2,
max_stack_depth (7.40), request_timeout (7.43)."""
DIRENT = Struct("=QQII")  # 24: ino, off, namelen, type; then the name

# Notifications; each follows an OUT_HEADER whose unique is 0.
NOTIFY_INVAL_INODE_OUT = Struct("=Qqq")  # 24: nodeid, off, len (7.12)
NOTIFY_INVAL_ENTRY_OUT = Struct("=QII")  # 16: parent, namelen, flags (7.12)
NOTIFY_DELETE_OUT = Struct("=QQI4x")  # 24: parent, child, namelen (7.18)

# Not of the device's stream, but of its ioctl.
BACKING_MAP = Struct("=iIQ")  # fuse_backing_map, 16: fd, flags, padding (7.40)
