// Shifts of a layer's biases that give its output, behind the activation, the mean that it has in float.
//
// d += (E[f(y)] - E[f(y^ + d)]) / max(E[f'(y^ + d)], 0.1), three steps from d = 0; no shift where E[f'] is
// below 0.02: such a channel hardly answers. A shift is scaled by max(0, 1 - se^2 / D^2) with D the mean
// difference and se its standard error over samples (the positive-part rule of James and Stein, 1961), so
// that few samples move nothing. Matching the mean before the activation (Nagel et al. 2019) can do harm
// where the function is far from linear.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "passes/groups.h"

namespace octet {

// What follows the sums of a layer in its group.
struct OutputFunction {
  std::optional<ActivationSpec> activation, final_clip;
  std::vector<float> caps = {};  // of a clip to [0, cap] by channel, which is then the activation
};

// Sums of one layer at the same positions of the same samples: [channel][row]. The rows of sample i are
// [sample_rows[i], sample_rows[i + 1]).
struct LayerSums {
  int64_t channels = 0;
  std::vector<int64_t> sample_rows;
  std::vector<float> residual;  // that is added to them, or none
  std::vector<float> sums;
  int64_t rows() const { return sample_rows.back(); }
};

// By channel. Uses the samples for which `use` is true.
std::vector<float> match_output_means(const LayerSums& reference, const LayerSums& quantized,
                                      const OutputFunction& function, const std::vector<bool>& use,
                                      ThreadPool& pool);

// Sum of squares of the difference of the layer's outputs over the used samples, and of the reference's.
// `shift` has one entry per channel, or none.
struct OutputError {
  double noise = 0, signal = 0;
};
OutputError output_error(const LayerSums& reference, const LayerSums& quantized,
                         const OutputFunction& function, std::span<const float> shift,
                         const std::vector<bool>& use, ThreadPool& pool);

}  // namespace octet
