"""Every error zarrfs raises, grouped by what a caller does about it.

    ZarrfsError
    ├── NotFoundError            look elsewhere, or create it
    │   ├── PathNotFoundError        no file or folder at a store's path
    │   ├── KeyNotFoundError         no such key in a backend
    │   ├── ChunkNotFoundError       the chunk was never written (fill value)
    │   ├── MetadataNotFoundError    neither .zarray/.zgroup nor zarr.json
    │   └── AttributeNotFoundError   no such extended attribute
    ├── ExistsError              choose another name, or replace on purpose
    ├── WrongKindError           a file where a folder is needed, or the reverse
    │   ├── NotAFolderError
    │   └── IsAFolderError
    ├── NotEmptyError            empty the folder first
    ├── ReadOnlyError            mount or open it for writing
    ├── InvalidNameError         a name or key that cannot be kept
    │   └── NameTooLongError
    ├── InvalidArgumentError     the call itself is wrong
    │   ├── PathRequiredError        Storage.init needs a path for this backend
    │   ├── UnknownBackendError      no backend is registered under that name
    │   ├── CannotOpenMemoryError    a memory store has nothing to open
    │   ├── InvalidMetadataError     a document that does not parse; lists problems
    │   ├── InvalidChunkIndexError   an index outside the grid, or of another rank
    │   └── MalformedMessageError    bytes that are no message of the FUSE protocol
    ├── DeniedError              permissions
    ├── BusyError                in use; holder's pid where known
    ├── StaleError               the node or handle is gone
    ├── CorruptError             the stored bytes are wrong
    ├── UnavailableError         the backend failed; may work later
    │   ├── CreateFailedError        the store's folder or file could not be made
    │   └── NoSpaceError
    └── UnsupportedError         this backend, codec or kernel cannot do it

Classes carry fields; the message is made from them. The one table from class
to errno is `zarrfs.vfs.errnos`. This module imports nothing of zarrfs.
"""

from __future__ import annotations

from collections.abc import Sequence


class ZarrfsError(Exception):
    """Base of all errors that zarrfs raises on purpose.

    `subject` names the file, key or option at fault; `reason` says what is
    wrong with it; `remedy`, where known, says the way out.
    """

    def __init__(self, subject: str = "", reason: str = "", *, remedy: str = "") -> None:
        super().__init__(subject, reason, remedy)
        self.subject = subject
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        what = self.reason or (self.__doc__ or "").partition("\n")[0].rstrip(".")
        text = f"{self.subject}: {what}" if self.subject else what
        return f"{text} ({self.remedy})" if self.remedy else text


class NotFoundError(ZarrfsError):
    """Nothing is there."""


class PathNotFoundError(NotFoundError):
    """No such file or folder."""


class KeyNotFoundError(NotFoundError):
    """No such key."""


class ChunkNotFoundError(NotFoundError):
    """The chunk was never written: readers take the fill value."""

    def __init__(self, subject: str, index: tuple[int, ...], reason: str = "") -> None:
        super().__init__(subject, reason or f"chunk {index} was never written")
        self.index = index


class MetadataNotFoundError(NotFoundError):
    """No Zarr metadata document here (.zarray, .zgroup or zarr.json)."""


class AttributeNotFoundError(NotFoundError):
    """No such extended attribute."""


class ExistsError(ZarrfsError):
    """Something of that name exists already."""


class WrongKindError(ZarrfsError):
    """The operation does not fit what is there."""


class NotAFolderError(WrongKindError):
    """Not a folder."""


class IsAFolderError(WrongKindError):
    """Is a folder."""


class NotEmptyError(ZarrfsError):
    """The folder is not empty."""


class ReadOnlyError(ZarrfsError):
    """Opened or mounted read-only."""


class InvalidNameError(ZarrfsError):
    """A name that cannot be kept."""


class NameTooLongError(InvalidNameError):
    """The name is longer than 255 bytes."""


class InvalidArgumentError(ZarrfsError):
    """The call cannot be carried out as it was made."""


class PathRequiredError(InvalidArgumentError):
    """This backend needs a path."""


class UnknownBackendError(InvalidArgumentError):
    """No backend is registered under that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(name, "no such backend", remedy=f"one of: {', '.join(sorted(known))}")
        self.name = name
        self.known = tuple(sorted(known))


class CannotOpenMemoryError(InvalidArgumentError):
    """A memory store has no path to open; use Storage.init('memory')."""


class InvalidMetadataError(InvalidArgumentError):
    """The metadata document does not follow its specification."""

    def __init__(self, subject: str, problems: Sequence[str]) -> None:
        super().__init__(subject, "; ".join(problems))
        self.problems = tuple(problems)


class InvalidChunkIndexError(InvalidArgumentError):
    """The chunk index does not fit the array's grid."""

    def __init__(self, subject: str, index: tuple[int, ...], reason: str) -> None:
        super().__init__(subject, reason)
        self.index = index


class MalformedMessageError(InvalidArgumentError):
    """Not a message of the FUSE protocol."""


class DeniedError(ZarrfsError):
    """Permission denied."""


class BusyError(ZarrfsError):
    """In use by another process."""

    def __init__(self, subject: str, reason: str = "", *, holder_pid: int | None = None) -> None:
        held = f"in use by process {holder_pid}" if holder_pid else "in use by another process"
        super().__init__(subject, reason or held)
        self.holder_pid = holder_pid


class StaleError(ZarrfsError):
    """The node or handle no longer exists."""


class CorruptError(ZarrfsError):
    """The stored bytes are not what they should be."""


class UnavailableError(ZarrfsError):
    """The backend failed; it may work later."""


class CreateFailedError(UnavailableError):
    """The store could not be created."""


class NoSpaceError(UnavailableError):
    """No space left."""


class UnsupportedError(ZarrfsError):
    """Not supported here."""
