#!/bin/sh
# Fail if the generated packages are not what scripts/gen.sh makes of protos/. Usage: scripts/gen-check.sh BIN
set -eu
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

scripts/gen.sh "$1" "$fresh"
for source in protos/usermeta/*/; do
    package=usermeta/$(basename "$source")
    diff -r -u -x __pycache__ "src/$package" "$fresh/$package" || {
        echo "src/$package is not what protos/ makes: run make gen" >&2
        exit 1
    }
done
