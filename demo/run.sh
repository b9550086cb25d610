#!/bin/sh
# Quantizes the demo's network, shows what that cost, times it, and prints one table. Results stay in build/demo.
#   run.sh [--check]   with --check, fails unless the naive quantization loses 5 points of top-1 or more and ours 1 or less
set -eu
cd "$(dirname "$0")/.."
out=build/demo
rm -rf "$out"
mkdir -p "$out"
preprocess="short=64 crop=64 rgb mean=127.5 std=127.5"

# Runs one command, shown as a user would type it. Its report goes to the file $1, its messages to the log.
octet() {
  report=$1
  shift
  line="build/octet"
  for word in "$@"; do
    case $word in *' '*) line="$line \"$word\"" ;; *) line="$line $word" ;; esac
  done
  echo "\$ $line" | tee -a "$out/log.txt"
  status=0
  build/octet "$@" >"$out/$report" 2>>"$out/log.txt" || status=$?
  if [ "$status" -ne 0 ]; then
    echo "demo: the command above failed with status $status; the end of $out/log.txt:" >&2
    tail -n 20 "$out/log.txt" >&2
    exit 1
  fi
}

octet quantize.txt quantize demo/model.onnx --data demo/images/calib --preprocess "$preprocess" -o $out/model.int8.onnx
octet build.txt build $out/model.int8.onnx -o $out/model.octet
octet quantize_naive.txt quantize demo/model.onnx --data demo/images/calib --preprocess "$preprocess" \
  --weights-per-tensor --method minmax --effort fast --activation-scales tensor --skip bias-correction,equalization,absorption -o $out/naive.int8.onnx
octet build_naive.txt build $out/naive.int8.onnx -o $out/naive.octet

val="--data demo/images/val --labels demo/images/val/labels.txt"
# shellcheck disable=SC2086
{
  octet eval_fp32.json eval demo/model.onnx $val --preprocess "$preprocess" --json
  octet eval_int8.json eval $out/model.octet $val --reference demo/model.onnx --json
  octet eval_naive.json eval $out/naive.octet $val --reference demo/model.onnx --json
}
octet compare.json compare demo/model.onnx $out/model.int8.onnx --data demo/images/calib --json

octet bench_fp32.json bench demo/model.onnx --threads 1 --duration 1 --json
octet bench_naive.json bench $out/naive.octet --threads 1 --duration 1 --json
octet bench_int8.json bench $out/model.octet --threads 1 --duration 1 --json

python3 demo/table.py $out "$@"
