#!/bin/bash
# Builds .clients/: readers and writers that cannot share our own virtual environment.
#
#   scripts/client_environments.sh zarr2|z5py|acquire|zarrita|ratarmount
#
# Never fails: a client that cannot be had here is named, and its tests are skipped with the
# reason. A stamp file, left on success, names what was asked for: a second run is quick, and a
# changed requirement is installed anew.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
clients=$here/.clients
mkdir -p "$clients"

from_pip() { # NAME REQUIREMENT...
    local name=$1 folder=$clients/$1
    shift
    [ "$(cat "$folder/.installed" 2>/dev/null)" = "$*" ] && return 0
    # Old packages have wheels for old interpreters only, so each is tried in turn.
    for python in python3 python3.11 python3.12 python3.13; do
        command -v "$python" >/dev/null 2>&1 || continue
        rm -rf "$folder"
        bash "$here/scripts/make_venv.sh" "$folder" "$python" >/dev/null 2>&1 || continue
        if timeout 600 "$folder/bin/pip" install -q --disable-pip-version-check \
            --only-binary :all: "$@" </dev/null 2>"$clients/$name.log"; then
            echo "$*" >"$folder/.installed"
            return 0
        fi
    done
    echo "client $name could not be installed (see .clients/$name.log)" >&2
}

case "${1:-}" in
zarr2) from_pip zarr2 'zarr>=2.18,<3' 'numpy<2' 'numcodecs>=0.12,<0.16' msgpack ;;
z5py) from_pip z5py 'z5py>=3.0' numpy ;;
acquire) from_pip acquire 'acquire-zarr>=0.5' numpy ;;
ratarmount) from_pip ratarmount 'ratarmount>=1.0' ;;
zarrita)
    folder=$clients/node
    [ -e "$folder/.installed" ] && exit 0
    if ! command -v npm >/dev/null 2>&1; then
        echo "client zarrita could not be installed (no npm)" >&2
        exit 0
    fi
    mkdir -p "$folder"
    echo '{"private": true, "type": "module"}' >"$folder/package.json"
    if (cd "$folder" && timeout 300 npm install --no-audit --no-fund --loglevel=error \
        'zarrita@0.7' </dev/null >"$clients/zarrita.log" 2>&1); then
        touch "$folder/.installed"
    else
        echo "client zarrita could not be installed (see .clients/zarrita.log)" >&2
    fi
    ;;
*) echo "usage: $0 zarr2|z5py|acquire|zarrita|ratarmount" >&2; exit 2 ;;
esac
exit 0
