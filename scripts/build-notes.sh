#!/usr/bin/env bash
# Make a book of the notes:  scripts/build-notes.sh [--serve [PORT]]
# Needs mdBook and, for the diagrams, Mermaid. What is missing is fetched once, into target/book-tools;
# then no network is needed, neither to build nor to read.
# --serve shows the book on localhost (port 3000), with the sources that it links to. Ctrl-C ends it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly MDBOOK=0.5.4 MERMAID=11.6.0 MDBOOK_MERMAID=0.17.1
tools=${CARGO_TARGET_DIR:-$root/target}/book-tools
book=$root/notes/book

usage() {
    echo "usage: scripts/build-notes.sh [--serve [PORT]]"
}

say() {
    printf 'build-notes: %s\n' "$*" >&2
}

# cargo_install PACKAGE@VERSION [FLAG…]: both tools are made of much the same, and share it.
cargo_install() {
    say "building $1, once (some minutes)"
    CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --root "$tools" "$@"
}

# Any mdBook of the same series will do.
find_mdbook() {
    local found
    for found in "$tools/bin/mdbook" "$(command -v mdbook || true)"; do
        if [ -x "$found" ] && [[ $("$found" --version) == "mdbook v${MDBOOK%.*}."* ]]; then
            echo "$found"
            return
        fi
    done
    cargo_install "mdbook@$MDBOOK" --no-default-features --features search
    echo "$tools/bin/mdbook"
}

# One script, 2.6 MB: from npm in seconds, or out of a tool that carries it.
fetch_mermaid() {
    [ ! -s "$tools/mermaid.min.js" ] || return 0
    local dir
    dir=$(mktemp -d)
    if command -v npm >/dev/null && (cd "$dir" && npm pack --silent "mermaid@$MERMAID" >/dev/null); then
        tar -xzf "$dir"/mermaid-*.tgz -C "$dir" package/dist/mermaid.min.js
        mv "$dir/package/dist/mermaid.min.js" "$tools/mermaid.min.js"
    else
        cargo_install "mdbook-mermaid@$MDBOOK_MERMAID" && : >"$dir/book.toml" &&
            "$tools/bin/mdbook-mermaid" install "$dir" 2>/dev/null &&
            mv "$dir/mermaid.min.js" "$tools/mermaid.min.js"
    fi
    rm -rf "$dir"
}

serve=
case "${1-}" in
'') ;;
--serve) serve=${2:-3000} ;;
-h | --help)
    usage
    exit 0
    ;;
*)
    usage >&2
    exit 2
    ;;
esac

mkdir -p "$tools"
mdbook=$(find_mdbook)
fetch_mermaid || say "no Mermaid here: the diagrams stay text"
"$mdbook" build "$root/notes" >/dev/null
[ ! -s "$tools/mermaid.min.js" ] || cp "$tools/mermaid.min.js" "$book/"
echo "$book/index.html"
[ -n "$serve" ] || exit 0

command -v python3 >/dev/null || {
    say "--serve needs python3; the book can be opened as a file just as well"
    exit 1
}
# The sources are above the book, so all of the checkout is served, but for what is hidden.
exec python3 -c '
import http.server, os, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".rs": "text/plain", ".toml": "text/plain", ".md": "text/plain"}
    def send_head(self):
        if any(part.startswith(".") for part in self.translate_path(self.path)[len(os.getcwd()):].split("/")):
            return self.send_error(404)
        return super().send_head()
    def log_message(self, *_):
        pass
os.chdir(sys.argv[1])
with http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler) as server:
    print(f"http://127.0.0.1:{server.server_port}/notes/book/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
' "$root" "$serve"
