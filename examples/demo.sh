#!/bin/bash
# `make demo`: a sample archive is mounted, read with plain tools, and unmounted.
set -eu
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

work=$(mktemp -d "${TMPDIR:-/tmp}/zarrfs-demo.XXXXXX")
mounted=
clean_up() {
    [ -z "$mounted" ] || timeout 30 zarrfs unmount "$work/mnt" || umount -l "$work/mnt"
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT

say() { printf '\n$ %s\n' "$*"; }
show() { say "$*"; (cd "$work" && timeout 60 "$@"); }

python examples/make_sample.py "$work/sample.zarr.zip"
mkdir "$work/mnt"
show ls -l sample.zarr.zip

if [ ! -e /dev/fuse ]; then
    echo "/dev/fuse is not here (a container without it?), so nothing can be mounted;"
    echo "zarrfs doctor says what is missing:"
    zarrfs doctor || true
    exit 0
fi

show zarrfs mount sample.zarr.zip mnt
mounted=yes
show find mnt
show cat mnt/zarr.json
say "zcat < mnt/temperature/c/0/1 | od -A d -t f4"
timeout 60 zcat <"$work/mnt/temperature/c/0/1" | od -A d -t f4
if command -v getfattr >/dev/null 2>&1; then
    show getfattr -d mnt/temperature
fi
show sha256sum mnt/temperature/c/0/0 mnt/temperature/c/0/1
show zarrfs unmount mnt
mounted=
show ls -A mnt
echo
echo "demo: done"
