#!/bin/bash
# Runs pytest so that neither a hung mount nor a left daemon outlives it.
#
# The tests have time limits of their own and clean up themselves (tests/conftest.py); this is
# the belt to those braces. Everything the run makes lies under one temporary folder, and that
# folder's name in a process' environment marks the process as ours. The last line printed is
# pytest's own closing line.
set -u
cd "$(dirname "$0")/.."
limit_s=${ZARRFS_TEST_LIMIT_S:-1320}

TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/zarrfs-test.XXXXXX")
# mktemp makes it for its owner alone; tests of plain users must reach their own folders in it.
chmod 755 "$TMPDIR"
export TMPDIR
log=$TMPDIR/pytest.log

our_mounts() { # innermost first
    awk -v root="$TMPDIR/" 'index($5, root) == 1 {print $3, $5}' /proc/self/mountinfo | tac
}

our_processes() {
    grep -lzxF "TMPDIR=$TMPDIR" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
}

clean_up() {
    trap - EXIT INT TERM
    local device target pid
    while read -r device target; do
        echo "unmounting $target, which the tests left" >&2
        # A request that nobody answers holds its caller until the connection is aborted.
        { echo 1 >"/sys/fs/fuse/connections/${device#*:}/abort"; } 2>/dev/null
        umount -l "$target" 2>/dev/null || fusermount3 -uz "$target" 2>/dev/null
    done < <(our_mounts)
    for pid in $(our_processes); do
        [ "$pid" = $$ ] || [ "$pid" = "$BASHPID" ] || kill -KILL "$pid" 2>/dev/null
    done
    if [ -z "$(our_mounts)" ]; then
        rm -rf --one-file-system "$TMPDIR"
    fi
}
trap clean_up EXIT
trap 'clean_up; exit 130' INT TERM

run() { # ARGUMENTS...
    # Written to a file and followed, not piped: a left daemon that holds a pipe would hold us too.
    : >"$log"
    timeout --signal=INT --kill-after=30 "$limit_s" .venv/bin/python -m pytest "$@" \
        </dev/null >"$log" 2>&1 &
    local runner=$! status
    tail -n +1 -f --pid="$runner" "$log"
    wait "$runner"
    status=$?
    if [ "$status" = 124 ] || [ "$status" = 137 ]; then
        echo "the tests were stopped after $limit_s s" >&2
    fi
    return "$status"
}

run --basetemp "$TMPDIR/pytest" "$@"
status=$?
if [ "$status" = 1 ]; then
    # Daemons are killed and raced on a machine that others use too. What failed is told above,
    # and counts when it fails by itself as well.
    echo "== what failed, once more, one after another"
    run --basetemp "$TMPDIR/again" "$@" -n 0 --dist no --last-failed --last-failed-no-failures none
    status=$?
fi
closing_line=$(grep -aE '^=+ .*(passed|failed|error|no tests ran).* =+$' "$log" | tail -n 1)
mkdir -p .pytest_cache
echo "$closing_line" >.pytest_cache/closing-line
clean_up
echo "$closing_line"
exit "$status"
