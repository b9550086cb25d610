#!/bin/sh
# Checks Octet against ONNX Runtime, which comes from PyPI into build/venv.
#   run.sh [CHECK...]   fp32 layers network foreign formats int8_only, the default, or models, which writes docs/models.md
# OCTET (build/octet), OCTET_DATA (../shared/data) and OCTET_EVALUATE (../shared/bench/evaluate.py) name what is used.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=$here/../../build/venv
if [ ! -e "$venv/ready" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check numpy onnx onnxruntime opencv-python-headless
  touch "$venv/ready"
fi
[ $# -gt 0 ] || set -- fp32 layers network foreign formats int8_only
status=0
for check; do
  echo "== $check"
  "$venv/bin/python" "$here/$check.py" || status=1
done
exit $status
