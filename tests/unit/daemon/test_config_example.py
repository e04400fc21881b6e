"""`config.example.yaml` shows every key of the schema, and nothing that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zarrfs.daemon.config_file import load_config
from zarrfs.daemon.config_schema import Config, Defaults, Logging, Metrics, Mount, Permissions
from zarrfs.daemon.service_plan import plan_of

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "config.example.yaml"


def test_it_is_right() -> None:
    loaded = load_config(str(EXAMPLE), {})
    assert {problem.key.rpartition(".")[2] for problem in loaded.problems} <= {"source"}
    assert loaded.config.control.socket == "/run/zarrfs-example.sock"
    plan = plan_of(loaded.config)
    assert [mount.name for mount in plan.mounts] == [m.name for m in loaded.config.mounts]
    assert plan.mounts[1].options.view == ("v2", "decoded")
    assert dict(plan.mounts[2].views) == {"nc": ("netcdf",), "raw": ("flat",)}


@pytest.mark.parametrize("section", [Config, Defaults, Mount, Permissions, Logging, Metrics])
def test_every_key_is_shown(section: type[Config]) -> None:
    text = EXAMPLE.read_text()
    keys = [field.alias or name for name, field in section.model_fields.items()]
    assert [key for key in keys if not re.search(rf"^[ #-]*{key}:", text, re.M)] == []


def test_the_operators_page_names_every_key() -> None:
    page = (ROOT / "docs/operating.md").read_text()
    keys = [field.alias or name for name, field in Mount.model_fields.items()]
    assert [key for key in keys if f"`{key}`" not in page] == []
