// NumPy's array files: .npy (format versions 1 to 3) and .npz (a zip archive of them).
//
// Formats: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, PKWARE APPNOTE 6.3.9 (with
// zip64). Little-endian arrays of float16/32/64, signed and unsigned integers and bool; C and Fortran order
// (the result is always C order). Files may come from anywhere: damage gives Error (kBadFile), and no more
// memory is taken than the file's size justifies.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "tensor/tensor.h"

namespace octet {

// What the header of a .npy file says; the elements follow at `data_offset`.
struct NpyHeader {
  DType dtype = DType::kFloat32;
  Shape shape;
  bool fortran_order = false;
  size_t data_offset = 0;
};

// `file` may be cut behind the header. `name` is for messages.
NpyHeader parse_npy_header(std::span<const std::byte> file, const std::string& name);

// The content of a whole file; the result owns its elements. `name` is for messages.
Tensor parse_npy(std::span<const std::byte> file, const std::string& name);
// Keyed by array name, without ".npy".
std::map<std::string, Tensor> parse_npz(std::span<const std::byte> file, const std::string& name);

Tensor read_npy(const std::filesystem::path& path);
std::map<std::string, Tensor> read_npz(const std::filesystem::path& path);

// Atomic. bfloat16 as numpy stores the type of ml_dtypes: "<V2". Throws Error for 4-bit types.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

// The bytes that write_npy puts before the elements, for arrays that are written piece by piece. A multiple
// of 64.
std::string npy_header(DType dtype, const Shape& shape);

}  // namespace octet
