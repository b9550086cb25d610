#!/bin/sh
# Runs both fuzz targets from the ONNX node tests' models (when OCTET_DATA has them).
#   run.sh FOLDER_WITH_PROGRAMS [ARGUMENT...]   arguments of libFuzzer, e.g. -max_total_time=60 or -runs=1000000
# What is found lies in FOLDER_WITH_PROGRAMS/findings; run a program on such a file to see it again.
set -eu
programs=$1
shift
data=${OCTET_DATA:-$(dirname "$0")/../../shared/data}
archive=$(ls "$data"/onnx-node-tests-*.tar.xz 2>/dev/null | head -1)
seeds=$programs/seeds
if [ ! -d "$seeds" ]; then
  mkdir -p "$seeds"
  if [ -n "$archive" ]; then
    tar -xJf "$archive" -C "$seeds" --wildcards '*/model.onnx' --transform 's|.*/\([^/]*\)/model.onnx|\1.onnx|'
    find "$seeds" -type f -size +16k -delete
  else
    echo "no ONNX node tests in '$data': starting from nothing"
  fi
fi
mkdir -p "$programs/findings"
for target in import build; do
  mkdir -p "$programs/corpus-$target"
  echo "== $target"
  "$programs/octet_fuzz_$target" "$programs/corpus-$target" "$seeds" -max_len=16384 -timeout=20 -rss_limit_mb=3000 \
    -print_final_stats=1 -artifact_prefix="$programs/findings/$target-" "$@"
done
