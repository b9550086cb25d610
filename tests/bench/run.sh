#!/bin/sh
# Times Octet beside its peers, which come from PyPI into build/peers: writes docs/peers.md.
#   run.sh [ARGUMENTS of peers.py]
# OCTET (build/octet), OCTET_DATA (../shared/data) and OCTET_BENCH (../shared/bench) name what is used; OCTET_PYTHON a Python that
# has the packages already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${OCTET_PYTHON:-}
if [ -z "$python" ]; then
  venv=$here/../../build/peers/venv
  if [ ! -e "$venv/ready" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check numpy onnx onnxruntime openvino nncf
    touch "$venv/ready"
  fi
  python=$venv/bin/python
fi
exec "$python" "$here/peers.py" "$@"
