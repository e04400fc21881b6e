#!/bin/bash
# Makes a virtual environment: scripts/make_venv.sh FOLDER [PYTHON...]
#
# Takes the first of the named interpreters (or the usual names) that is Python 3.11 or newer.
# Debian keeps the venv module's pip in a package of its own, which is installed when it is
# missing and we are root.
set -u
folder=${1:?usage: $0 FOLDER [PYTHON...]}
shift
[ $# = 0 ] && set -- python3 python3.13 python3.12 python3.11 python3.14

python=
for candidate in "$@"; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "no Python 3.11 or newer among: $*" >&2
    exit 1
fi

[ -x "$folder/bin/pip" ] && exit 0
"$python" -m venv "$folder" 2>/dev/null && exit 0

minor=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing the venv module of $minor"
    DEBIAN_FRONTEND=noninteractive timeout 600 sh -c "
        apt-get -q update; apt-get -y -q install --no-install-recommends $minor-venv ||
        apt-get -y -q install --no-install-recommends python3-venv" </dev/null >/dev/null 2>&1
fi
if ! "$python" -m venv --clear "$folder"; then
    echo "$python cannot make a virtual environment; install $minor-venv and try again" >&2
    exit 1
fi
