"""Documents as zarr-metadata's typed models, read tolerantly.

The package reads strictly, and real stores hold what it refuses: documents of
known writer bugs, dtypes that a later writer added, members that are absent
because a default was meant. Such a document is read once more, mended and in a
narrower scope, and the strict reader's problems are kept beside the model; only
what has no meaning either way is refused. zarr-metadata is imported when the
first document is read (it costs 0.15 s). Pure; safe from any thread.

Source: https://zarr-metadata.readthedocs.io/ ("Validation boundary").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, Union, cast

from zarrfs.errors import InvalidMetadataError
from zarrfs.zarr_format.documents import (
    Document,
    Json,
    document_name,
    format_of,
    kind_of,
    kind_under,
)
from zarrfs.zarr_format.keys import ZARR_JSON, ZARRAY, ZATTRS

if TYPE_CHECKING:
    from zarr_metadata.model import (
        ZarrV2ArrayMetadata,
        ZarrV2GroupMetadata,
        ZarrV3ArrayMetadata,
        ZarrV3GroupMetadata,
    )
    from zarr_metadata.problems import ValidationProblem
    from zarr_metadata.v2.definition import ZarrV2Context
    from zarr_metadata.v3.definition import ZarrV3Context

Metadata: TypeAlias = Union[
    "ZarrV2ArrayMetadata", "ZarrV2GroupMetadata", "ZarrV3ArrayMetadata", "ZarrV3GroupMetadata"
]


class ParsedMetadata(NamedTuple):
    """A model, and what the strict reader says against its document."""

    metadata: Metadata
    problems: tuple[str, ...]


class NodeFiles(NamedTuple):
    """A node's metadata as a store keeps it: one document, and v2's attributes beside it."""

    name: str
    document: Document
    attributes: Document | None
    """What belongs in `.zattrs`; None leaves that as it is, and always in format 3."""


def parse_metadata(
    name: str, document: Document, attributes: Document | None, subject: str
) -> ParsedMetadata:
    """Read a node's document, found under `name`, and v2's `.zattrs` where there is one.

    Raises: InvalidMetadataError with every problem, when even the tolerant
    reading finds no meaning.
    """
    kind_under(name, document, subject)
    if name == ZARR_JSON:
        return _parse_v3(document, subject)
    files: dict[str, Json] = {name: document}
    if attributes is not None:
        files[ZATTRS] = attributes
    return _parse_v2(files, name, subject)


def split_metadata(metadata: Document | Metadata, subject: str) -> NodeFiles:
    """Return what a store keeps for a document or model, semantically unchanged.

    Raises: InvalidMetadataError when even the tolerant reading refuses it.
    """
    document = metadata if isinstance(metadata, Mapping) else cast(Document, metadata.to_json())
    name = document_name(format_of(document, subject), kind_of(document, subject))
    attributes = None
    if name != ZARR_JSON and "attributes" in document:
        given = document["attributes"]
        document = {key: value for key, value in document.items() if key != "attributes"}
        if not isinstance(given, Mapping):
            raise InvalidMetadataError(subject, ["attributes: expected an object"])
        attributes = given
    if isinstance(metadata, Mapping):
        parse_metadata(name, document, attributes, subject)
    return NodeFiles(name, document, attributes)


def _parse_v3(document: Document, subject: str) -> ParsedMetadata:
    from zarr_metadata.model import read_node_metadata_v3, read_repaired_node_metadata_v3

    strict = read_node_metadata_v3(document)
    if strict.metadata is not None:
        return ParsedMetadata(strict.metadata, ())
    mended = _mend_v3(document)
    remaining = strict.problems
    for scope in _scopes_v3():
        reading = read_repaired_node_metadata_v3(mended, context=scope).reading
        if reading.metadata is not None:
            return ParsedMetadata(reading.metadata, _texts(strict.problems))
        remaining = reading.problems
    raise InvalidMetadataError(subject, _texts(remaining))


def _parse_v2(files: Mapping[str, Json], name: str, subject: str) -> ParsedMetadata:
    from zarr_metadata.model import read_node_metadata_v2, read_repaired_node_metadata_v2

    strict = read_node_metadata_v2(files)
    if strict.metadata is not None:
        return ParsedMetadata(strict.metadata, ())
    mended = _mend_v2(files, name)
    remaining = strict.problems
    for scope in _scopes_v2():
        reading = read_repaired_node_metadata_v2(mended, context=scope).reading
        if reading.metadata is not None:
            return ParsedMetadata(reading.metadata, _texts(strict.problems))
        remaining = reading.problems
    raise InvalidMetadataError(subject, _texts(remaining))


def _scopes_v3() -> Iterator[ZarrV3Context]:
    """Narrower and narrower scopes: what a scope does not claim, it does not judge."""
    from zarr_metadata.v3.definition import CORE_AND_EXTENSIONS, ZarrV3Context

    yield CORE_AND_EXTENSIONS
    yield CORE_AND_EXTENSIONS.update(data_types=())
    yield CORE_AND_EXTENSIONS.update(codecs=())
    yield ZarrV3Context()


def _scopes_v2() -> Iterator[ZarrV2Context]:
    from zarr_metadata.v2.definition import CORE_V2, ZarrV2Context

    yield CORE_V2
    yield CORE_V2.update(data_types=())
    yield CORE_V2.update(codecs=())
    yield ZarrV2Context()


def _texts(problems: Iterable[ValidationProblem]) -> tuple[str, ...]:
    return tuple(
        f"{'.'.join(map(str, problem.loc))}: {problem.message}" if problem.loc else problem.message
        for problem in problems
    )


# What follows mends documents whose meaning is clear although the specification
# wants it said otherwise. It is never written back.

_V2_DEFAULTS: Final[Document] = {
    "compressor": None,
    "filters": None,
    "fill_value": None,
    "order": "C",
}
_V3_NULLABLE: Final = ("attributes", "dimension_names", "storage_transformers")


def _mend_v2(files: Mapping[str, Json], name: str) -> dict[str, Json]:
    mended = dict(files)
    if not isinstance(files.get(ZATTRS, {}), Mapping):
        del mended[ZATTRS]
    document = cast(Document, files[name])
    if name == ZARRAY:
        mended[name] = _mend_zarray(document)
    else:
        # A .zgroup says nothing but its format; some writers add members to it.
        mended[name] = {"zarr_format": document["zarr_format"]}
    return mended


def _mend_zarray(document: Document) -> Document:
    mended = {**_V2_DEFAULTS, **document}
    mended.pop("attributes", None)
    if mended.get("dimension_separator", ".") is None:
        del mended["dimension_separator"]
    for member in ("shape", "chunks"):
        if member in mended:
            mended[member] = _whole(mended[member])
    return mended


def _mend_v3(document: Document) -> Document:
    mended = {
        member: value
        for member, value in document.items()
        if not (value is None and member in _V3_NULLABLE)
    }
    if "shape" in mended:
        mended["shape"] = _whole(mended["shape"])
    if "fill_value" in mended:
        mended["fill_value"] = _spelled(mended["fill_value"])
    return mended


def _whole(lengths: Json) -> Json:
    """Some writers' JSON libraries know no integers: `[4.0, 4.0]` is `[4, 4]`."""
    if not isinstance(lengths, Sequence) or isinstance(lengths, str):
        return lengths
    return [
        int(length) if isinstance(length, float) and length.is_integer() else length
        for length in lengths
    ]


def _spelled(fill_value: Json) -> Json:
    """Spell a bare NaN or Infinity token as the string the specification wants."""
    if not isinstance(fill_value, float) or math.isfinite(fill_value):
        return fill_value
    if math.isnan(fill_value):
        return "NaN"
    return "Infinity" if fill_value > 0 else "-Infinity"
