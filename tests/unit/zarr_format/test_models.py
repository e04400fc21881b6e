"""Documents of real writers as zarr-metadata's models, strictly or tolerantly."""

from __future__ import annotations

import pytest

from tests.suites.documents import DTYPE_DOCUMENTS, V2_GROUP, V3_GROUP, v2_array, v3_array
from zarrfs.errors import InvalidMetadataError
from zarrfs.zarr_format.documents import Document
from zarrfs.zarr_format.models import ParsedMetadata, parse_metadata, split_metadata

TRANSPOSE_F: Document = {"name": "transpose", "configuration": {"order": "F"}}


def parse(document: Document, attributes: Document | None = None) -> ParsedMetadata:
    if document["zarr_format"] == 3:
        name = "zarr.json"
    else:
        name = ".zarray" if "shape" in document else ".zgroup"
    return parse_metadata(name, document, attributes, "a")


def without(document: Document, *members: str) -> Document:
    return {key: value for key, value in document.items() if key not in members}


@pytest.mark.parametrize("name", DTYPE_DOCUMENTS)
def test_good_documents_have_no_problems(name: str) -> None:
    parsed = parse(DTYPE_DOCUMENTS[name])
    assert parsed.problems == ()
    assert parsed.metadata.node_type == "array"


@pytest.mark.parametrize(
    "document",
    [
        v2_array([4], [2], "<M8"),  # zarr-python 3, of datetime64 without a unit
        v2_array([4], [2], "<f16", fill_value=0),
        v2_array([4], [2], [["a", "<i4"]], fill_value=0),
        v2_array([4], [2], "|S3", fill_value=0),
        v2_array([4], [2], "<i4", fill_value=0.0),
        v2_array([4], [2], "|b1", fill_value=0),
        v2_array([4], [2], "<f4", fill_value=float("nan")),  # zarr-python 3.0.0
        v2_array([4], [2], dimension_separator=None),
        {**v2_array([4], [2]), "shape": [4.0], "chunks": [2.0]},
        without(v2_array([4], [2]), "filters", "order", "fill_value", "compressor"),
        {**V2_GROUP, "consolidated_metadata": None},
        {**V3_GROUP, "consolidated_metadata": None},  # zarr-python 3.0
        {**V3_GROUP, "attributes": None},
        v3_array([4], [2], dimension_names=None),
        v3_array([4], [2], "float32", fill_value=float("-inf")),
        v3_array([4], [2], "int32", fill_value=0.0),
        v3_array([4], [2], "int32", codecs=[{"name": "bytes"}]),
        v3_array([4], [2], codecs=[TRANSPOSE_F, "bytes"]),
        v3_array([0], [0]),  # zarr-python 3.0 and 3.1
    ],
)
def test_odd_documents_are_read_with_their_problems(document: Document) -> None:
    parsed = parse(document)
    assert parsed.problems
    assert parsed.metadata.zarr_format == document["zarr_format"]


@pytest.mark.parametrize(
    "document",
    [
        v2_array([4], [2], "|O", filters=[{"id": "pickle", "protocol": 5}]),
        v2_array([4], [2], compressor={"id": "imagecodecs_jpegxl", "level": 1}),
        v2_array([4], [2], filters=[]),
        v2_array([], []),
        v3_array([4], [2], "example.type", fill_value={"any": "thing"}),
        v3_array([4], [2], codecs=[{"name": "numcodecs.zlib", "configuration": {"level": 1}}]),
        v3_array([4], [2], chunk_key_encoding="default"),
        v3_array([4], [2], consolidated_metadata=None),
    ],
)
def test_what_is_unusual_but_right(document: Document) -> None:
    parse(document)


def test_attributes_belong_to_the_model() -> None:
    parsed = parse(v2_array([4], [2]), {"_FillValue": float("nan"), "deep": {"a": [1]}})
    assert parsed.problems == ()
    assert parsed.metadata.attributes["deep"] == {"a": (1,)}
    assert parse(V2_GROUP, {"title": "x"}).metadata.attributes == {"title": "x"}


@pytest.mark.parametrize(
    "document",
    [
        {**v2_array([4], [2]), "shape": [-1]},
        {**v2_array([4], [2]), "chunks": [2, 2]},
        {**v2_array([4], [2]), "order": "Z"},
        without(v2_array([4], [2]), "dtype"),
        without(v3_array([4], [2]), "codecs"),
        without(v3_array([4], [2]), "fill_value"),
        {**v3_array([4], [2]), "codecs": []},
        {**v3_array([4], [2]), "dimension_names": ["x", "y"]},
    ],
)
def test_documents_without_meaning_are_refused(document: Document) -> None:
    with pytest.raises(InvalidMetadataError) as caught:
        parse(document)
    assert caught.value.subject == "a"
    assert all(isinstance(problem, str) for problem in caught.value.problems)
    assert caught.value.problems


def test_problems_say_where() -> None:
    with pytest.raises(InvalidMetadataError) as caught:
        parse({**v2_array([4], [2]), "shape": [-1], "order": "Z"})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["shape", "order"]


@pytest.mark.parametrize("name", DTYPE_DOCUMENTS)
def test_models_and_mappings_are_kept_alike(name: str) -> None:
    document = DTYPE_DOCUMENTS[name]
    from_mapping = split_metadata(document, "a")
    from_model = split_metadata(parse(document).metadata, "a")
    assert from_mapping.document == document
    assert from_model.name == from_mapping.name
    assert dict(from_model.document).keys() == dict(document).keys()


def test_v2_attributes_are_split_off() -> None:
    document = {**v2_array([4], [2]), "attributes": {"units": "K"}}
    assert split_metadata(document, "a") == (".zarray", v2_array([4], [2]), {"units": "K"})
    model = parse(v2_array([4], [2]), {"units": "K"}).metadata
    assert split_metadata(model, "a").attributes == {"units": "K"}
    assert split_metadata(V2_GROUP, "a") == (".zgroup", V2_GROUP, None)
    grouped = {**V3_GROUP, "attributes": {"a": 1}}
    assert split_metadata(grouped, "a") == ("zarr.json", grouped, None)
