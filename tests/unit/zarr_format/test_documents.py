"""Documents as plain JSON."""

from __future__ import annotations

import json
import math
from types import MappingProxyType

import numpy as np
import pytest

from tests.suites.documents import DTYPE_DOCUMENTS, V2_GROUP, V3_GROUP, v2_array, v3_array
from zarrfs.errors import InvalidMetadataError
from zarrfs.zarr_format.documents import (
    Document,
    NodeKind,
    decode_document,
    document_name,
    encode_document,
    format_of,
    kind_of,
    kind_under,
)


@pytest.mark.parametrize("name", DTYPE_DOCUMENTS)
def test_what_is_encoded_is_decoded(name: str) -> None:
    document = DTYPE_DOCUMENTS[name]
    data = encode_document(document)
    assert decode_document(data, name) == document
    assert list(decode_document(data, name)) == list(document)


def test_numbers_that_are_no_json() -> None:
    decoded = decode_document(b'{"a": NaN, "b": -Infinity}', "x")
    assert isinstance(decoded["a"], float)
    assert math.isnan(decoded["a"])
    assert decode_document(encode_document(decoded), "x")["b"] == -math.inf


def test_read_only_mappings_and_numpy_scalars_are_encoded() -> None:
    document = MappingProxyType({"a": MappingProxyType({"b": (1, 2)})})
    assert json.loads(encode_document(document)) == {"a": {"b": [1, 2]}}
    assert json.loads(encode_document({"n": np.int64(3), "x": np.float32(0.5)})) == {  # type: ignore[dict-item]  # what callers pass
        "n": 3,
        "x": 0.5,
    }


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"1", b'"x"', b"\xff\xfe", b'{"a": 1} x', b"[" * 100_000, b"{'a': 1}"],
)
def test_what_is_no_document(data: bytes) -> None:
    with pytest.raises(InvalidMetadataError) as caught:
        decode_document(data, "a/zarr.json")
    assert caught.value.subject == "a/zarr.json"
    assert len(caught.value.problems) == 1


def test_absurd_numbers_are_refused() -> None:
    with pytest.raises(InvalidMetadataError):
        decode_document(b'{"shape": [' + b"9" * 10_000 + b"]}", "x")


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes"])
def test_what_has_no_json_form(value: object) -> None:
    with pytest.raises(InvalidMetadataError):
        encode_document({"a": value})  # type: ignore[dict-item]  # on purpose


@pytest.mark.parametrize(
    ("document", "zarr_format", "kind", "name"),
    [
        (v2_array([1], [1]), 2, NodeKind.ARRAY, ".zarray"),
        (V2_GROUP, 2, NodeKind.GROUP, ".zgroup"),
        (v3_array([1], [1]), 3, NodeKind.ARRAY, "zarr.json"),
        (V3_GROUP, 3, NodeKind.GROUP, "zarr.json"),
    ],
)
def test_what_a_document_describes(
    document: Document, zarr_format: int, kind: NodeKind, name: str
) -> None:
    assert format_of(document, "x") == zarr_format
    assert kind_of(document, "x") is kind
    assert document_name(format_of(document, "x"), kind) == name
    assert kind_under(name, document, "x") is kind


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("zarr.json", V2_GROUP),
        (".zgroup", V3_GROUP),
        (".zarray", v3_array([1], [1])),
        ("zarr.json", {"zarr_format": 3}),
        ("zarr.json", {"zarr_format": 3, "node_type": "table"}),
        ("zarr.json", {"zarr_format": 1}),
        (".zarray", {}),
    ],
)
def test_documents_under_a_wrong_name(name: str, document: Document) -> None:
    with pytest.raises(InvalidMetadataError):
        kind_under(name, document, "x")
