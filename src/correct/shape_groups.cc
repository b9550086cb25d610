#include "correct/shape_groups.h"

#include <algorithm>

namespace octet {

ShapeGroups group_by_shape(const engine::Engine& engine, const Dataset& data, int64_t max_samples,
                           int64_t max_shapes, ThreadPool& pool) {
  const int64_t count = std::min(data.size(), max_samples);
  std::vector<std::vector<Shape>> shapes(count);
  std::vector<char> bad(count, 0);
  pool.parallel_for(count, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const Sample sample = data.load(i);
      bad[i] = sample.bad;
      if (sample.bad) continue;
      for (const Tensor& t : order_inputs(engine.model(), sample.inputs)) shapes[i].push_back(t.shape());
    }
  });
  ShapeGroups chosen;
  for (int64_t i = 0; i < count; ++i) {
    if (bad[i]) continue;
    auto group = std::find_if(chosen.groups.begin(), chosen.groups.end(),
                              [&](const ShapeGroup& g) { return g.shapes == shapes[i]; });
    if (group == chosen.groups.end()) group = chosen.groups.insert(group, {shapes[i], {}});
    group->samples.push_back(i);
  }
  std::stable_sort(chosen.groups.begin(), chosen.groups.end(), [](const ShapeGroup& a, const ShapeGroup& b) {
    return a.samples.size() > b.samples.size();
  });
  while (static_cast<int64_t>(chosen.groups.size()) > std::max<int64_t>(1, max_shapes)) {
    chosen.left_out += static_cast<int64_t>(chosen.groups.back().samples.size());
    chosen.groups.pop_back();
  }
  return chosen;
}

}  // namespace octet
