#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the image: it installs what the checks need,
# builds the tests and their dependencies, and grades the exercise as it was handed out, for trial.
#
# AUTOGRADER, CARGO_HOME and RUSTUP_HOME say where things are; SKIP_INSTALL=1 installs nothing.
set -euo pipefail

autograder=${AUTOGRADER:-/autograder}
export CARGO_HOME=${CARGO_HOME:-/opt/rust/cargo} RUSTUP_HOME=${RUSTUP_HOME:-/opt/rust/rustup}
export PATH=$CARGO_HOME/bin:$PATH

if [ "${SKIP_INSTALL-}" != 1 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends ca-certificates curl gcc libc6-dev procps strace
    curl --proto '=https' --tlsv1.2 --silent --show-error --fail https://sh.rustup.rs |
        sh -s -- -y --quiet --profile minimal --default-toolchain stable --no-modify-path
fi

cd "$autograder/source/lab"
trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
cargo lab grade . --one --step "$(<../stage)" --out "$trial" --format gradescope
