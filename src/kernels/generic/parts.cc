#include "kernels/generic/parts.h"

#include <algorithm>
#include <array>

#include "kernels/generic/generic.h"

namespace octet::kernels {
namespace generic {

constexpr int64_t kPartElements = 16 << 10;  // a few microseconds
constexpr int64_t kMostParts = 64;

int64_t suitable_parts(int64_t elements, int64_t units) {
  return std::clamp<int64_t>(std::min(elements / kPartElements, units), 1, kMostParts);
}

}  // namespace generic

const GenericParts* find_generic_parts(std::string_view op, std::span<const Tensor> inputs,
                                       std::span<const Tensor> outputs) {
  struct Entry {
    std::string_view op;
    bool floats;
    GenericParts parts;
  };
  static constexpr std::array kEntries{
      Entry{"Concat", false, {generic::concat_parts, generic::run_concat_parts}},
      Entry{"Split", false, {generic::split_parts, generic::run_split_parts}},
      Entry{"Softmax", true, {generic::softmax_parts, generic::run_softmax_parts}},
      Entry{"Cast", false, {generic::cast_parts, generic::run_cast_parts}},
      Entry{"ArgMax", true, {generic::arg_max_parts, generic::run_arg_max_parts}},
      Entry{"ArgMin", true, {generic::arg_min_parts, generic::run_arg_min_parts}},
      Entry{"GridSample", true, {generic::grid_sample_parts, generic::run_grid_sample_parts}},
      Entry{"Resize", true, {generic::resize_parts, generic::run_resize_parts}},
      Entry{"RNN", true, {generic::rnn_parts, generic::run_rnn_parts}},
      Entry{"GRU", true, {generic::gru_parts, generic::run_gru_parts}},
      Entry{"LSTM", true, {generic::lstm_parts, generic::run_lstm_parts}},
  };
  const auto it = std::find_if(kEntries.begin(), kEntries.end(), [&](const Entry& e) { return e.op == op; });
  if (it == kEntries.end() || inputs.empty() || outputs.empty() || inputs[0].count() < 0) return nullptr;
  const DType dtype = inputs[0].dtype();
  if (it->floats ? dtype != DType::kFloat32 : dtype_bits(dtype) % 8 != 0) return nullptr;
  return &it->parts;
}

}  // namespace octet::kernels
