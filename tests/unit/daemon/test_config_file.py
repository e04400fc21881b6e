"""Configuration files: what is understood, and every problem with its line and key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zarrfs.daemon.config_file import ConfigError, LoadedConfig, load_config
from zarrfs.daemon.config_schema import Config, json_schema


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
    view: v3,flat
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
    assert (first.mode, first.idle_timeout, first.view) == ("rw", 300.0, ["v3", "flat"])
    assert (first.permissions.fmode, second.permissions.fmode) == (0o640, 0o600)
    assert second.permissions.allow_other
    assert second.source == "memory:"


def test_a_missing_source_is_told_but_does_not_keep_the_rest_down(tmp_path: Path) -> None:
    loaded = load(tmp_path, "mounts: [{name: a, source: gone.zip, target: /a}]")
    (problem,) = loaded.problems
    assert problem.key == "mounts[0].source"
    assert problem.text.endswith("gone.zip does not exist")


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    found = problems(
        tmp_path,
        """\
verion: 1
defaults:
  threads: many
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
metrics: {listen: 0.0.0.0:80}
""",
    )
    assert found == [
        (1, "verion", "unknown key"),
        (3, "defaults.threads", "input should be a valid integer"),
        (8, "mounts[0].cache", "'a lot' is not a size: write bytes, or 512KiB, 64MiB, 2GB"),
        (9, "mounts[1].name", "'a' is also mounts[0]'s"),
        (10, "mounts[1].source", f"{tmp_path}/gone.zip does not exist"),
        (11, "mounts[1].target", "/mnt/a/b and mounts[0]'s /mnt/a are nested"),
        (12, "mounts[1].tipe", "unknown key"),
        (13, "mounts[2].source", "the environment variable NOWHERE is not set"),
        (13, "mounts[2].name", "missing"),
        (15, "mounts[2].target", "given twice, first in line 14"),
        (
            16,
            "metrics.listen",
            r"string should match pattern '^(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}$'",
        ),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [(1, "", "must be a mapping with a list of `mounts`")]),
        ("- a", [(1, "", "must be a mapping with a list of `mounts`")]),
        ("mounts: []", [(1, "mounts", "list should have at least 1 item after validation, not 0")]),
        ("a: 1\nb: [", [(2, "", "not YAML: expected the node content, but found '<stream end>'")]),
        (
            "mounts: [{name: a, source: 'memory:', target: /a, mode: r}]",
            [(1, "mounts[0].mode", "input should be 'ro' or 'rw'")],
        ),
        (
            "mounts: [{name: a, source: 'memory:', target: /a, permissions: {fmode: '0999'}}]",
            [
                (
                    1,
                    "mounts[0].permissions.fmode",
                    "'0999' is not a permission mode: write octal digits, such as 0644",
                )
            ],
        ),
        (
            "mounts: [{name: a, source: /dev/null, target: /a, size: 1, create: true}]",
            [
                (1, "mounts[0].size", "only a memory mount has one"),
                (1, "mounts[0].create", "needs `mode: rw`"),
            ],
        ),
        (
            "mounts: [{name: a, source: 'memory:', target: /a, view: v2, views: {x: v3}}]",
            [(1, "mounts[0].views", "give either `view` or `views`")],
        ),
        (
            "mounts: [{name: a, source: ., target: sub}]",
            [(1, "mounts[0].target", "{folder}/sub lies inside its source")],
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


def test_a_file_that_cannot_be_read_is_a_problem_of_the_whole_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(str(tmp_path / "none.yaml"))
    assert str(caught.value) == f"{tmp_path}/none.yaml: No such file or directory"


def test_the_schema_names_every_key_and_is_json() -> None:
    schema = json.loads(json.dumps(json_schema()))
    mount = schema["$defs"]["Mount"]["properties"]
    assert schema["$schema"].endswith("2020-12/schema")
    assert {"name", "source", "target", "validate", "views"} <= set(mount)
    assert [name for name, key in mount.items() if "description" not in key] == []
    assert set(schema["properties"]) == set(Config.model_fields)
