"""Metadata documents as plain JSON: bytes to mappings and back, and what they describe.

Light on purpose: nothing here imports zarr-metadata, whose typed models are
made in `zarrfs.zarr_format.models`. Chunks can be found and served with what
this module and `zarrfs.zarr_format.layout` know. Pure; safe from any thread.

Source: Zarr v2 specification, "Metadata"; Zarr v3 core, "Metadata".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, Literal, TypeAlias, cast

from zarrfs.errors import InvalidMetadataError
from zarrfs.zarr_format.keys import ZARR_JSON, ZARRAY, ZGROUP

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
Document: TypeAlias = Mapping[str, Json]
ZarrFormat: TypeAlias = Literal[2, 3]


class NodeKind(Enum):
    """What a node of a hierarchy is; the values are v3's `node_type`."""

    ARRAY = "array"
    GROUP = "group"


NODE_DOCUMENTS: Final = (ZARR_JSON, ZARRAY, ZGROUP)
"""The documents that make a folder a node, in the order of precedence.

Where both formats are present format 3 is read, as zarr-python does.
"""


def decode_document(data: bytes | bytearray | memoryview, subject: str) -> dict[str, Json]:
    """Parse a document's bytes; `NaN` and `Infinity` are accepted, as writers use them.

    Raises: InvalidMetadataError when it is not a JSON object.
    """
    try:
        document = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        # UnicodeDecodeError is a ValueError too; so is an int of absurd length.
        raise InvalidMetadataError(subject, [f"not JSON: {error}"]) from error
    if not isinstance(document, dict):
        raise InvalidMetadataError(subject, [f"a JSON {type(document).__name__}, not an object"])
    return cast(dict[str, Json], document)


def encode_document(document: Document, subject: str = "") -> bytes:
    """Serialise a document as it is, members in their order.

    Raises: InvalidMetadataError when something in it has no JSON form.
    """
    try:
        return json.dumps(document, indent=2, default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMetadataError(subject, [f"no JSON form: {error}"]) from error


def _plain(value: object) -> object:
    """Give json the built-in form of read-only mappings and of NumPy scalars."""
    if isinstance(value, Mapping):
        return dict(value)
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    raise TypeError(f"{type(value).__name__} {value!r}")


def format_of(document: Document, subject: str) -> ZarrFormat:
    """Raises: InvalidMetadataError unless `zarr_format` is 2 or 3."""
    zarr_format = document.get("zarr_format")
    if zarr_format == 2:
        return 2
    if zarr_format == 3:
        return 3
    raise InvalidMetadataError(subject, [f"zarr_format is {zarr_format!r}, expected 2 or 3"])


def kind_of(document: Document, subject: str) -> NodeKind:
    """Whether a node's document describes an array or a group.

    Raises: InvalidMetadataError.
    """
    if format_of(document, subject) == 2:
        return NodeKind.ARRAY if "shape" in document else NodeKind.GROUP
    node_type = document.get("node_type")
    for kind in NodeKind:
        if kind.value == node_type:
            return kind
    raise InvalidMetadataError(subject, [f"node_type is {node_type!r}, expected array or group"])


def document_name(zarr_format: ZarrFormat, kind: NodeKind) -> str:
    """Return the name under which a node's document is kept."""
    if zarr_format == 3:
        return ZARR_JSON
    return ZARRAY if kind is NodeKind.ARRAY else ZGROUP


def kind_under(name: str, document: Document, subject: str) -> NodeKind:
    """Return the kind of node that a document found under `name` makes of its folder.

    Raises: InvalidMetadataError when the content does not belong under that name.
    """
    zarr_format = format_of(document, subject)
    if (zarr_format == 3) != (name == ZARR_JSON):
        raise InvalidMetadataError(subject, [f"zarr_format {zarr_format} under the name {name}"])
    if zarr_format == 3:
        return kind_of(document, subject)
    return NodeKind.ARRAY if name == ZARRAY else NodeKind.GROUP
