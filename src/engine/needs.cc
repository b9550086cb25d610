#include "engine/needs.h"

#include <algorithm>

namespace octet::engine {
namespace {

using kernels::PixelRange;

// What each piece of a step writes, ascending; empty where the pieces are not parts of a line of pixels.
std::vector<PixelRange> written(const Step& step) {
  std::vector<PixelRange> ranges;
  for (int64_t i = 0; i < step.pieces(); ++i) {
    const auto range = step.writes(i);
    if (!range || (i > 0 && (range->first < ranges.back().first || range->last < ranges.back().last)))
      return {};
    ranges.push_back(*range);
  }
  return ranges.size() > 1 && ranges.front().last < ranges.back().last ? ranges : std::vector<PixelRange>();
}

ThreadPool::Needs pieces_of(const std::vector<PixelRange>& ranges, const PixelRange& pixels) {
  const auto first = std::partition_point(ranges.begin(), ranges.end(),
                                          [&](const PixelRange& r) { return r.last <= pixels.first; });
  const auto last = std::partition_point(ranges.begin(), ranges.end(),
                                         [&](const PixelRange& r) { return r.first < pixels.last; });
  return {static_cast<int32_t>(first - ranges.begin()), static_cast<int32_t>(last - ranges.begin())};
}

// Whether two channels-last tensors have the same pixels, one for one.
bool same_pixels(const Model& model, std::span<const Shape> shapes, int32_t a, int32_t b) {
  const TensorDef &x = model.tensors[a], &y = model.tensors[b];
  return x.layout == Layout::kNhwc && y.layout == Layout::kNhwc && shapes[a].size() == 4 &&
         shapes[b].size() == 4 && shapes[a][0] == shapes[b][0] && shapes[a][2] == shapes[b][2] &&
         shapes[a][3] == shapes[b][3];
}

}  // namespace

std::vector<ThreadPool::Needs> needs_of(const Model& model, std::span<const Shape> shapes, const StepDef& def,
                                        const Step& step, const StepDef& next_def, const Step& next) {
  const auto root = [&](int32_t t) {
    return t >= 0 && model.tensors[t].parent >= 0 ? model.tensors[t].parent : t;
  };
  if (def.outputs.size() != 1 || next_def.outputs.size() != 1) return {};
  const int32_t made = def.outputs[0];
  for (const int32_t t : def.inputs)
    if (t >= 0 && root(t) == root(next_def.outputs[0])) return {};
  // Views of one tensor have channels of their own.
  const int32_t makes = next_def.outputs[0];
  if (root(made) == root(makes) && (made == makes || made == root(made) || makes == root(makes))) return {};

  std::vector<int32_t> read;  // of what `step` makes
  for (const int32_t t : next_def.inputs)
    if (t >= 0 && root(t) == root(made)) read.push_back(t);
  const std::vector<PixelRange> ranges = written(step);
  if (ranges.empty() || written(next).empty()) return {};
  std::vector<ThreadPool::Needs> needs(static_cast<size_t>(next.pieces()));
  if (read.empty()) return needs;
  // Pixels of a plain tensor are rows to a product, and to a change of layout what they are on its other
  // side.
  const bool rows = def.kind == "gemm" && next_def.kind == "gemm";
  if (!std::all_of(read.begin(), read.end(),
                   [&](int32_t t) { return (rows && t == made) || same_pixels(model, shapes, t, made); }))
    return {};
  for (size_t i = 0; i < needs.size(); ++i) {
    for (const int32_t t : read) {
      const auto pixels = next.reads(t, static_cast<int64_t>(i));
      if (!pixels) return {};
      const ThreadPool::Needs some = pieces_of(ranges, *pixels);
      if (some.first >= some.last) continue;
      ThreadPool::Needs& all = needs[i];
      all = all.first >= all.last
                ? some
                : ThreadPool::Needs{std::min(all.first, some.first), std::max(all.last, some.last)};
    }
  }
  return needs;
}

}  // namespace octet::engine
