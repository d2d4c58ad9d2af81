#!/usr/bin/env bash
# Generate calicopy/v1 from proto/, or with --check say whether what is there is what would be generated.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin

generate() { # generate DIR: into DIR/calicopy/v1
    (cd proto && "$bin/python" -m grpc_tools.protoc -I. --python_out="$1" --grpc_python_out="$1" --pyi_out="$1" \
        --plugin=protoc-gen-mypy_grpc="$bin/protoc-gen-mypy_grpc" --mypy_grpc_out=quiet:"$1" calicopy/v1/*.proto)
}

if [ "${1:-}" != --check ]; then
    generate "$PWD"
    exit
fi
fresh=$PWD/build/proto
rm -rf "$fresh"
mkdir -p "$fresh"
generate "$fresh"
if ! diff --recursive --brief --exclude=__pycache__ --exclude=__init__.py calicopy/v1 "$fresh/calicopy/v1"; then
    echo "proto: calicopy/v1 is not what proto/ generates; run: make proto" >&2
    exit 1
fi
