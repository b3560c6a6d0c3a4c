#!/usr/bin/env bash
# Drive the servers for a while:  scripts/soak.sh [MINUTES] [STAGE…] [--seed N]
# Builds all programs with --release; 1 minute and all stages at once unless told otherwise.
# Exit status: 0 if all is well, 1 if not, 2 for wrong usage.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

case "${1-}" in
-h | --help)
    echo "usage: scripts/soak.sh [MINUTES] [STAGE…] [--seed N]      such as scripts/soak.sh 20 07"
    echo "Good, slow, resetting and hostile clients and faults at random moments; a table at the end."
    exit 0
    ;;
[!-]*[!0-9.]* | [!-0-9.]*)
    echo "soak: MINUTES is a number, not ${1@Q}; see --help" >&2
    exit 2
    ;;
esac

cargo build --quiet --release --workspace --bins --manifest-path "$root/Cargo.toml"
exec "${CARGO_TARGET_DIR:-$root/target}/release/soak" "$@"
