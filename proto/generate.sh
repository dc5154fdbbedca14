#!/bin/sh
# Makes proto/gen from the .proto files. Run by `make proto`; `make check` compares the result with what is committed.
# Usage: proto/generate.sh PYTHON OUT_DIR
set -eu
python=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")"
PATH="$(dirname "$python"):$PATH"
# shellcheck disable=SC2046  # the names hold no spaces
"$python" -m grpc_tools.protoc -I . \
  --python_out="$out" --mypy_out="$out" --grpc_python_out="$out" --mypy_grpc_out="$out" \
  $(find janua -name '*.proto' | sort)
"$python" -m grpc_tools.protoc -I . --python_out="$out" --mypy_out="$out" buf/validate/validate.proto
# A file without a service has no gRPC code.
find "$out" -name '*_pb2_grpc.py' | while read -r file; do
  grep -q '^class ' "$file" || rm "$file" "${file}i"
done
