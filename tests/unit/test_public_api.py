"""The public names, and that importing them costs next to nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import zarrfs
import zarrfs.errors
import zarrfs.storage

PUBLIC = """
    AttributeNotFoundError Backend BackendFactory BusyError CannotOpenMemoryError
    ChunkNotFoundError CorruptError CreateFailedError DeniedError ExistsError
    InvalidArgumentError InvalidChunkIndexError InvalidMetadataError InvalidNameError
    IsAFolderError KeyNotFoundError MalformedMessageError
    MetadataNotFoundError NameTooLongError
    NoSpaceError NotAFolderError NotEmptyError NotFoundError PathNotFoundError
    PathRequiredError ReadOnlyError StaleError Storage UnavailableError
    UnknownBackendError UnsupportedError WrongKindError ZarrfsError describe_backend
    get_backend list_backends mount register_backend unregister_backend
""".split()

HEAVY = {
    "numpy",
    "zarr_metadata",
    "pydantic",
    "yaml",
    "click",
    "rich",
    "zarr",
    "numcodecs",
    "typing",
}


def test_public_names_are_pinned() -> None:
    assert sorted(zarrfs.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(zarrfs))


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_there(name: str) -> None:
    assert getattr(zarrfs, name) is not None


@pytest.mark.parametrize("name", zarrfs.storage.__all__)
def test_names_of_storage_are_there(name: str) -> None:
    assert getattr(zarrfs.storage, name) is not None


def test_every_error_is_public() -> None:
    errors = {
        name
        for name, value in vars(zarrfs.errors).items()
        if isinstance(value, type) and issubclass(value, zarrfs.ZarrfsError)
    }
    assert errors <= set(zarrfs.__all__)


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = zarrfs.nothing


def loaded_by(statement: str) -> set[str]:
    program = (
        f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {program}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(result.stdout.split())


def test_importing_is_light() -> None:
    assert loaded_by("import zarrfs") == {"zarrfs", "zarrfs._exports", "__future__"}


def test_importing_storage_is_light() -> None:
    loaded = loaded_by("from zarrfs import Storage")
    assert "zarrfs.storage.storage" in loaded
    assert loaded & HEAVY == {"typing"}
