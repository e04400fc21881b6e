"""The errno table: complete, and right where man pages speak."""

from __future__ import annotations

import errno
import logging

import pytest

from zarrfs import errors
from zarrfs.vfs.errnos import TABLE, errno_of


def all_error_classes() -> set[type[Exception]]:
    return {
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.ZarrfsError)
    }


def test_every_class_has_a_row_and_every_row_a_class() -> None:
    assert set(TABLE) == all_error_classes()


@pytest.mark.parametrize(
    ("exc", "expected"),
    [
        (errors.ChunkNotFoundError("a", (0, 1)), errno.ENOENT),
        (errors.AttributeNotFoundError("user.x"), errno.ENODATA),
        (errors.ExistsError("a"), errno.EEXIST),
        (errors.NotAFolderError("a"), errno.ENOTDIR),
        (errors.IsAFolderError("a"), errno.EISDIR),
        (errors.NotEmptyError("a"), errno.ENOTEMPTY),
        (errors.ReadOnlyError("a"), errno.EROFS),
        (errors.NameTooLongError("a"), errno.ENAMETOOLONG),
        (errors.DeniedError("a"), errno.EACCES),
        (errors.StaleError("a"), errno.ESTALE),
        (errors.CorruptError("a"), errno.EIO),
        (errors.NoSpaceError("a"), errno.ENOSPC),
        (errors.UnsupportedError("a"), errno.EOPNOTSUPP),
        (OSError(errno.EXDEV, "cross-device"), errno.EXDEV),
        (FileNotFoundError(errno.ENOENT, "gone"), errno.ENOENT),
        (OSError("no errno"), errno.EIO),
    ],
)
def test_errno_of(exc: Exception, expected: int) -> None:
    assert errno_of(exc) == expected


def test_a_class_derived_elsewhere_answers_as_its_nearest_base() -> None:
    class QuotaError(errors.NoSpaceError):
        """A third-party backend's own."""

    assert errno_of(QuotaError("bucket")) == errno.ENOSPC


def test_enosys_never_reaches_the_kernel() -> None:
    assert errno_of(OSError(errno.ENOSYS, "not here")) == errno.EOPNOTSUPP


def test_a_defect_is_eio_with_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("a bug")
    except ValueError as exc:
        assert errno_of(exc, "LOOKUP") == errno.EIO
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert "LOOKUP" in record.getMessage()


def test_ordinary_answers_stay_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        errno_of(errors.KeyNotFoundError("zarr.json"), "LOOKUP")
        errno_of(OSError(errno.ENOENT, "gone"), "LOOKUP")
    assert not caplog.records


def test_corruption_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    errno_of(errors.CorruptError("t/c/0", "CRC-32 differs"), "READ")
    assert [r.levelno for r in caplog.records] == [logging.ERROR]
