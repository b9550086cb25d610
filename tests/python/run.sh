#!/bin/sh
# Installs the module into a fresh virtual environment, runs its tests and README's example.
#   OCTET_PYTHON  the interpreter (python3); packages come from PyPI
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${OCTET_PYTHON:-python3}" -m venv "$folder/venv"
CMAKE_CXX_COMPILER_LAUNCHER="$(command -v ccache || true)" "$folder/venv/bin/pip" install --quiet .
# README's first block of Python, as it stands, beside the demo's files.
sed -n '/^```python$/,/^```$/p' README.md | sed '1d;/^```$/,$d' > "$folder/example.py"
[ -s "$folder/example.py" ]
ln -s "$PWD/demo" "$folder/demo"
(cd "$folder" && venv/bin/python example.py && [ -s model.int8.onnx ] && venv/bin/octet --version)
status=0
(cd "$folder" && venv/bin/python "$OLDPWD/tests/python/test_python.py") || status=$?
[ "$status" = 0 ] || [ "$status" = 77 ]
