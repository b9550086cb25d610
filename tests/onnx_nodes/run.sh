#!/bin/sh
# Unpacks ONNX's node tests beside the program where they are older than the archive, and runs them.
#   run.sh PROGRAM [OPTION...]
# OCTET_DATA (../shared/data) names the folder of the archive.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
data=${OCTET_DATA:-$here/../../../shared/data}
archive=$data/onnx-node-tests-1.22.0.tar.xz
program=$1
shift
folder=$(cd "$(dirname "$program")" && pwd)/onnx-node-tests
if [ ! -f "$archive" ]; then
  echo "skipped: '$archive' is missing (OCTET_DATA names the test data)"
  exit 77
fi
if [ ! -e "$folder/ready" ] || [ "$archive" -nt "$folder/ready" ]; then
  # Under a name of its own first: two runs may unpack at once, and an interrupted one leaves nothing behind.
  fresh=$folder.$$
  trap 'rm -rf "$fresh"' EXIT
  mkdir -p "$fresh"
  tar -xJf "$archive" -C "$fresh"
  touch "$fresh/ready"
  rm -rf "$folder"
  mv -T "$fresh" "$folder" 2>/dev/null || true
fi
"$program" "$folder/node" "$data/onnx-node-tests.txt" "$@"
