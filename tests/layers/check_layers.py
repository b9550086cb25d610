#!/usr/bin/env python3
"""Fails when a folder under src/ reaches below its layer.

The table is the one of docs/architecture.md: a folder may include from itself and from everything that the folders it
links to may include. The LINKS of each src/*/CMakeLists.txt are held to the same table.

    check_layers.py [ROOT]       check a source tree (default: the one this script is in)
    check_layers.py --self-test  check that made-up violations are caught
"""

import pathlib
import re
import sys
import tempfile

# In order, each folder with the folders it links: every one of them stands above it.
LINKS = {
    "base": [],
    "tensor": ["base"],
    "quant": ["tensor"],
    "kernels": ["quant"],
    "engine": ["kernels"],
    "graph": ["quant"],
    "ops": ["graph", "kernels"],
    "onnx": ["ops"],
    "passes": ["ops"],
    "build": ["passes", "engine"],
    "data": ["tensor"],
    "calibrate": ["build", "data"],
    "correct": ["calibrate"],
    "train": ["correct"],
    "report": ["correct"],
    "pipeline": ["report", "onnx"],
}
SUFFIXES = {".cc", ".h", ".inc", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
LAYER_CALL = re.compile(r"octet_layer\s*\(([^)]*)\)|target_link_libraries\s*\(([^)]*)\)")


def reachable(layer):
    """The layer itself and every layer above it that it links, directly or not."""
    found = {layer}
    for link in LINKS[layer]:
        found |= reachable(link)
    return found


def included_layer(root, file, include):
    """The folder under src/ that an include names, or None when it is not one of ours."""
    source = root / "src"
    for base in (file.parent, source):
        target = (base / include).resolve()
        if target.is_relative_to(source) and (target.exists() or include.startswith("..")):
            return target.relative_to(source).parts[0]
    first = include.split("/")[0]
    return first if "/" in include and first in LINKS else None


def check_includes(root, file, layer, allowed):
    problems = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        target = included_layer(root, file, match.group(1)) if match else None
        if target is not None and target not in allowed:
            problems.append(
                f'{file.relative_to(root)}:{number}: src/{layer} includes "{match.group(1)}", but src/{target} is not '
                f"above it; it may include from: {', '.join(l for l in LINKS if l in allowed)}")
    return problems


def check_links(root, file, layer, allowed):
    problems = []
    text = re.sub(r"#.*", "", file.read_text(encoding="utf-8"))
    for call in LAYER_CALL.finditer(text):
        for target in re.finditer(r"\boctet_(\w+)\b", call.group(0)):
            name = target.group(1)
            if name in LINKS and name not in allowed:
                number = text.count("\n", 0, call.start() + target.start()) + 1
                problems.append(f"{file.relative_to(root)}:{number}: src/{layer} links octet_{name}, but src/{name} is "
                                "not above it")
    return problems


def check(root):
    root = root.resolve()
    problems = []
    files = 0
    for folder in sorted(p for p in (root / "src").iterdir() if p.is_dir()):
        layer = folder.name
        if layer not in LINKS:
            problems.append(f"src/{layer}:1: no such layer; add it to the table in tests/layers/check_layers.py and "
                            "docs/architecture.md")
            continue
        allowed = reachable(layer)
        for file in sorted(folder.rglob("*")):
            if file.suffix in SUFFIXES:
                files += 1
                problems += check_includes(root, file, layer, allowed)
            elif file.name == "CMakeLists.txt":
                problems += check_links(root, file, layer, allowed)
    return files, problems


def self_test():
    cases = [  # path, content, expected start of the problem or None
        ("src/kernels/conv/a.cc", '#include "quant/q.h"\n#include "base/b.h"\n#include <vector>\n', None),
        ("src/kernels/conv/b.cc", '#include <engine/x>\n\n  #  include "engine/e.h"\n', "src/kernels/conv/b.cc:3: "),
        ("src/kernels/conv/c.cc", '#include "../../graph/g.h"\n', "src/kernels/conv/c.cc:1: "),
        ("src/kernels/conv/d.cc", '#include "conv.h"\n#include "../epilogue.h"\n', None),
        ("src/build/a.cc", '#include "onnx/import.h"\n', "src/build/a.cc:1: "),
        ("src/build/b.cc", '#include "engine/e.h"\n#include "kernels/k.h"\n#include "graph/g.h"\n', None),
        ("src/engine/a.cc", '#include "octet/runtime.h"\n#include "graph/g.h"\n', "src/engine/a.cc:2: "),
        ("src/data/a_test.cc", '#include "quant/q.h"\n', "src/data/a_test.cc:1: "),
        ("src/graph/CMakeLists.txt", "octet_layer(graph\n  LINKS octet_quant\n  octet_kernels)\n",
         "src/graph/CMakeLists.txt:3: "),
        ("src/ops/CMakeLists.txt", "octet_layer(ops LINKS octet_graph octet_kernels)\n", None),
        ("src/extra/a.cc", "", "src/extra:1: "),
    ]
    for path, content, expected in cases:
        with tempfile.TemporaryDirectory() as name:
            file = pathlib.Path(name) / path
            file.parent.mkdir(parents=True)
            file.write_text(content, encoding="utf-8")
            _, problems = check(pathlib.Path(name))
            ok = not problems if expected is None else len(problems) == 1 and problems[0].startswith(expected)
            if not ok:
                sys.exit(f"layers: self-test: {path}: expected {expected!r}, found {problems}")
    order = list(LINKS)
    assert all(order.index(link) < order.index(layer) for layer in order for link in LINKS[layer])
    print(f"layers: self-test: {len(cases)} cases")


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    root = pathlib.Path(arguments[0]) if arguments else pathlib.Path(__file__).resolve().parents[2]
    files, problems = check(root)
    if problems:
        sys.exit("\n".join(problems))
    print(f"layers: {files} files")


if __name__ == "__main__":
    main(sys.argv[1:])
