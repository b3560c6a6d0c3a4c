#!/usr/bin/env bash
# Draw the pictures of the notes anew:  scripts/trace-pictures.sh
# Runs every stage under strace. Pids and times differ from run to run; the story doesn't.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec cargo lab trace --all --out notes/src/pictures
