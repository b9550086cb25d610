#include "tensor/dtype.h"

#include <array>

#include "base/checked.h"

namespace octet {
namespace {

struct Info {
  std::string_view name;
  int bits;
  bool is_float;
};
constexpr std::array<Info, kDTypeCount> kInfo{{{"float32", 32, true},
                                               {"float16", 16, true},
                                               {"bfloat16", 16, true},
                                               {"float64", 64, true},
                                               {"int8", 8, false},
                                               {"uint8", 8, false},
                                               {"int16", 16, false},
                                               {"uint16", 16, false},
                                               {"int32", 32, false},
                                               {"uint32", 32, false},
                                               {"int64", 64, false},
                                               {"uint64", 64, false},
                                               {"bool", 8, false},
                                               {"int4", 4, false},
                                               {"uint4", 4, false}}};

const Info& info(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  if (index >= kInfo.size()) fail(ErrorCode::kBadFile, "unknown element type {}", index);
  return kInfo[index];
}

}  // namespace

int dtype_bits(DType dtype) {
  return info(dtype).bits;
}

int64_t dtype_bytes(DType dtype, int64_t count) {
  if (count <= 0) return 0;
  const int bits = info(dtype).bits;
  return bits == 4 ? count / 2 + count % 2 : checked_mul(count, bits / 8);
}

std::string_view dtype_name(DType dtype) {
  return info(dtype).name;
}

bool is_float(DType dtype) {
  return info(dtype).is_float;
}

}  // namespace octet
