#!/bin/sh
# Write requirements/*.lock: every version and hash, for Python 3.11 and newer. Usage: scripts/lock.sh BIN [uv options]
set -eu
bin=$1
shift

compile() {
    echo "$1" >&2
    "$bin/uv" --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --custom-compile-command "make lock" --constraints requirements/pins.in --output-file "$@"
}

compile requirements/run.lock "$@" pyproject.toml requirements/run.in
compile requirements/dev.lock "$@" --constraints requirements/run.lock --group dev pyproject.toml requirements/run.in
compile requirements/gen.lock "$@" requirements/gen.in
