// GridSample and RoiAlign: values between the pixels of an image.
#include <cmath>

#include "kernels/generic/ops.h"
#include "kernels/generic/parts.h"

namespace octet::kernels::generic {
namespace {

enum class Interpolation : uint8_t { kNearest, kLinear, kCubic };
enum class Padding : uint8_t { kZeros, kBorder, kReflection };

// Which elements of an axis make a sample, at most four.
struct Taps {
  int count = 0;
  int64_t index[4];  // -1: outside, counts as 0
  double weight[4];
};

double reflect(double x, double low, double high) {
  const double range = high - low;
  if (range <= 0) return low;
  double offset = std::fabs(x - low);
  const double turns = std::floor(offset / range);
  offset -= turns * range;
  return std::fmod(turns, 2) == 0 ? low + offset : high - offset;
}

struct Sampling {
  Interpolation mode = Interpolation::kLinear;
  Padding padding = Padding::kZeros;
  bool align = false;

  int64_t index(int64_t i, int64_t n) const {
    if (i >= 0 && i < n) return i;
    if (padding == Padding::kZeros) return -1;
    if (padding == Padding::kBorder) return std::clamp<int64_t>(i, 0, n - 1);
    const double low = align ? 0 : -0.5, high = static_cast<double>(n) - (align ? 1 : 0.5);
    return std::clamp<int64_t>(static_cast<int64_t>(std::rint(reflect(static_cast<double>(i), low, high))), 0,
                               n - 1);
  }

  // `at` is in [-1, 1] from one end of the axis to the other.
  Taps taps(double at, int64_t n) const {
    const auto size = static_cast<double>(n);
    double x = align ? (at + 1) / 2 * (size - 1) : ((at + 1) * size - 1) / 2;
    if (!(std::fabs(x) < 1e9)) x = x > 0 ? 1e9 : -1e9;  // also NaN
    if (mode == Interpolation::kNearest) x = std::rint(x);
    const double low = align ? 0 : -0.5, high = size - (align ? 1 : 0.5);
    if (x < low || x > high) {
      if (padding == Padding::kBorder) x = std::clamp(x, 0.0, size - 1);
      if (padding == Padding::kReflection) x = reflect(x, low, high);
    }
    Taps result;
    const auto add = [&](double i, double weight) {
      result.index[result.count] = index(static_cast<int64_t>(i), n);
      result.weight[result.count++] = weight;
    };
    const double first = std::floor(x), t = x - first;
    if (mode == Interpolation::kNearest) {
      add(std::rint(x), 1);
    } else if (mode == Interpolation::kLinear) {
      add(first, 1 - t);
      add(first + 1, t);
    } else {  // Keys (1981) with a = -0.75
      constexpr double a = -0.75;
      const auto near = [](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
      const auto far = [](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
      add(first - 1, far(1 + t));
      add(first, near(t));
      add(first + 1, near(1 - t));
      add(first + 2, far(2 - t));
    }
    return result;
  }
};

constexpr int64_t kBlock = 128;  // points whose taps are known at a time

// What GridSample works on, checked.
struct GridWalk {
  Sampling sampling;
  Shape in, strides;  // of the spatial axes
  int64_t images = 0, channels = 0, points = 0, pixels = 0;
  int64_t blocks() const { return (points + kBlock - 1) / kBlock * images; }
};

GridWalk grid_walk(const Attributes& attributes, Inputs inputs, std::span<const Tensor> outputs) {
  expect_arity(inputs, 2, 2, outputs);
  const Tensor &x = inputs[0], &grid = inputs[1], &y = outputs[0];
  for (const Tensor* t : {&x, &grid, &y}) expect_dtype(*t, DType::kFloat32);
  const int rank = x.rank() - 2;
  expect(
      rank >= 1 && grid.rank() == x.rank() && grid.shape().back() == rank && grid.shape()[0] == x.shape()[0],
      "the grid must have the input's rank and batch, and a coordinate per spatial axis");
  Shape shape{x.shape()[0], x.shape()[1]};
  shape.insert(shape.end(), grid.shape().begin() + 1, grid.shape().end() - 1);
  expect_shape(y, shape);
  GridWalk walk;
  Sampling& sampling = walk.sampling;
  const std::string mode = attributes.get_string("mode", "linear");
  if (mode == "nearest") sampling.mode = Interpolation::kNearest;
  if (mode == "cubic" || mode == "bicubic") sampling.mode = Interpolation::kCubic;
  const std::string padding = attributes.get_string("padding_mode", "zeros");
  sampling.padding = padding == "border"       ? Padding::kBorder
                     : padding == "reflection" ? Padding::kReflection
                                               : Padding::kZeros;
  sampling.align = attributes.get_int("align_corners", 0) != 0;
  walk.in.assign(x.shape().begin() + 2, x.shape().end());
  walk.strides = row_major_strides(walk.in);
  walk.images = x.shape()[0];
  walk.channels = x.shape()[1];
  walk.pixels = product(walk.in, 0, rank);
  walk.points = product(shape, 2, static_cast<int64_t>(shape.size()));
  return walk;
}

// The pixels that make each point of a block, with their weights.
class BlockTaps {
 public:
  void add_point(const GridWalk& walk, const float* at) {
    const size_t rank = walk.in.size();
    axes_.resize(rank);
    if (walk.pixels > 0) {
      for (size_t d = 0; d < rank; ++d)  // the grid names the last axis first
        axes_[d] = walk.sampling.taps(at[rank - 1 - d], walk.in[d]);
      add(walk, 0, 0, 1);
    }
    ends_.push_back(offsets_.size());
  }

  // The values of all points in one channel.
  void apply(const float* plane, float* y) const {
    size_t t = 0;
    for (const size_t end : ends_) {
      const int64_t* o = offsets_.data() + t;
      const float* w = weights_.data() + t;
      if (end - t == 4) {
        *y++ = w[0] * plane[o[0]] + w[1] * plane[o[1]] + w[2] * plane[o[2]] + w[3] * plane[o[3]];
      } else {
        float sum = 0;
        for (size_t i = 0; i < end - t; ++i) sum += w[i] * plane[o[i]];
        *y++ = sum;
      }
      t = end;
    }
  }

  void clear() {
    offsets_.clear();
    weights_.clear();
    ends_.clear();
  }

 private:
  void add(const GridWalk& walk, size_t d, int64_t offset, double weight) {
    if (d == walk.in.size()) {
      offsets_.push_back(offset);
      weights_.push_back(static_cast<float>(weight));
      return;
    }
    for (int i = 0; i < axes_[d].count; ++i)
      if (axes_[d].index[i] >= 0)
        add(walk, d + 1, offset + axes_[d].index[i] * walk.strides[d], weight * axes_[d].weight[i]);
  }

  std::vector<Taps> axes_;
  std::vector<int64_t> offsets_;
  std::vector<float> weights_;
  std::vector<size_t> ends_;
};

void sample_blocks(const GridWalk& walk, Inputs inputs, Outputs outputs, int64_t begin, int64_t end) {
  const auto rank = static_cast<int64_t>(walk.in.size());
  BlockTaps taps;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t per_image = walk.blocks() / walk.images, n = block / per_image;
    const int64_t first = block % per_image * kBlock, count = std::min(kBlock, walk.points - first);
    taps.clear();
    for (int64_t p = 0; p < count; ++p)
      taps.add_point(walk, data<float>(inputs[1]) + (n * walk.points + first + p) * rank);
    for (int64_t c = 0; c < walk.channels; ++c) {
      const int64_t plane = n * walk.channels + c;
      taps.apply(data<float>(inputs[0]) + plane * walk.pixels,
                 data<float>(outputs[0]) + plane * walk.points + first);
    }
  }
}

}  // namespace

void run_grid_sample(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const GridWalk walk = grid_walk(attributes, inputs, outputs);
  sample_blocks(walk, inputs, outputs, 0, walk.blocks());
}

int64_t grid_sample_parts(const Attributes& attributes, Inputs inputs, std::span<const Tensor> outputs) {
  constexpr int64_t kCost = 8;  // of a value between pixels, in copies
  return suitable_parts(kCost * outputs[0].count(), grid_walk(attributes, inputs, outputs).blocks());
}

void run_grid_sample_parts(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t begin,
                           int64_t end) {
  const GridWalk walk = grid_walk(attributes, inputs, outputs);
  const int64_t parts = grid_sample_parts(attributes, inputs, outputs);
  sample_blocks(walk, inputs, outputs, part_begin(walk.blocks(), begin, parts),
                part_begin(walk.blocks(), end, parts));
}

namespace {

// Four pixels around a point; all weights 0 where it lies further than one pixel outside.
struct Corner {
  int64_t offset[4] = {0, 0, 0, 0};
  float weight[4] = {0, 0, 0, 0};
};

Corner corner_at(float y, float x, int64_t height, int64_t width) {
  Corner c;
  if (!(y >= -1 && y <= static_cast<float>(height) && x >= -1 && x <= static_cast<float>(width))) return c;
  const auto split = [](float v, int64_t n, int64_t at[2]) {
    v = std::max(v, 0.0f);
    at[0] = static_cast<int64_t>(v);
    if (at[0] >= n - 1) {
      at[0] = at[1] = n - 1;
      return 0.0f;
    }
    at[1] = at[0] + 1;
    return v - static_cast<float>(at[0]);
  };
  int64_t rows[2], columns[2];
  const float fy = split(y, height, rows), fx = split(x, width, columns);
  for (int i = 0; i < 4; ++i) {
    c.offset[i] = rows[i / 2] * width + columns[i % 2];
    c.weight[i] = (i / 2 != 0 ? fy : 1 - fy) * (i % 2 != 0 ? fx : 1 - fx);
  }
  return c;
}

constexpr float kMaxSamples = 1 << 20;  // of a bin

}  // namespace

// He et al., "Mask R-CNN" (2017): each bin is the mean or the maximum of samples between the pixels.
void run_roi_align(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 3, 3, outputs);
  const Tensor &x = inputs[0], &rois = inputs[1];
  Tensor& y = outputs[0];
  for (const Tensor* t : {&x, &rois, &std::as_const(y)}) expect_dtype(*t, DType::kFloat32);
  const int64_t out_h = attributes.get_int("output_height", 1), out_w = attributes.get_int("output_width", 1);
  expect(x.rank() == 4 && rois.rank() == 2 && rois.shape()[1] == 4, "rank 4 and regions [count, 4] expected");
  expect(out_h >= 1 && out_w >= 1, "the output size must be positive");
  const int64_t count = rois.shape()[0], channels = x.shape()[1], height = x.shape()[2], width = x.shape()[3];
  expect(inputs[2].rank() == 1 && inputs[2].count() == count, "one batch index per region expected");
  expect_shape(y, {count, channels, out_h, out_w});
  if (y.count() == 0) return;
  expect(height > 0 && width > 0, "the image is empty");
  const std::vector<int64_t> batch = to_int64(inputs[2]);
  const float scale = attributes.get_float("spatial_scale", 1.0f);
  const bool half = attributes.get_string("coordinate_transformation_mode", "half_pixel") == "half_pixel";
  const bool maximum = attributes.get_string("mode", "avg") == "max";
  const int64_t ratio = attributes.get_int("sampling_ratio", 0);
  std::vector<Corner> corners;
  for (int64_t r = 0; r < count; ++r) {
    if (batch[static_cast<size_t>(r)] < 0 || batch[static_cast<size_t>(r)] >= x.shape()[0])
      fail(ErrorCode::kInvalidArgument, "region {} is of image {} of {}", r, batch[static_cast<size_t>(r)],
           x.shape()[0]);
    const float* roi = data<float>(rois) + r * 4;
    const float offset = half ? 0.5f : 0.0f;
    const float x0 = roi[0] * scale - offset, y0 = roi[1] * scale - offset;
    float roi_w = roi[2] * scale - offset - x0, roi_h = roi[3] * scale - offset - y0;
    if (!half) {
      roi_w = std::max(roi_w, 1.0f);
      roi_h = std::max(roi_h, 1.0f);
    }
    const float bin_h = roi_h / static_cast<float>(out_h), bin_w = roi_w / static_cast<float>(out_w);
    const float samples_h = ratio > 0 ? static_cast<float>(ratio) : std::ceil(bin_h);
    const float samples_w = ratio > 0 ? static_cast<float>(ratio) : std::ceil(bin_w);
    expect(samples_h <= kMaxSamples && samples_w <= kMaxSamples && samples_h * samples_w <= kMaxSamples,
           "a region is too large");
    const auto grid_h = static_cast<int64_t>(std::max(samples_h, 0.0f)),
               grid_w = static_cast<int64_t>(std::max(samples_w, 0.0f));
    for (int64_t bin = 0; bin < out_h * out_w; ++bin) {
      corners.clear();
      const int64_t row = bin / out_w, column = bin % out_w;
      for (int64_t i = 0; i < grid_h; ++i)
        for (int64_t j = 0; j < grid_w; ++j)
          corners.push_back(corner_at(
              y0 + static_cast<float>(row) * bin_h + (static_cast<float>(i) + 0.5f) * bin_h / samples_h,
              x0 + static_cast<float>(column) * bin_w + (static_cast<float>(j) + 0.5f) * bin_w / samples_w,
              height, width));
      for (int64_t c = 0; c < channels; ++c) {
        const float* plane = data<float>(x) + (batch[static_cast<size_t>(r)] * channels + c) * height * width;
        float sum = 0, best = 0;
        bool first = true;
        for (const Corner& corner : corners) {
          float parts[4];
          for (int k = 0; k < 4; ++k) parts[k] = corner.weight[k] * plane[corner.offset[k]];
          sum += parts[0] + parts[1] + parts[2] + parts[3];
          // As the specification's reference: the largest weighted pixel.
          const float top = *std::max_element(parts, parts + 4);
          best = first ? top : std::max(best, top);
          first = false;
        }
        const auto samples = static_cast<float>(std::max<size_t>(corners.size(), 1));
        data<float>(y)[(r * channels + c) * out_h * out_w + bin] = maximum ? best : sum / samples;
      }
    }
  }
}

}  // namespace octet::kernels::generic
