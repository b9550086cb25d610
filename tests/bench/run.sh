#!/bin/sh
# Times Octet beside its peers, which come from PyPI into build/peers: writes docs/peers.md. Or, with "targets" as the first word,
# times our Q/DQ files in the peers' engines beside their own tools' files.
#   run.sh [targets] [ARGUMENTS of peers.py or targets.py]
# OCTET (build/octet), OCTET_DATA (../shared/data) and OCTET_BENCH (../shared/bench) name what is used; OCTET_PYTHON a Python that
# has the packages already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${OCTET_PYTHON:-}
if [ -z "$python" ]; then
  venv=$here/../../build/peers/venv
  if [ ! -e "$venv/ready.2" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check numpy onnx onnxruntime openvino nncf opencv-python-headless
    touch "$venv/ready.2"
  fi
  python=$venv/bin/python
fi
script=peers.py
if [ "${1:-}" = targets ]; then
  script=targets.py
  shift
fi
exec "$python" "$here/$script" "$@"
