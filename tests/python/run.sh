#!/bin/sh
# Installs the module into a fresh virtual environment, runs its tests and README's example.
#   OCTET_PYTHON  the interpreter (python3); packages come from PyPI. Where it has torch, the new environment sees that, and the
#                 example for PyTorch is run too
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${OCTET_PYTHON:-python3}
"$python" -m venv "$folder/venv"
torch=$("$python" -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' 2>/dev/null || true)
if [ -n "$torch" ]; then  # at the end of the path, behind what pip installs
  for site in "$folder"/venv/lib/python*/site-packages; do echo "$torch" > "$site/torch_of_$(basename "$python").pth"; done
else
  echo "$python has no torch: the example for PyTorch is not run"
fi
# The compiler by the name that make knows it by, so that ccache finds what it has compiled; the command has a precompiled header.
export CCACHE_SLOPPINESS="${CCACHE_SLOPPINESS:-pch_defines,time_macros}"
CXX=${CXX:-c++} CMAKE_CXX_COMPILER_LAUNCHER="$(command -v ccache || true)" "$folder/venv/bin/pip" install --quiet .
# README's first block of Python, as it stands, beside the demo's files.
sed -n '/^```python$/,/^```$/p' README.md | sed '1d;/^```$/,$d' > "$folder/example.py"
[ -s "$folder/example.py" ]
ln -s "$PWD/demo" "$folder/demo"
(cd "$folder" && venv/bin/python example.py && [ -s model.int8.onnx ] && venv/bin/octet --version)
status=0
(cd "$folder" && venv/bin/python "$OLDPWD/tests/python/test_python.py") || status=$?
[ "$status" = 0 ] || [ "$status" = 77 ]
