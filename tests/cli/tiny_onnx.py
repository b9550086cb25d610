"""Writes small ONNX models and .npy arrays with the standard library alone."""

import array
import struct

FLOAT, INT64, FLOAT16 = 1, 7, 10


def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    """An integer, or text, bytes or a message (bytes) of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else bytes(value)
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name, shape, values, dtype=FLOAT, external=None):
    """An initializer; `external` is (location, offset, length) in place of values."""
    out = b"".join(field(1, d) for d in shape) + field(2, dtype) + field(8, name)
    if external:
        for key, value in zip(("location", "offset", "length"), external):
            out += field(13, field(1, key) + field(2, str(value)))
        return out + field(14, 1)
    letter = {FLOAT: "f", INT64: "q", FLOAT16: "e"}[dtype]
    return out + field(9, struct.pack(f"<{len(values)}{letter}", *values))


def value_info(name, dims, dtype=FLOAT):
    """`dims` holds numbers, names, and None for a size without a name."""
    shape = b""
    for d in dims:
        shape += field(1, b"" if d is None else field(1, d) if isinstance(d, int) else field(2, d))
    return field(1, name) + field(2, field(1, field(1, dtype) + field(2, shape)))


def attribute(name, value):
    if isinstance(value, int):
        return field(1, name) + field(3, value) + field(20, 2)
    if isinstance(value, str):
        return field(1, name) + field(4, value) + field(20, 3)
    return field(1, name) + b"".join(field(8, v) for v in value) + field(20, 7)


def node(op, inputs, outputs, name="", **attributes):
    out = b"".join(field(1, i) for i in inputs) + b"".join(field(2, o) for o in outputs)
    out += field(3, name or op + "_" + outputs[0]) + field(4, op)
    return out + b"".join(field(5, attribute(k, v)) for k, v in attributes.items())


def model(nodes, inputs, outputs, initializers, opset=17):
    graph = b"".join(field(1, n) for n in nodes) + field(2, "tiny") + b"".join(field(5, t) for t in initializers)
    graph += b"".join(field(11, i) for i in inputs) + b"".join(field(12, o) for o in outputs)
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, opset))


def fields(message):
    """(number, value) of a message: integers, and bytes of texts and messages."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
            continue
        size = {1: 8, 5: 4}.get(key & 7)
        size = number() if size is None else size
        yield key >> 3, message[at:at + size]
        at += size


def read_graph(onnx):
    """A model's nodes as (operator, inputs, outputs), and its constants of one element by name."""
    graph = next(value for key, value in fields(onnx) if key == 7)
    nodes, constants = [], {}
    for key, value in fields(graph):
        if key == 1:
            parts = list(fields(value))
            nodes.append((next(v.decode() for k, v in parts if k == 4), [v.decode() for k, v in parts if k == 1],
                          [v.decode() for k, v in parts if k == 2]))
        elif key == 5:
            parts = list(fields(value))
            name, dtype = (next(v for k, v in parts if k == n) for n in (8, 2))
            raw = next((v for k, v in parts if k == 9), b"")
            if dtype == FLOAT and len(raw) == 4:
                constants[name.decode()] = struct.unpack("<f", raw)[0]
            elif dtype in (2, 3) and len(raw) == 1:
                constants[name.decode()] = struct.unpack("B" if dtype == 2 else "b", raw)[0]
    return nodes, constants


def read_tensors(onnx):
    """A model's constants by name: type (ONNX's number), shape, bytes."""
    graph = next(value for key, value in fields(onnx) if key == 7)
    found = {}
    for key, value in fields(graph):
        if key != 5:
            continue
        parts = list(fields(value))
        shape = []
        for k, v in parts:  # packed or not
            if k == 1:
                shape += [v] if isinstance(v, int) else list(v)
        found[next(v for k, v in parts if k == 8).decode()] = (
            next(v for k, v in parts if k == 2), shape, next((v for k, v in parts if k == 9), b""))
    return found


def npy(shape, values, kind="f"):
    code = {"f": "<f4", "q": "<i8"}[kind]
    text = "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }" % (code, "".join(f"{d}, " for d in shape))
    text += " " * (-(10 + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + array.array(kind, values).tobytes()


def read_npy(path):
    """Shape and raw bytes."""
    data = path.read_bytes()
    size = struct.unpack("<H", data[8:10])[0]
    header = eval(data[10:10 + size], {"__builtins__": {}})  # a literal, which octet wrote
    return header["shape"], data[10 + size:]
