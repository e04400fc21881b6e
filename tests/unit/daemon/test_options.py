"""What `-o` accepts, what it says of the rest."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

import pytest

from zarrfs.daemon.options import (
    FLAGS,
    IGNORED,
    VALUED,
    MountOptions,
    options_from_json,
    parse_options,
)
from zarrfs.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("ro", {"read_only": True}),
        ("rw", {"read_only": False}),
        ("ro,rw", {"read_only": False}),
        ("allow_other,default_permissions,nonempty", {"allow_other": True, "nonempty": True}),
        ("uid=0,gid=7", {"uid": 0, "gid": 7}),
        ("uid=root,gid=root", {"uid": 0, "gid": 0}),
        ("fmode=640,dmode=0750", {"file_mode": 0o640, "dir_mode": 0o750}),
        ("cache=64MiB", {"cache_bytes": 64 << 20}),
        ("cache=1.5G", {"cache_bytes": 3 << 29}),
        ("size=4096", {"size_bytes": 4096}),
        ("read_ahead=1M", {"read_ahead_bytes": 1 << 20}),
        ("commit=500ms,idle_timeout=5min", {"commit_s": 0.5, "idle_timeout_s": 300.0}),
        ("compact=25%", {"compact_percent": 25.0}),
        ("threads=8", {"threads": 8}),
        ("frontend=fusepy", {"frontend": "fusepy"}),
        ("validate=strict", {"validate": "strict"}),
        ("root=/a/./b/", {"root": "a/b"}),
        ("subpath=a", {"root": "a"}),
        ("passthrough", {"passthrough": True}),
        ("nopassthrough", {"passthrough": False}),
        ("follow_symlinks", {"follow_symlinks": True}),
        ("noexec,noatime", {"noexec": True, "noatime": True}),
        ("snapshot=/tmp/s.zip", {"snapshot": "/tmp/s.zip"}),
        ("view=v3", {"view": ("v3",)}),
        ("view=v3+decoded", {"view": ("v3", "decoded")}),
        ("view=v3,decoded,ro", {"view": ("v3", "decoded"), "read_only": True}),
        ('view="v3,decoded",ro', {"view": ("v3", "decoded"), "read_only": True}),
        (" ro , threads=2 ,,", {"read_only": True, "threads": 2}),
    ],
)
def test_options_mean(text: str, expected: dict[str, object]) -> None:
    parsed = parse_options([text])
    changed = {
        field.name: getattr(parsed, field.name)
        for field in fields(MountOptions)
        if getattr(parsed, field.name) != getattr(MountOptions(), field.name)
    }
    assert changed == expected


def test_a_line_of_fstab_is_accepted() -> None:
    line = (
        "defaults,_netdev,noauto,nofail,user,x-systemd.automount,x-systemd.idle-timeout=60,"
        "x-gvfs-show,noatime,nosuid,nodev,exec,relatime,comment=zarr,async"
    )
    assert parse_options([line]) == MountOptions(noatime=True)


def test_several_times_is_one_list_and_the_last_word_counts() -> None:
    assert parse_options(["ro,threads=2", "rw", "threads=3"]) == MountOptions(
        read_only=False, threads=3
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("alow_other", "did you mean allow_other?"),
        ("defaultpermissions", "did you mean default_permissions"),
        ("xyzzy", "zarrfs mount --help lists them"),
        ("remount,ro", "unmount it and mount it again"),
        ("fmode=9", "octal"),
        ("fmode=17777", "octal"),
        ("uid=no-such-user-here", "user"),
        ("gid=no-such-group-here", "group"),
        ("cache=lots", "512KiB"),
        ("commit=soon", "30s"),
        ("compact=101", "0 to 100"),
        ("compact=many", "0 to 100"),
        ("threads=0", "1 to 64"),
        ("threads", "write -o threads=N"),
        ("ro=yes", "write -o ro"),
        ("frontend=libfuse", "native, fusepy"),
        ("validate=", "off, warn, strict"),
        ("root=../x", "'..'"),
        ("view=", "name of a view"),
        ("snapshot=", "path of a file"),
        ('view="v3', "not closed"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, says: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        parse_options([text])
    message = str(raised.value)
    assert message.startswith("-o ")
    assert says in message
    assert "\n" not in message


def test_options_survive_json() -> None:
    options = parse_options(["ro,view=v3+decoded,fmode=640,commit=2,root=a/b"])
    assert options_from_json(json.loads(json.dumps(asdict(options)))) == options


def test_every_option_sets_a_field_and_no_name_is_used_twice() -> None:
    known = {field.name for field in fields(MountOptions)}
    assert {row.field for row in FLAGS.values()} | {row.field for row in VALUED.values()} == known
    assert not FLAGS.keys() & VALUED.keys()
    assert not IGNORED & (FLAGS.keys() | VALUED.keys())
