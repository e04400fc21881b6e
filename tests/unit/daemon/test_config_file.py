"""Configuration files: what is understood, and every problem with its line and key."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from zarrfs.daemon.config_checks import WRITABLE_VIEWS
from zarrfs.daemon.config_file import ConfigError, LoadedConfig, load_config
from zarrfs.daemon.config_schema import Config, json_schema
from zarrfs.storage.storage import Storage
from zarrfs.views.registry import VIEWS, apply_views

ROOT = Path(__file__).parents[3]


def load(folder: Path, text: str, **environment: str) -> LoadedConfig:
    file = folder / "zarrfs.yaml"
    file.write_text(text)
    return load_config(str(file), {"HOME": str(folder), **environment})


def problems(folder: Path, text: str, **environment: str) -> list[tuple[int, str, str]]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, **environment)
    for problem in caught.value.problems:
        assert problem.file == str(folder / "zarrfs.yaml")
        assert str(problem) in str(caught.value)
    return [(problem.line, problem.key, problem.text) for problem in caught.value.problems]


def test_paths_variables_and_defaults(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    config = load(
        tmp_path,
        """\
defaults:
  cache: 1MiB
  mode: rw
  permissions: {allow_other: true, fmode: 0640}
mounts:
  - name: a
    source: a.zip
    target: ${WHERE}/${SUB:-sub}/$${x}
    cache: 2GB
    idle_timeout: 5m
    view: v3,v2
  - name: b
    source: "memory:"
    target: /b
    permissions: {fmode: "0600"}
""",
        WHERE="/mnt",
    ).config
    first, second = config.mounts
    assert first.source == str(tmp_path / "a.zip")
    assert first.target == "/mnt/sub/${x}"
    assert (first.cache, second.cache) == (2_000_000_000, 1 << 20)
    assert (first.mode, first.idle_timeout, first.view) == ("rw", 300.0, ["v3", "v2"])
    assert (first.permissions.fmode, second.permissions.fmode) == (0o640, 0o600)
    assert second.permissions.allow_other
    assert second.source == "memory:"


def test_what_is_missing_at_present_does_not_keep_the_rest_down(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "full2/file").mkdir(parents=True)
    (tmp_path / "file").touch()
    loaded = load(
        tmp_path,
        """\
control: {socket: none/socket}
mounts:
  - {name: a, source: gone.zip, target: a, mkdir: true}
  - {name: b, source: full, type: zip, target: b}
  - {name: c, source: full/file, type: directory, target: full2}
  - {name: d, source: "memory:", target: file}
""",
    )
    assert [(problem.key, problem.text) for problem in loaded.problems] == [
        ("control.socket", f"{tmp_path}/none does not exist"),
        ("mounts[0].source", f"{tmp_path}/gone.zip does not exist"),
        ("mounts[1].type", f"{tmp_path}/full is a folder"),
        ("mounts[1].target", f"{tmp_path}/b does not exist (`mkdir: true` makes it)"),
        ("mounts[2].type", f"{tmp_path}/full/file is not a folder"),
        (
            "mounts[2].target",
            f"{tmp_path}/full2 is not empty (`nonempty: true` mounts over it)",
        ),
        ("mounts[3].target", f"{tmp_path}/file is not a folder"),
    ]


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    found = problems(
        tmp_path,
        """\
verion: 1
defaults:
  threads: many
  mkdir: true
mounts:
  - name: a
    source: a.zip
    target: /mnt/a
    cache: a lot
  - name: a
    source: gone.zip
    target: /mnt/a/b
    tipe: zip
  - source: ${NOWHERE}
    target: /mnt/a
    target: /mnt/c
    colour: blue
metrics: {listen: 0.0.0.0:80}
""",
    )
    assert found == [
        (1, "verion", "unknown key; did you mean version?"),
        (3, "defaults.threads", "must be a whole number"),
        (9, "mounts[0].cache", "'a lot' is not a size: write bytes, or 512KiB, 64MiB, 2GB"),
        (10, "mounts[1].name", "'a' is also mounts[0]'s"),
        (11, "mounts[1].source", f"{tmp_path}/gone.zip does not exist"),
        (12, "mounts[1].target", "/mnt/a/b and mounts[0]'s /mnt/a are nested"),
        (13, "mounts[1].tipe", "unknown key; did you mean type?"),
        (14, "mounts[2].source", "the environment variable NOWHERE is not set"),
        (14, "mounts[2].name", "missing"),
        (16, "mounts[2].target", "given twice, first in line 15"),
        (17, "mounts[2].colour", "unknown key"),
        (
            18,
            "metrics.listen",
            "must be 127.0.0.1, localhost or [::1] with a port, such as 127.0.0.1:9464",
        ),
    ]


EMPTY = "is empty: write its keys below it, or leave it out"
NO_VIEW = (
    "no such view: one of v2, v3, unsharded, plain, decoded, filled, consolidated, flat, netcdf"
)
NOT_CLOSED = "after ${ come a variable's name and }; $${ stands for ${ itself"
ONLY_READ = "a store can only be read: leave out `mode: rw`"
M = "name: a, source: 'memory:', target: a, mkdir: true"
"""A mount that nothing is wrong with."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [(1, "", "must be a mapping with a list of `mounts`")]),
        ("- a", [(1, "", "must be a mapping with a list of `mounts`")]),
        ("mounts: []", [(1, "mounts", "must not be empty")]),
        ("mounts:", [(1, "mounts", EMPTY)]),
        ("mounts: {}", [(1, "mounts", "must be a list")]),
        ("version: 1", [(1, "mounts", "missing")]),
        (
            f"metrics:\nlogging: [x]\nmounts: [{{{M}}}, x]",
            [
                (1, "metrics", EMPTY),
                (2, "logging", "must be a mapping"),
                (3, "mounts[1]", "must be a mapping"),
            ],
        ),
        ("a: 1\nb: [", [(2, "", "not YAML: expected the node content, but found '<stream end>'")]),
        (
            "mounts:\n\t- a",
            [(2, "", "not YAML: found character '\\t' that cannot start any token")],
        ),
        ("mounts: \x01", [(1, "", "not YAML: character #x01")]),
        ("a: 1\n---\nb: 2", [(2, "", "not YAML: a second document begins here (---)")]),
        (
            "mounts: &m\n  - *m",
            [(1, "", "nested too deeply, or an alias stands within its own anchor")],
        ),
        (
            "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "".join(
                f"{key}: &{key} [{', '.join([f'*{before}'] * 8)}]\n"
                for before, key in pairwise("abcdefgh")
            ),
            [(1, "", "more than 20000 values")],
        ),
        (f"? [a, b]\n: 1\nmounts: [{{{M}}}]", [(1, "", "a key must be text")]),
        (
            f"mounts: [{{{M}, mode: r, required: 'yes', threads: [1], root: ../x}}]",
            [
                (1, "mounts[0].mode", "must be 'ro' or 'rw'"),
                (1, "mounts[0].threads", "must be a whole number"),
                (1, "mounts[0].required", "must be true or false"),
                (1, "mounts[0].root", "'..' cannot be part of a path inside the store"),
            ],
        ),
        (
            f"mounts: [{{{M}, permissions: {{fmode: '0999', uid: 4294967295, gid: nobody's}}}}]",
            [
                (1, "mounts[0].permissions.uid", "must be less than 4294967295"),
                (
                    1,
                    "mounts[0].permissions.gid",
                    "\"nobody's\" is neither a group's number nor a group here",
                ),
                (
                    1,
                    "mounts[0].permissions.fmode",
                    "'0999' is not a permission mode: write octal digits, such as 0644",
                ),
            ],
        ),
        (
            f"mounts: [{{{M}, cache: {'9' * 500}TB, commit: {'9' * 500}d, size: 0, "
            "idle_timeout: 0}]",
            [
                (
                    1,
                    "mounts[0].cache",
                    "'9999999999999999999...99999TB' is more than any machine holds",
                ),
                (1, "mounts[0].commit", "'9999999999999999999...999999d' is longer than 30 years"),
                (1, "mounts[0].idle_timeout", "must be greater than 0"),
                (1, "mounts[0].size", "must be greater than 0"),
            ],
        ),
        (
            "mounts: [{name: on, source: /dev/null, target: a, mkdir: on, size: 1, create: on}]",
            [
                (1, "mounts[0].name", "must be text: put it in quotes"),
                (1, "mounts[0].size", "only a memory mount has one"),
                (1, "mounts[0].create", "needs `mode: rw`"),
            ],
        ),
        (
            f"mounts: [{{{M}, view: v2, views: {{a/b: v3, c: [v2, 3], d: v4}}, type: zop}}]",
            [
                (1, "mounts[0].type", "no such backend: one of directory, memory, zip"),
                (1, "mounts[0].views.a/b", "cannot be the name of a folder"),
                (1, "mounts[0].views.c[1]", "must be text: put it in quotes"),
                (1, "mounts[0].views.d[0]", NO_VIEW),
                (1, "mounts[0].views", "give either `view` or `views`"),
            ],
        ),
        (
            f"defaults: {{mode: rw}}\nmounts:\n  - {{{M}, view: v3+flat}}\n"
            "  - {name: b, source: memory, target: b, mkdir: true, views: {a: v2}}\n",
            [
                (3, "mounts[0].view", f"shown through `view` {ONLY_READ}"),
                (4, "mounts[1].views", f"shown through `views` {ONLY_READ}"),
            ],
        ),
        (
            f"mounts: [{{{M}, type: zip}}]",
            [(1, "mounts[0].type", "the source is memory")],
        ),
        (
            "defaults: {mkdir: true}\n"
            "mounts:\n"
            "  - {name: a, source: ., target: sub}\n"
            "  - {name: b, source: ., target: .}\n"
            "  - {name: c, source: ./x/y.zip, create: true, mode: rw, target: x}\n"
            "  - {name: d, source: 'memory:', target: /}\n"
            "  - {name: e, source: '~nobody-such/x', target: \"a\\0b\"}\n",
            [
                (3, "mounts[0].target", "{folder}/sub lies inside its source"),
                (4, "mounts[1].target", "{folder} and mounts[0]'s {folder}/sub are nested"),
                (4, "mounts[1].target", "{folder} is the source itself"),
                (5, "mounts[2].target", "{folder}/x and mounts[1]'s {folder} are nested"),
                (5, "mounts[2].target", "{folder}/x would hide its source {folder}/x/y.zip"),
                (6, "mounts[3].target", "nothing can be mounted over /"),
                (7, "mounts[4].source", "no such user: ~nobody-such"),
                (7, "mounts[4].target", "a path has no NUL character"),
            ],
        ),
        (
            "defaults: {mkdir: true, mode: rw}\n"
            "mounts:\n"
            "  - {name: a, source: x.zip, create: true, target: a}\n"
            "  - {name: b, source: ./x.zip, create: true, target: b}\n"
            "  - {name: c, source: memory, snapshot: m.zip, target: c}\n"
            "  - {name: d, source: memory, snapshot: m.zip, target: d}\n"
            "  - {name: e, source: memory, snapshot: e/m.zip, target: e}\n",
            [
                (4, "mounts[1].source", "mounts[0] writes {folder}/x.zip too"),
                (6, "mounts[3].snapshot", "mounts[2] writes {folder}/m.zip too"),
                (7, "mounts[4].snapshot", "{folder}/e/m.zip lies inside the mount's own target"),
            ],
        ),
        (
            f"metrics: {{listen: 'localhost:70000', socket: {'s' * 120}}}\nmounts: [{{{M}}}]",
            [
                (1, "metrics.listen", "a port is a number from 1 to 65535"),
                (1, "metrics.socket", "give either `listen` or `socket`"),
            ],
        ),
        (
            f"control: {{socket: /{'s' * 107}}}\nmounts: [{{{M}}}]",
            [(1, "control.socket", "a socket's path has at most 107 bytes")],
        ),
        (
            f"mounts:\n  - {{{M}, root: '${{A', log_level: '${{1}}'}}\n  - ${{B:-${{C}}}}",
            [
                (2, "mounts[0].root", NOT_CLOSED),
                (2, "mounts[0].log_level", NOT_CLOSED),
                (3, "mounts[1]", NOT_CLOSED),
            ],
        ),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, text: str, expected: list[tuple[int, str, str]]
) -> None:
    found = problems(tmp_path, text)
    assert found == [
        (line, key, message.replace("{folder}", str(tmp_path))) for line, key, message in expected
    ]


def test_depth_is_bounded(tmp_path: Path) -> None:
    assert problems(tmp_path, "[" * 500) == [(1, "", "nested too deeply")]


def test_targets_are_compared_without_their_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    loaded = load(tmp_path, "mounts: [{name: a, source: memory, target: link}]")
    assert loaded.config.mounts[0].target == str(tmp_path / "real")
    assert problems(
        tmp_path,
        "mounts:\n"
        "  - {name: a, source: memory, target: real}\n"
        "  - {name: b, source: memory, target: link}\n",
    ) == [(3, "mounts[1].target", f"{tmp_path}/real is also mounts[0]'s")]


def test_variables_keep_their_type_and_anchors_merge(tmp_path: Path) -> None:
    first, second = load(
        tmp_path,
        """\
mounts:
  - &first
    name: "${NUMBER}"
    source: memory
    target: ${NUMBER}
    mkdir: ${YES}
    threads: ${NUMBER}
    permissions: {fmode: "${BITS}", dmode: "${BITS}", uid: root}
  - <<: *first
    name: b
    target: b
    threads: ${UNSET:-3}
""".replace("target: ${NUMBER}", "target: x${NUMBER}"),
        NUMBER="7",
        YES="true",
        BITS="0750",
    ).config.mounts
    assert (first.name, first.threads, first.mkdir) == ("7", 7, True)
    assert (second.name, second.threads, second.mkdir) == ("b", 3, True)
    assert first.permissions == second.permissions
    assert (first.permissions.fmode, first.permissions.uid) == (0o750, 0)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbfmounts: [{%s}]\r\nx: 1\r\n", (2, "x", "unknown key")),
        (b"mounts:\n  - {%s, root: \xe9}", (2, "", "not UTF-8 text: byte 0xe9")),
        ("mounts: []".encode("utf-16"), (1, "", "not UTF-8 text: byte 0xff")),
        (b"#" * (5 << 20), (0, "", "larger than 4 MiB")),
    ],
    ids=["BOM and CRLF", "latin-1", "UTF-16", "huge"],
)
def test_encodings(tmp_path: Path, content: bytes, expected: tuple[int, str, str]) -> None:
    (tmp_path / "zarrfs.yaml").write_bytes(content.replace(b"%s", M.encode()))
    with pytest.raises(ConfigError) as caught:
        load_config(str(tmp_path / "zarrfs.yaml"))
    (problem,) = caught.value.problems
    assert (problem.line, problem.key, problem.text) == expected


def test_views_that_can_be_written() -> None:
    with Storage.init("memory") as storage:
        writable = {name for name in VIEWS if not apply_views(storage.backend, [name]).read_only}
    assert writable == WRITABLE_VIEWS


def test_a_file_that_cannot_be_read_is_a_problem_of_the_whole_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(str(tmp_path / "none.yaml"))
    assert str(caught.value) == f"{tmp_path}/none.yaml: No such file or directory"
    with pytest.raises(ConfigError) as caught:
        load_config(str(tmp_path))
    assert str(caught.value) == f"{tmp_path}: Is a directory"


def test_the_schema_names_every_key_and_is_json() -> None:
    schema = json.loads(json.dumps(json_schema()))
    mount = schema["$defs"]["Mount"]["properties"]
    assert schema["$schema"].endswith("2020-12/schema")
    assert {"name", "source", "target", "validate", "views"} <= set(mount)
    assert [name for name, key in mount.items() if "description" not in key] == []
    assert set(schema["properties"]) == set(Config.model_fields)
    assert used_keywords(schema) <= KEYWORDS


KEYWORDS = {
    *("$schema", "$defs", "$ref", "title", "description", "default", "examples"),
    *("type", "enum", "const", "anyOf", "properties", "additionalProperties", "required"),
    *("items", "minItems", "minProperties", "minLength", "maxLength", "pattern"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}
"""Source: JSON Schema 2020-12, "Validation" and "Core"; others would be passed over."""


def used_keywords(schema: object) -> set[str]:
    if not isinstance(schema, dict):
        return set()
    used = set(schema)
    for keyword, below in schema.items():
        if keyword in ("properties", "$defs"):
            used |= set().union(*map(used_keywords, below.values()))
        elif keyword == "anyOf":
            used |= set().union(*map(used_keywords, below))
        elif keyword in ("items", "additionalProperties"):
            used |= used_keywords(below)
    return used


def test_the_shipped_schema_is_the_printed_one() -> None:
    shipped = (ROOT / "config.schema.json").read_text()
    assert json.loads(shipped) == json_schema(), "zarrfs config schema > config.schema.json"
