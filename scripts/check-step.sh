#!/usr/bin/env bash
# Check one stage:  scripts/check-step.sh NN [--dir DIR] [--only CHECK] [--json FILE] [--jobs N]
# Builds its program, runs its checks and prints a table; the same as `cargo lab check`, from any directory.
# Exit status: 0 at full marks, 1 below, 2 for wrong usage.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
    local dir
    echo "usage: scripts/check-step.sh NN [--dir DIR] [--only CHECK] [--json FILE] [--jobs N], where NN is one of"
    for dir in "$root"/steps/[0-9][0-9]-*/; do
        dir=$(basename "$dir")
        printf '  %s  %s\n' "${dir%%-*}" "${dir#*-}"
    done
}

case "${1-}" in
-h | --help)
    usage
    exit 0
    ;;
'')
    usage >&2
    exit 2
    ;;
esac

if [ ! -x "${CARGO_TARGET_DIR:-$root/target}/debug/lab" ]; then
    echo "check-step: building the lab tool, once (a minute on a slow machine)" >&2
fi

# Not from $root: a relative DIR or FILE is the caller's.
status=0
cargo run --quiet --manifest-path "$root/Cargo.toml" --package lab -- check "$@" || status=$?
# cargo's own failure, of which it has spoken.
[ "$status" -ne 101 ] || status=1
exit "$status"
