#!/usr/bin/env python3
"""Fails when a program that links octet_runtime alone holds anything of ONNX, the graph, images or the command.

    check_links.py PROGRAM   (not stripped)
"""

import re
import subprocess
import sys

FORBIDDEN_SYMBOLS = re.compile(
    r"google::protobuf|onnx::|octet::(Graph|InferContext|LoweringState|NodeGroups|Preprocess|TensorStatistics|import_onnx|export_onnx|"
    r"find_op|build_engine|insert_qdq|canonicalize|tools)\b|\bcv::|nlohmann::|\bCLI::")
FORBIDDEN_LIBRARIES = re.compile(r"protobuf|onnx|opencv|spdlog")
EXPECTED_SYMBOL = "octet::runtime::Engine::load"


def lines(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def main(program):
    symbols = lines("nm", "--demangle", program)
    if not any(EXPECTED_SYMBOL in s for s in symbols):
        sys.exit(f"{program}: has no symbol {EXPECTED_SYMBOL}: it does not use the runtime, or is stripped")
    found = [s for s in symbols if FORBIDDEN_SYMBOLS.search(s)]
    found += [s for s in lines("readelf", "--dynamic", program) if "NEEDED" in s and FORBIDDEN_LIBRARIES.search(s)]
    if found:
        sys.exit("\n".join([f"{program}: octet_runtime brings in what a deployment must not carry:", *found[:20]]))
    print(f"runtime: {len(symbols)} symbols")


if __name__ == "__main__":
    main(sys.argv[1])
