#!/bin/bash
# Installs the Debian/Ubuntu packages of a purpose, as far as this machine lets us.
#
#   scripts/system_packages.sh run      what `zarrfs mount` wants for users other than root
#   scripts/system_packages.sh test     the tools that the tests read and write mounts with
#   scripts/system_packages.sh bench    the file systems that the benchmarks compare with
#
# Never fails: what is missing afterwards is named, and the tests that need it say so too.
set -u

# command (or path):package[|package under its name in other releases]
run_tools="fusermount3:fuse3"
test_tools="$run_tools getfattr:attr zip:zip unzip:unzip 7z:p7zip-full|7zip
    gdalinfo:gdal-bin /usr/lib/python3/dist-packages/osgeo:python3-gdal ncdump:netcdf-bin
    node:nodejs npm:npm ncks:nco cdo:cdo
    systemd-analyze:systemd"
bench_tools="$test_tools bindfs:bindfs fuse-zip:fuse-zip"

case "${1:-}" in
run) tools=$run_tools ;;
test) tools=$test_tools ;;
bench) tools=$bench_tools ;;
*) echo "usage: $0 run|test|bench" >&2; exit 2 ;;
esac

missing() {
    for tool in $tools; do
        [ -e "${tool%%:*}" ] || command -v "${tool%%:*}" >/dev/null 2>&1 || echo "$tool"
    done
}

apt() {
    DEBIAN_FRONTEND=noninteractive timeout 600 apt-get -y -q \
        -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 "$@" </dev/null >>"$log" 2>&1
}

wanted=$(missing)
[ -z "$wanted" ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    for tool in $wanted; do
        echo "missing: ${tool%%:*}; on Debian and Ubuntu: sudo apt-get install ${tool##*:}" >&2
    done
    echo "going on without; what needs them is skipped and says so" >&2
    exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "apt-get install (missing here:" $(printf '%s ' $wanted | sed 's/:[^ ]*//g')")"
apt update || apt update || echo "apt-get update failed; trying with the lists that are here" >&2
first_names=$(for tool in $wanted; do names=${tool##*:}; echo "${names%%|*}"; done)
# All at once is quick; one by one gets what can be had when a name is unknown.
if ! apt install --no-install-recommends $first_names; then
    for tool in $wanted; do
        names=${tool##*:}
        for name in ${names//|/ }; do
            apt install --no-install-recommends "$name" && break
        done
    done
fi
wanted=$(missing)
if [ -n "$wanted" ]; then
    tail -n 5 "$log" >&2
    for tool in $wanted; do
        echo "could not be installed: ${tool##*:} (for the command ${tool%%:*})" >&2
    done
fi
exit 0
