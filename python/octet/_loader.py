"""Data loader scripts as Polygraphy has them: a function that yields dicts of arrays."""

import os
import runpy
import sys


def load(script):
    from . import Error
    path, colon, function = os.fsdecode(os.fspath(script)).rpartition(":")
    if not colon or os.sep in function:
        path, function = os.fsdecode(os.fspath(script)), "load_data"
    if not os.path.isfile(path):
        raise Error("%s: no such script" % path, "not found")
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    try:
        names = runpy.run_path(path)
    finally:
        sys.path.pop(0)
    if not callable(names.get(function)):
        raise Error("%s: has no function %s()" % (path, function), "not found")
    return names[function]()
