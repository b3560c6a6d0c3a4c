#!/usr/bin/env bash
# Check one stage:  scripts/check-step.sh 06
# Builds the stage and runs its checks against the live program; exit status 0 when all of them pass.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    echo "usage: scripts/check-step.sh NN, where NN is one of"
    for dir in steps/[0-9][0-9]-*/; do
        dir=$(basename "$dir")
        printf '  %s  %s\n' "${dir%%-*}" "${dir#*-}"
    done
}

case "${1-}" in
-h | --help)
    usage
    exit 0
    ;;
esac

package=
if [ "$#" -eq 1 ] && [[ $1 =~ ^[0-9]{1,2}$ ]]; then
    stage=$(printf '%02d' "$((10#$1))")
    for dir in steps/"$stage"-*/; do
        [ ! -f "$dir/Cargo.toml" ] || package=step$(basename "$dir")
    done
fi
if [ -z "$package" ]; then
    [ "$#" -eq 0 ] || printf 'check-step: no such stage: %s\n' "$*" >&2
    usage >&2
    exit 2
fi

echo "check-step: cargo test -p $package"
status=0
cargo test -p "$package" || status=$?
if [ "$status" -eq 0 ]; then
    echo "check-step: stage $stage passes (cargo test -p $package)"
else
    echo "check-step: stage $stage does not pass yet; again: cargo test -p $package" >&2
    status=1
fi
exit "$status"
