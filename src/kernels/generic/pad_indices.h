// Padding along one axis, for the generic operator and for the step that pads images.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace octet::kernels::generic {

// Source index of each of `out` output indices along an axis of `size`, of which the first stands at
// -`before`; -1 where the constant stands. `mode` is ONNX's: constant, edge, reflect or wrap. Throws Error
// where an empty axis has nothing to copy.
std::vector<int64_t> pad_indices(int64_t size, int64_t before, int64_t out, std::string_view mode);

}  // namespace octet::kernels::generic
