#!/bin/sh
# Generate usermeta.type, usermeta.frontend and usermeta.backend from protos/: messages, gRPC stubs, types for both.
# Usage: scripts/gen.sh BIN OUT, where BIN holds python and the generators, and OUT is the folder to put usermeta in.
set -eu
bin=$1
out=$2

for source in protos/usermeta/*/; do
    rm -rf "$out/usermeta/$(basename "$source")"
done
mkdir -p "$out/usermeta"

generate() {
    PATH="$bin:$PATH" xargs "$bin/python" -m grpc_tools.protoc --proto_path=protos --proto_path=third_party "$@"
}
sources=$(find protos -name '*.proto' | LC_ALL=C sort)
echo "$sources" | generate --python_out="$out" --mypy_out=quiet:"$out"
# shellcheck disable=SC2086  # one path a word
grep -l '^service ' $sources | generate --grpc_python_out="$out" --mypy_grpc_out=quiet:"$out"

# The root is made once: a hand-written module may stand beside the generated packages.
[ -e "$out/usermeta/__init__.py" ] ||
    echo '"""What callers of usermeta import: messages and gRPC stubs, generated from protos/."""' > "$out/usermeta/__init__.py"
touch "$out/usermeta/py.typed"
for source in protos/usermeta/*/; do
    find "$out/usermeta/$(basename "$source")" -type d -exec touch {}/__init__.py \;
done
